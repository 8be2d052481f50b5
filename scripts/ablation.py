"""Which part of the recipe pays: each one taken away from it or added to it, alone, at equal wall-clock time.

The recipe is what `textgen train` chooses by itself. A part that it uses is taken away, one that it does not
use is added; all else stays as chosen. Each run is `textgen train` as a process of its own, for the same
minutes, one after the other, and is judged by bits per character on the whole validation text. Every result
is appended to a file as it comes, and what is there already is not run again: a stopped ablation goes on
where it was.

On a machine that has other work to do, a clock measures that work. There `--steps` gives each run the same
steps instead of the same minutes, and the table says beside each gain what a run costs: its processor time
as a multiple of the recipe's. Two such ablations may run side by side, on files of their own.

What has ended badly is said, and tried again the next time.

Corpora: `faq`, the text that ships; `python`, source code of the standard library of the Python that runs
this; both with characters and, as `faq-bpe` and `python-bpe`, with subwords; and any that is named.

Run as:

    python scripts/ablation.py results.jsonl                                     two minutes, two seeds
    python scripts/ablation.py results.jsonl --corpus tiny=tinyshakespeare.txt   one more corpus
    python scripts/ablation.py results.jsonl --minutes 10 --only "recipe, weight drop"
    python scripts/ablation.py results.jsonl --steps 5000 --settings "--threads 1"    for a busy machine
    python scripts/ablation.py results.jsonl --variant "wide=--hidden-size 512"  anything else
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
from benchmarks.measure import markdown
from benchmarks.results import OutputFile, append_line, json_lines, text_digest
from benchmarks.runs import end_together, train

from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.option import as_arguments, flag

ROOT = Path(__file__).parents[1]
SOURCE_CHARACTERS = 1_000_000  # of Python's standard library
RECIPE = "recipe"


class Part(NamedTuple):
    """A part of the recipe: the config's name for it, and what adds it and takes it away."""

    option: str
    add: str
    remove: str


def _share(option: str, value: float) -> Part:
    return Part(option, f"{flag(option)} {value:g}", f"{flag(option)} 0")


def _switch(option: str) -> Part:
    return Part(option, *as_arguments(option, True), *as_arguments(option, False))


# The strengths are the usual ones of the papers, for networks and texts of this size.
PARTS = {
    "dropout": _share("dropout", 0.3),
    "input dropout": _share("input_dropout", 0.1),
    "embedding dropout": _share("embedding_dropout", 0.05),
    "weight drop": _share("weight_drop", 0.2),
    "momentum": _share("beta1", 0.9),
    "weight decay": _share("weight_decay", 0.05),
    "weight averaging": _share("ema_decay", 0.998),
    "activation penalty": _share("activation_penalty", 1.0),
    "temporal penalty": _share("temporal_activation_penalty", 1.0),
    "random windows": _switch("vary_seq_len"),
    "tied weights": _switch("tie_weights"),
    "layer norm": _switch("layer_norm"),
    "residual": _switch("residual"),
}


# A variant of a part keeps what the recipe chose; left open it would be chosen anew, by a probe of its own.
# Not these: the text's, the job's, the machine's, and what does not train.
NOT_CHOSEN = """
    model_vocab_size cell minutes steps seed device precision threads deterministic
    evaluations eval_tokens early_stopping patience
""".split()
CHOSEN = [
    field.name
    for config in (ModelConfig, TrainingConfig)
    for field in dataclasses.fields(config)
    if field.name not in NOT_CHOSEN
]


class Job(NamedTuple):
    """One run: which text, which variant of the recipe, which seed, and what all runs of a table share.

    That is the budget, as options of `train`, with any other settings behind it.
    """

    corpus: str
    variant: str
    seed: int
    budget: str


@click.command()
@click.argument("results", type=OutputFile())
@click.option("--minutes", type=float, default=2.0, show_default=True, help="Wall-clock minutes of each run.")
@click.option("--steps", type=int, help="Steps of each run, instead of minutes.")
@click.option("--settings", default="", metavar="OPTIONS", help="Options of `train` for every run.")
@click.option("--seeds", default="1,2", show_default=True, help="Seeds, separated by commas.")
@click.option("--corpus", multiple=True, metavar="NAME=PATH", help="One more text, with characters.")
@click.option("--corpora", metavar="NAMES", help="Only these of all corpora, separated by commas.")
@click.option("--only", metavar="NAMES", help="Only these variants, separated by commas.")
@click.option("--variant", multiple=True, metavar="NAME=OPTIONS", help="One more, with options of `train`.")
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
    """Run what is not in RESULTS yet, append it, and print the table of all that is there."""
    end_together()
    known, failures = json_lines(results), 0
    budget = (f"--minutes {minutes:g}" if steps is None else f"--steps {steps}") + f" {settings}".rstrip()
    with tempfile.TemporaryDirectory() as folder:
        texts = _chosen(_texts(Path(folder), _pairs("--corpus", corpus)), corpora, "--corpora")
        extra = _pairs("--variant", variant)
        names = _chosen(dict.fromkeys([RECIPE, *PARTS, *extra]), only, "--only")
        # Seed by seed and text by text, so that a table begun is a table of comparable runs.
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
                click.echo("left out: it needs two layers, the recipe has one", err=True)
                continue
            kept = _kept(recipe) if recipe is not None and job.variant in PARTS else []
            line = job._asdict() | {"options": options, "text": digests[job.corpus]}
            try:
                line |= _train(Path(folder), texts[job.corpus], [*kept, *shlex.split(options)], job)
            except click.ClickException as error:  # the others may do
                click.echo(f"failed: {error.format_message()}", err=True)
                failures += 1
                continue
            known.append(line)
            append_line(results, line)
    click.echo("\n".join(markdown(table([line for line in known if line["budget"] == budget]))))
    if failures:
        raise click.ClickException(f"{failures} of {len(missing)} runs failed; run this again to try them")


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--seeds {text!r}: whole numbers, with commas between") from None


def _check_known(known: Iterable[dict[str, Any]], digests: dict[str, str], extra: dict[str, str]) -> None:
    """Raises UsageError where results under these names are of another text or of other options."""
    for line in known:
        name = line["corpus"]
        if name in digests and line.get("text") != digests[name]:
            raise click.UsageError(f"{name}: the results are of another text; begin a new file of results")
        if (options := extra.get(line["variant"])) is not None and options != line["options"]:
            raise click.UsageError(
                f"--variant {line['variant']}: has results with {line['options']!r}; give it another name"
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
            raise click.UsageError(f"{option} {name!r}: there are {', '.join(known)}")
    return {name: known[name] for name in wanted}


def _texts(folder: Path, named: dict[str, str]) -> dict[str, list[str]]:
    """Every corpus as the arguments of `textgen train` that read it."""
    faq, source = str(ROOT / "data" / "faq.txt"), str(folder / "python.txt")
    (folder / "python.txt").write_text(standard_library(SOURCE_CHARACTERS), encoding="utf-8")
    bpe = ["--tokenizer", "bpe"]
    texts = {"faq": [faq], "faq-bpe": [faq, *bpe], "python": [source], "python-bpe": [source, *bpe]}
    return texts | {name: [str(Path(path).resolve())] for name, path in named.items()}


def standard_library(characters: int) -> str:
    """So much source code of Python's standard library, whole modules in the order of their names."""
    sources: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        sources.append(path.read_text(encoding="utf-8"))
        characters -= len(sources[-1])
        if characters <= 0:
            break
    return "".join(sources)


def _recipe(known: Iterable[dict[str, Any]], job: Job) -> dict[str, Any] | None:
    """What the recipe chose for this text and this budget, with this seed if it was run."""
    chosen = {
        line["seed"]: line["chosen"]
        for line in known
        if (line["corpus"], line["variant"], line["budget"]) == (job.corpus, RECIPE, job.budget)
    }
    return chosen.get(job.seed, next(iter(chosen.values()), None))


def _kept(recipe: dict[str, Any]) -> list[str]:
    """Options of `train` for all that the recipe chose."""
    return [word for name in CHOSEN if recipe[name] is not None for word in as_arguments(name, recipe[name])]


def _options(variant: str, recipe: dict[str, Any] | None) -> str | None:
    """The options that make a variant of the recipe; None when the recipe's network can't have it."""
    if recipe is None or variant == RECIPE:
        return ""
    part = PARTS[variant]
    if part.option == "residual" and recipe["num_layers"] == 1:
        return None
    return part.remove if recipe[part.option] else part.add


def _train(folder: Path, text: Sequence[str], options: Sequence[str], job: Job) -> dict[str, Any]:
    """Train, and keep the figures alone."""
    settings = ["--cache-dir", str(folder / "cache"), "--seed", str(job.seed)]
    settings += [*shlex.split(job.budget), *options]
    before = _processor_seconds()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        figures = train(text, Path(place) / "run", settings)
    return {"processor_seconds": _processor_seconds() - before} | figures


def _processor_seconds() -> float:
    """What the processes that this one started, and that ended, took of all processors together."""
    used = os.times()
    return used.children_user + used.children_system


def table(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row a variant: how many percent fewer bits per character than the recipe, on each text.

    Beside the mean over the seeds stands the half of their range. The first row gives the recipe's bits. A
    star marks a difference that is larger than half its own range and half the recipe's, which one seed does
    not have. Where runs had the same steps, the cost stands beside it.
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
    """The processor time as a multiple of the recipe's, of the same seeds; empty for runs in minutes."""
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
