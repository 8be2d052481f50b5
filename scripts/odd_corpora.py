"""Default runs over corpora that no language wrote: does any of them diverge?

Each corpus is made from a seed by this script, and trained on with `textgen train` and no settings but the
budget; some again with other seeds, cells and tokenizers. A run has diverged when the command fails, or when
the last line of its training loss lies more than a quarter of a nat above log V, the loss of a uniform guess
among its V tokens, or more than a nat above the lowest of its lines. Validation loss is shown and not judged:
that of text learnt by heart rises without end, which is no fault of the rate.

Run as:

    python scripts/odd_corpora.py
    python scripts/odd_corpora.py --minutes 0.05
    python scripts/odd_corpora.py --only base64 --only dna
"""

from __future__ import annotations

import base64
import json
import math
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
from benchmarks.results import json_lines
from benchmarks.runs import end_together

SIZE = 100_000  # characters of a corpus, where its name says no other
ABOVE_GUESS = 0.25  # nats per token
ABOVE_LOWEST = 1.0  # nats per token

WORDS = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had".split()
)


def sentences(rng: random.Random, size: int) -> str:
    """Words at random, in sentences and lines."""
    text = ""
    while len(text) < size:
        text += " ".join(rng.choices(WORDS, k=rng.randint(4, 15))).capitalize() + rng.choice(".?!") + "\n"
    return text[:size]


def one_rare_character(rng: random.Random) -> str:
    """Sentences with one character that stands in them once, in the part to train on."""
    text = sentences(rng, SIZE)
    return text[: SIZE // 3] + "§" + text[SIZE // 3 :]


def long_repeats(rng: random.Random) -> str:
    """The same 5,000 random characters again and again."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ,.\n", k=5000)) * (SIZE // 5000)


def python_source(rng: random.Random) -> str:
    """Some files of the standard library of the Python that runs this."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    chosen = rng.sample(paths, min(len(paths), 20))
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in chosen)[: 3 * SIZE]


def easy_then_hard(rng: random.Random) -> str:
    """One character for the first half, all printable ones at random for the second."""
    return "a" * (SIZE // 2) + "".join(rng.choices([chr(code) for code in range(32, 127)], k=SIZE // 2))


def word_list(rng: random.Random) -> str:
    """Random words in the order of the alphabet, one a line."""
    return "\n".join(
        sorted("".join(rng.choices("abcdeilnorst", k=rng.randint(2, 10))) for _ in range(15_000))
    )


def chars(first: int, last: int, size: int = SIZE) -> Callable[[random.Random], str]:
    """A maker of text of all characters from a code to another, at random."""
    return lambda rng: "".join(chr(rng.randint(first, last)) for _ in range(size))


CORPORA: dict[str, Callable[[random.Random], str]] = {
    "one character": lambda rng: "a" * SIZE,
    "two in turn": lambda rng: "ab" * (SIZE // 2),
    "only line breaks": lambda rng: "\n" * SIZE,
    "2 kB of sentences": lambda rng: sentences(rng, 2000),
    "200 characters": lambda rng: sentences(rng, 200),
    "30 characters": lambda rng: sentences(rng, 30),
    "one huge line": lambda rng: sentences(rng, 5 * SIZE).replace("\n", " "),
    "base64": lambda rng: base64.b64encode(rng.randbytes(SIZE)).decode(),
    "dna": lambda rng: "".join(rng.choices("ACGT", k=SIZE)),
    "bits": lambda rng: "".join(rng.choices("01", k=SIZE)),
    "chinese": chars(0x4E00, 0x4F00),
    "many ideographs": chars(0x4E00, 0x9FFF),
    "emoji": chars(0x1F600, 0x1F64F),
    "printable at random": chars(0x20, 0x7E),
    "one rare character": one_rare_character,
    "counter": lambda rng: "".join(f"{number}\n" for number in range(20_000)),
    "python source": python_source,
    "sorted words": word_list,
    "long repeats": long_repeats,
    "easy, then hard": easy_then_hard,
    "spaces, then a word": lambda rng: "".join(" " * rng.randint(50, 2000) + "word" for _ in range(100)),
}

# What is said to `textgen train` beside corpus and budget; each corpus has the first, the others take turns.
VARIANTS = (
    (),
    ("--cell", "gru", "--seed", "2"),
    ("--tokenizer", "byte", "--seed", "3"),
    ("--tokenizer", "bpe", "--seed", "4"),
    ("--cell", "rnn", "--seed", "5"),
    ("--tokenizer", "word", "--seed", "6"),
    ("--documents", "line", "--seed", "7"),
)


class Row(NamedTuple):
    """What became of one run; losses in nats per token, NaN where there is none."""

    corpus: str
    options: str
    guess: float
    best: float
    last: float
    rollbacks: int
    diverged: str  # why, "" if it did not


def plan(names: list[str], count: int) -> list[tuple[str, tuple[str, ...]]]:
    """`count` runs: each corpus with the defaults, then again with the variants in turn."""
    runs = [(name, VARIANTS[0]) for name in names]
    others = VARIANTS[1:]
    again = (
        (name, others[(index + turn) % len(others)])
        for turn in range(len(others))
        for index, name in enumerate(names)
    )
    return list(islice([*runs, *again], count))


def judged(
    name: str, options: tuple[str, ...], metrics: list[dict[str, Any]], num_rows: int, error: str
) -> Row:
    """The row of a run, from its metrics and the error that it ended with ("": none)."""
    train = [record["nats_per_token"] for record in metrics if record["kind"] == "train"]
    val = [record["nats_per_token"] for record in metrics if record["kind"] == "val"]
    guess = math.log(num_rows)
    diverged = error
    if not error and train[-1] > guess + ABOVE_GUESS:
        diverged = f"training loss {train[-1]:.2f}, above a uniform guess"
    elif not error and train[-1] > min(train) + ABOVE_LOWEST:
        diverged = f"training loss {train[-1]:.2f}, above the lowest, {min(train):.2f}"
    rollbacks = sum(record["kind"] == "rollback" for record in metrics)
    best, last = (min(val), val[-1]) if val else (math.nan, math.nan)
    return Row(name, " ".join(options), guess, best, last, rollbacks, diverged)


def train(name: str, options: tuple[str, ...], text: str, budget: list[str], folder: Path) -> Row:
    """Train on one text, as a process of its own."""
    corpus, run = folder / "corpus.txt", folder / "run"
    corpus.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "textgen", "train", str(corpus), "--run", str(run)]
    process = subprocess.run(
        [*command, *options, *budget, "--cache-dir", str(folder / "cache")],
        capture_output=True,
        text=True,
        check=False,
    )
    error = "" if process.returncode == 0 else (process.stderr.strip().splitlines() or ["no message"])[-1]
    rows = 1
    if run.exists():
        rows = json.loads((run / "config.json").read_text(encoding="utf-8"))["model"]["model_vocab_size"]
    return judged(name, options, json_lines(run / "metrics.jsonl"), rows, error)


def line_of(row: Row) -> str:
    """A row of the table."""
    return (
        f"| {row.corpus} | {row.options} | {row.guess:.3f} | {row.best:.3f} | {row.last:.3f} "
        f"| {row.rollbacks} | {row.diverged or 'no'} |"
    )


@click.command()
@click.option("--minutes", type=float, default=0.1, show_default=True, help="Budget of each run.")
@click.option("--steps", type=click.IntRange(min=1), help="Budget of each run in steps instead.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="How many runs.")
@click.option("--only", multiple=True, type=click.Choice(list(CORPORA)), help="Only this corpus; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the corpora.")
def main(minutes: float, steps: int | None, runs: int, only: tuple[str, ...], seed: int) -> None:
    """Train with defaults on odd corpora, print a table, and exit with 1 if any run diverged."""
    end_together()
    budget = ["--minutes", str(minutes)] if steps is None else ["--steps", str(steps)]
    click.echo("| corpus | options | log V | best validation | last validation | rollbacks | diverged |")
    click.echo("|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for name, options in plan(list(only) or list(CORPORA), runs):
        text = CORPORA[name](random.Random(f"{seed} {name}"))
        with tempfile.TemporaryDirectory() as folder:
            rows.append(train(name, options, text, budget, Path(folder)))
        click.echo(line_of(rows[-1]))
    diverged = sum(bool(row.diverged) for row in rows)
    rolled_back = sum(row.rollbacks > 0 for row in rows)
    click.echo(f"\n{diverged} of {len(rows)} runs diverged; {rolled_back} went back at least once.")
    if diverged:
        sys.exit(1)


if __name__ == "__main__":
    main()
