"""Ablation of the default recipe: add or remove one part at a time, at equal wall-clock time.

The recipe is what `textgen train` chooses by default. A part that it uses is removed, one that it does not
use is added, and everything else stays as chosen. Each run is a `textgen train` for the same number of
minutes, one after the other, evaluated in bits per character on the whole validation text.

Results are appended to the file RESULTS, and runs that are in it are not repeated, so an ablation can be
stopped and continued. Failed runs are reported, and tried again the next time.

On a machine that runs other programs, use --steps: each run then gets the same steps instead of the same
minutes, and the table also shows its processor time as a multiple of the recipe's. Several ablations may then
run at once, with a file of results each.

Corpora: `faq` (data/faq.txt) and `python` (source code of Python's standard library) with characters,
`faq-bpe` and `python-bpe` with subwords, and those given with --corpus.

Examples:
    python scripts/ablation.py results.jsonl
    python scripts/ablation.py results.jsonl --corpus tiny=tinyshakespeare.txt
    python scripts/ablation.py results.jsonl --minutes 10 --only "recipe, weight drop"
    python scripts/ablation.py results.jsonl --steps 5000 --settings "--threads 1"
    python scripts/ablation.py results.jsonl --variant "wide=--hidden-size 512"
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import statistics
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from benchmarks.command import OutputFile, Script
from benchmarks.measure import markdown
from benchmarks.results import append_line, json_lines, text_digest
from benchmarks.runs import end_together, train

from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.option import as_arguments, flag

ROOT = Path(__file__).parents[1]
SOURCE_CHARACTERS = 1_000_000  # of Python's standard library
RECIPE = "recipe"


class Part(NamedTuple):
    """A part of the recipe: its name in the config, and the options of `train` that add and remove it."""

    option: str
    add: str
    remove: str


def _strength(option: str, value: float) -> Part:
    return Part(option, f"{flag(option)} {value:g}", f"{flag(option)} 0")


def _switch(option: str) -> Part:
    return Part(option, *as_arguments(option, True), *as_arguments(option, False))


# The strengths are common in papers, for networks and texts of this size.
PARTS = {
    "dropout": _strength("dropout", 0.3),
    "input dropout": _strength("input_dropout", 0.1),
    "embedding dropout": _strength("embedding_dropout", 0.05),
    "weight drop": _strength("weight_drop", 0.2),
    "momentum": _strength("beta1", 0.9),
    "weight decay": _strength("weight_decay", 0.05),
    "weight averaging": _strength("ema_decay", 0.998),
    "activation penalty": _strength("activation_penalty", 1.0),
    "temporal penalty": _strength("temporal_activation_penalty", 1.0),
    "random windows": _switch("vary_seq_len"),
    "tied weights": _switch("tie_weights"),
    "layer norm": _switch("layer_norm"),
    "residual": _switch("residual"),
}


# A variant gets every setting that the recipe chose, so that it is not chosen again, differently. Not these,
# which belong to the text, the job or the machine, or do not affect training.
NOT_CHOSEN = """
    model_vocab_size labels start_id cell minutes steps seed device precision threads deterministic
    evaluations eval_tokens early_stopping patience
""".split()
CHOSEN = [
    field.name
    for config in (ModelConfig, TrainingConfig)
    for field in dataclasses.fields(config)
    if field.name not in NOT_CHOSEN
]


class Job(NamedTuple):
    """One run: its text, variant of the recipe and seed, and the options of `train` that a table shares.

    These are the budget and any other settings.
    """

    corpus: str
    variant: str
    seed: int
    budget: str


@click.command(cls=Script, help=__doc__)
@click.argument("results", type=OutputFile())
@click.option("--minutes", type=float, default=2.0, show_default=True, help="Minutes of each run.")
@click.option("--steps", type=int, help="Steps of each run, instead of minutes.")
@click.option("--settings", default="", metavar="OPTIONS", help="Options of textgen train for every run.")
@click.option("--seeds", default="1,2", show_default=True, help="Seeds, separated by commas.")
@click.option("--corpus", multiple=True, metavar="NAME=PATH", help="Another text; can be repeated.")
@click.option("--corpora", metavar="NAMES", help="Only these corpora, separated by commas.")
@click.option("--only", metavar="NAMES", help="Only these variants, separated by commas.")
@click.option("--variant", multiple=True, metavar="NAME=OPTIONS", help="Another variant; can be repeated.")
def main(
    results: Path,
    minutes: float,
    steps: int | None,
    settings: str,
    seeds: str,
    corpus: tuple[str, ...],
    corpora: str | None,
    only: str | None,
    variant: tuple[str, ...],
) -> None:
    """Run the ablation, append to the results, and print the table."""
    end_together()
    known, failures = json_lines(results), 0
    budget = (f"--minutes {minutes:g}" if steps is None else f"--steps {steps}") + f" {settings}".rstrip()
    with tempfile.TemporaryDirectory() as folder:
        texts = _chosen(_texts(Path(folder), _pairs("--corpus", corpus)), corpora, "--corpora")
        extra = _pairs("--variant", variant)
        names = _chosen(dict.fromkeys([RECIPE, *PARTS, *extra]), only, "--only")
        # Seed by seed and text by text, so that an incomplete table compares runs of the same seed.
        jobs = [Job(text, name, seed, budget) for seed in _seeds(seeds) for text in texts for name in names]
        digests = {name: text_digest(Path(text[0])) for name, text in texts.items()}
        _check_known(known, digests, extra)
        done = {Job(*(line[field] for field in Job._fields)) for line in known}
        missing = [job for job in jobs if job not in done]
        for number, job in enumerate(missing, 1):
            click.echo(f"{number} of {len(missing)}: {job.corpus}, {job.variant}, seed {job.seed}", err=True)
            recipe = _recipe(known, job)
            if job.variant not in (RECIPE, *extra) and recipe is None:
                raise click.UsageError(f"{job.corpus}: run the recipe first, with --only {RECIPE}")
            options = extra[job.variant] if job.variant in extra else _options(job.variant, recipe)
            if options is None:
                click.echo("skipped: it needs two layers, and the recipe has one", err=True)
                continue
            kept = _kept(recipe) if recipe is not None and job.variant in PARTS else []
            line = job._asdict() | {"options": options, "text": digests[job.corpus]}
            try:
                line |= _train(Path(folder), texts[job.corpus], [*kept, *shlex.split(options)], job)
            except click.ClickException as error:  # the other runs may succeed
                click.echo(f"failed: {error.format_message()}", err=True)
                failures += 1
                continue
            known.append(line)
            append_line(results, line)
    click.echo("\n".join(markdown(table([line for line in known if line["budget"] == budget]))))
    if failures:
        raise click.ClickException(f"{failures} of {len(missing)} runs failed; run this again to retry them")


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--seeds {text!r}: must be whole numbers, separated by commas") from None


def _check_known(known: Iterable[dict[str, Any]], digests: dict[str, str], extra: dict[str, str]) -> None:
    """Raise UsageError if the results contain one of these names for another text or other options."""
    for line in known:
        name = line["corpus"]
        if name in digests and line.get("text") != digests[name]:
            raise click.UsageError(f"{name}: the results are of another text; use a new file of results")
        if (options := extra.get(line["variant"])) is not None and options != line["options"]:
            raise click.UsageError(
                f"--variant {line['variant']}: results have it with {line['options']!r}; use another name"
            )


def _pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.UsageError(f"{option} {value!r}: must be NAME=...")
    return dict(value.split("=", 1) for value in values)


def _chosen(known: dict[str, Any], names: str | None, option: str) -> dict[str, Any]:
    if names is None:
        return known
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise click.UsageError(f"{option} {name!r}: must be one of {', '.join(known)}")
    return {name: known[name] for name in wanted}


def _texts(folder: Path, named: dict[str, str]) -> dict[str, list[str]]:
    """The arguments of `textgen train` for every corpus, by its name."""
    faq, source = str(ROOT / "data" / "faq.txt"), str(folder / "python.txt")
    (folder / "python.txt").write_text(standard_library(SOURCE_CHARACTERS), encoding="utf-8")
    bpe = ["--tokenizer", "bpe"]
    texts = {"faq": [faq], "faq-bpe": [faq, *bpe], "python": [source], "python-bpe": [source, *bpe]}
    return texts | {name: [str(Path(path).resolve())] for name, path in named.items()}


def standard_library(characters: int) -> str:
    """At least this many characters of Python's standard library: whole modules, in order of their names."""
    sources: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        sources.append(path.read_text(encoding="utf-8"))
        characters -= len(sources[-1])
        if characters <= 0:
            break
    return "".join(sources)


def _recipe(known: Iterable[dict[str, Any]], job: Job) -> dict[str, Any] | None:
    """What the recipe chose for a job's text and budget, if possible with its seed; None: not run yet."""
    chosen = {
        line["seed"]: line["chosen"]
        for line in known
        if (line["corpus"], line["variant"], line["budget"]) == (job.corpus, RECIPE, job.budget)
    }
    return chosen.get(job.seed, next(iter(chosen.values()), None))


def _kept(recipe: dict[str, Any]) -> list[str]:
    """Options of `train` for every setting that the recipe chose."""
    return [word for name in CHOSEN if recipe[name] is not None for word in as_arguments(name, recipe[name])]


def _options(variant: str, recipe: dict[str, Any] | None) -> str | None:
    """The options of a variant of the recipe; None if it is not possible with the recipe's network."""
    if recipe is None or variant == RECIPE:
        return ""
    part = PARTS[variant]
    if part.option == "residual" and recipe["num_layers"] == 1:
        return None
    return part.remove if recipe[part.option] else part.add


def _train(folder: Path, text: Sequence[str], options: Sequence[str], job: Job) -> dict[str, Any]:
    """Train a run, and return its results without keeping it."""
    settings = ["--cache-dir", str(folder / "cache"), "--seed", str(job.seed)]
    settings += [*shlex.split(job.budget), *options]
    before = _processor_seconds()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        figures = train(text, Path(place) / "run", settings)
    return {"processor_seconds": _processor_seconds() - before} | figures


def _processor_seconds() -> float:
    """The processor time of all child processes that have ended, in seconds."""
    used = os.times()
    return used.children_user + used.children_system


def table(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table as rows of cells: one variant per row, one corpus per column.

    The first row is the recipe's bits per character, the others are percent fewer bits than that; each is the
    mean over the seeds, ± half their range. A star marks a difference that exceeds both half ranges, its own
    and the recipe's; with one seed there is none. Runs with equal steps also show their relative cost.
    """
    corpora = list(dict.fromkeys(line["corpus"] for line in lines))
    variants = list(dict.fromkeys(line["variant"] for line in lines))
    rows = [["variant", *corpora]]
    for variant in variants:
        rows.append([variant, *(_cell(lines, corpus, variant) for corpus in corpora)])
    return rows


def _cell(lines: Sequence[dict[str, Any]], corpus: str, variant: str) -> str:
    recipe, bits = _bits(lines, corpus, RECIPE), _bits(lines, corpus, variant)
    if variant == RECIPE:
        values = list(recipe.values())
        return f"{statistics.mean(values):.4f} ± {_half_range(values):.4f} bits" if values else ""
    gains = [100 * (1 - bits[seed] / recipe[seed]) for seed in bits if seed in recipe]
    if not gains:
        return ""
    noise = 100 * _half_range(list(recipe.values())) / statistics.mean(recipe.values())
    clear = len(gains) > 1 and abs(statistics.mean(gains)) > max(noise, _half_range(gains))
    runs = [line for line in lines if (line["corpus"], line["variant"]) == (corpus, variant)]
    remark = "".join([runs[0]["options"], _cost(lines, runs)])
    return f"{statistics.mean(gains):+.2f} ± {_half_range(gains):.2f} %{' *' if clear else ''} ({remark})"


def _cost(lines: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> str:
    """The processor time as a multiple of the recipe's, with the same seeds; empty for runs in minutes."""
    if not runs[0]["budget"].startswith("--steps"):
        return ""
    recipe = {
        line["seed"]: line["processor_seconds"]
        for line in lines
        if (line["corpus"], line["variant"]) == (runs[0]["corpus"], RECIPE)
    }
    ratios = [run["processor_seconds"] / recipe[run["seed"]] for run in runs if run["seed"] in recipe]
    return f", {statistics.mean(ratios):.2f} x the time"


def _bits(lines: Sequence[dict[str, Any]], corpus: str, variant: str) -> dict[int, float]:
    """Bits per character by seed."""
    return {
        line["seed"]: line["bits_per_character"]
        for line in lines
        if (line["corpus"], line["variant"]) == (corpus, variant)
    }


def _half_range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / 2


if __name__ == "__main__":
    main()
