"""Reproduce the quality results in scripts/RESULTS.md.

TEXT is tiny Shakespeare (input.txt of github.com/karpathy/char-rnn, data/tinyshakespeare: 1,115,394
characters), or any other text. Each row of the table is one `textgen train TEXT` with the options in the row
and defaults for the rest; the first 90% of the text is for training, the last 10% for validation.

Each run is evaluated on the whole validation text, in nats per character: the network alone, its n-grams
alone, and both together, each half of the text with the weight that is best for the other half (`textgen
ngram`); and the network alone with the state reset every 256 characters (`eval --window 256 --no-ngram`), as
in a model with a fixed context, and with dynamic evaluation (`eval --dynamic`).

Results are appended to the file RESULTS, and rows that are in it are not run again, so this can be stopped
and continued. A row is marked "busy" if training was much slower than probed, because other programs were
running: remove its line from the file and run this again. All rows take about 1 h 20 min.
The n-grams are counted after the minutes of a row, in the seconds of the column "built in".

Examples:
    python scripts/reproduce.py tinyshakespeare.txt results.jsonl
    python scripts/reproduce.py tinyshakespeare.txt results.jsonl --rows "2 minutes, gru 2 minutes"
"""

from __future__ import annotations

import json
import math
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from benchmarks.command import OutputFile, Script
from benchmarks.measure import machine, markdown
from benchmarks.results import append_line, json_lines, text_digest
from benchmarks.runs import end_together, textgen, train

WINDOW = 256  # characters; with subwords, about as many tokens as hold them


class Row(NamedTuple):
    """Runs of one set of options: their seeds, and the goal for their nats per character, an upper bound.

    The goal is for network and n-grams together.
    """

    name: str
    options: str
    seeds: tuple[int, ...] = (1,)
    goal: float | None = None


ROWS = (
    Row("20 seconds", "--minutes 0.333", goal=1.435),
    Row("2 minutes", "--minutes 2", (1, 2, 3), 1.378),
    Row("10 minutes", "--minutes 10", goal=1.335),
    Row("30 minutes", "--minutes 30", goal=1.320),
    Row("gru 2 minutes", "--cell gru --minutes 2", goal=1.430),
    Row("gru 10 minutes", "--cell gru --minutes 10"),
    Row("bpe 2 minutes", "--tokenizer bpe --minutes 2", goal=1.400),
)
DYNAMIC_GOAL = 1.20  # for the row "10 minutes"
NGRAM_PARTS = ("network", "ngrams", "together")


@click.command(cls=Script, help=__doc__)
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("results", type=OutputFile())
@click.option("--rows", metavar="NAMES", help="Only these rows, separated by commas.")
def main(text: Path, results: Path, rows: str | None) -> None:
    """Run what is missing, append to the results, and print the table."""
    end_together()
    chosen = _chosen(rows)
    known, digest = json_lines(results), text_digest(text)
    if any(line.get("text") != digest for line in known):
        raise click.UsageError(f"{results}: has results of a text other than {text}; use a new file")
    done = {(line["row"], line["seed"]) for line in known}
    missing = [(row, seed) for row in chosen for seed in row.seeds if (row.name, seed) not in done]
    with tempfile.TemporaryDirectory() as folder:
        for number, (row, seed) in enumerate(missing, 1):
            click.echo(f"{number} of {len(missing)}: {row.name}, seed {seed}", err=True)
            line = {"row": row.name, "seed": seed, "text": digest, "machine": machine()}
            line |= measure(text, row.options, seed, Path(folder))
            known.append(line)
            append_line(results, line)
    click.echo("\n".join(markdown(table(known))))
    for names in dict.fromkeys(", ".join(f"{k} {v}" for k, v in line["machine"].items()) for line in known):
        click.echo(f"\nOn {names}.")


def _chosen(names: str | None) -> list[Row]:
    by_name = {row.name: row for row in ROWS}
    wanted = [name.strip() for name in names.split(",")] if names else list(by_name)
    for name in wanted:
        if name not in by_name:
            raise click.UsageError(f"--rows {name!r}: must be one of {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def measure(text: Path, options: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one run and evaluate it in each way, in nats per character."""
    run, cache = folder / f"run {options} {seed}", ["--cache-dir", str(folder / "cache")]
    line = train([str(text)], run, [*shlex.split(options), "--seed", str(seed), *cache])

    def ask(command: str, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(textgen(command, str(run), "--json", *arguments, *cache)))

    tokens_per_character = nats(line) / line["nats_per_token"]
    window = round(WINDOW * tokens_per_character)
    windows, dynamic = ask("eval", "--window", str(window), "--no-ngram"), ask("eval", "--dynamic")
    ngram = ask("ngram")
    parts = {part: ngram[f"{part}_nats_per_token"] * tokens_per_character for part in NGRAM_PARTS}
    return line | {
        "nats_per_character": nats(line),
        "nats_per_character_in_windows": nats(windows),
        "nats_per_character_dynamic": nats(dynamic["dynamic"]),
        "dynamic": dynamic["dynamic"]["settings"],
        "ngram": {"nats_per_character": parts, "network_weight": ngram["network_weight"],
                  "bytes": ngram["bytes"], "seconds": ngram["seconds"]},
    }  # fmt: skip


def nats(figures: dict[str, Any]) -> float:
    """Nats per character, whatever the tokenizer."""
    return float(figures["bits_per_character"]) * math.log(2)


def table(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table as rows of cells: headings, then one row per result, in the order of ROWS."""
    headings = ["`textgen train TEXT ...`", "seed", "network", "n-grams", "together", "goal", "built in"]
    cells = [[*headings, f"windows of {WINDOW}", "dynamic", "size", "steps", "tokens/s"]]
    for row in ROWS:
        for line in (each for each in lines if each["row"] == row.name):
            dynamic = f"{line['nats_per_character_dynamic']:.3f}"
            if row.name == "10 minutes":
                dynamic += f" ({_verdict(line['nats_per_character_dynamic'], DYNAMIC_GOAL)})"
            chosen = line["chosen"]
            cells.append(
                [
                    f"`{row.options}`",
                    str(line["seed"]),
                    *_parts(row, line),
                    f"{line['nats_per_character_in_windows']:.3f}",
                    dynamic,
                    f"{chosen['num_layers']} x {chosen['hidden_size']}, {line['parameters'] / 1e6:.2f} M",
                    f"{line['steps']:,}",
                    f"{line['tokens_per_second']:,}{' (busy)' if line['busy'] else ''}",
                ]
            )
    return cells


def _parts(row: Row, line: dict[str, Any]) -> list[str]:
    """The loss of the network, of its n-grams, of both, the goal for both, and how long counting took.

    A result of before there were n-grams has that of the network alone.
    """
    if "ngram" not in line:
        return [f"{line['nats_per_character']:.3f}", "", "", "", ""]
    network, ngrams, together = (line["ngram"]["nats_per_character"][part] for part in NGRAM_PARTS)
    goal = "" if row.goal is None else _verdict(together, row.goal)
    seconds = f"{line['ngram']['seconds']:.1f} s"
    return [f"{network:.3f}", f"{ngrams:.3f}", f"**{together:.3f}**", goal, seconds]


def _verdict(figure: float, goal: float) -> str:
    return f"at most {goal:.3f}, {'met' if figure <= goal else 'missed'}"


if __name__ == "__main__":
    main()
