"""Writes the result files of a comparison into its directory, next to the runs.

speeds.json        sampling speed and forward/backward times, measured once and reused
ngram.json         the figures of an n-gram model, where one is compared; measured once and reused
comparison.json    every figure, finding, claim and remark
comparison.md      the table and the text below it
compare.png        validation loss against tokens and time (needs the `plot` extra)
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from textgen.analysis.comparison.claims import NAMES, findings, remarks, textbook_claims
from textgen.analysis.comparison.figures import Comparison, load_comparison
from textgen.analysis.comparison.ngrams import NGramFigures, kept_ngrams
from textgen.analysis.comparison.plan import NGRAM, PlannedRun
from textgen.analysis.comparison.runs import ComparedRuns
from textgen.analysis.comparison.table import markdown
from textgen.analysis.comparison.throughput import Throughput, measure_throughput, sampling_speeds
from textgen.errors import RunError
from textgen.plots.curves import LossCurve, draw_comparison
from textgen.plots.style import can_draw
from textgen.run import Run
from textgen.system.atomic import write_file
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.progress import Reporter
from textgen.text.remote.texts import RemoteTexts
from textgen.text.sources import corpus_name
from textgen.text.store import default_cache_dir

SPEEDS, JSON, MARKDOWN, PICTURE = "speeds.json", "comparison.json", "comparison.md", "compare.png"


def finished_comparison(runs: ComparedRuns, reporter: Reporter) -> Comparison:
    """The figures of complete runs.

    Measures the speeds and counts n-grams unless their files are there already. Raises RunError, and
    CorpusError where n-grams are to be counted of a text that is gone.
    """
    path = runs.directory / SPEEDS
    if not path.is_file():
        reporter.line("Measuring the speed of each cell in sampling and training.")
        write_file(path, json.dumps(_measure(runs), indent=2) + "\n")
    try:
        speeds = parse_json(read_bounded(path, RUN_FILE_LIMIT, "the speeds of a comparison"))
        sampling = {cell: float(speeds["characters_per_second"][cell]) for cell in runs.plan.networks}
        throughput = Throughput(**speeds["passes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read; remove it to have it measured again") from error
    return load_comparison(
        runs.plan,
        runs.run,
        runs.peak_memory,
        characters_per_second=sampling,
        throughput=throughput,
        ngrams=_ngrams(runs, reporter),
    )


def _ngrams(runs: ComparedRuns, reporter: Reporter) -> NGramFigures | None:
    if NGRAM not in runs.plan.cells:
        return None
    cache_dir = default_cache_dir() if runs.cache_dir is None else Path(runs.cache_dir)
    # All runs have the same text and tokens; where it is, the user has named to this command.
    remote = RemoteTexts(cache_dir, True, reporter.work, runs.cache_size)
    run = Run(runs.directory / runs.plan.runs[0].name, remote)
    return kept_ngrams(runs.directory, run, cache_dir, reporter)


def _measure(runs: ComparedRuns) -> dict[str, Any]:
    """Measure the runs with seed 1; the speed of a cell does not depend on its weights."""
    cells = runs.plan.networks
    config = runs.config(PlannedRun(cells[0], 1))
    return {
        "characters_per_second": sampling_speeds({cell: runs.run(PlannedRun(cell, 1)) for cell in cells}),
        "passes": dataclasses.asdict(measure_throughput(cells, config.model, config.training)),
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The figures, findings, claims and remarks as one JSON object."""
    return comparison.as_dict() | {
        "findings": findings(comparison),
        "claims": [dataclasses.asdict(claim) for claim in textbook_claims(comparison)],
        "remarks": remarks(comparison),
    }


def write_files(comparison: Comparison, directory: Path) -> list[Path]:
    """Write the result files, each atomically; returns the paths written (no picture without matplotlib)."""
    plan = comparison.plan
    ngrams = () if comparison.ngrams is None else (NGRAM,)
    title = f"{', '.join(NAMES[cell] for cell in (*plan.networks, *ngrams))} on {corpus_name(plan.corpus)}"
    write_file(directory / JSON, json.dumps(comparison_json(comparison), indent=2, allow_nan=False) + "\n")
    write_file(directory / MARKDOWN, markdown(comparison, title))
    written = [directory / JSON, directory / MARKDOWN]
    if can_draw():
        seeds = f" (thin: {plan.seeds} seeds, bold: their mean)" if plan.seeds > 1 else ""
        draw_comparison(_curves(comparison), title + seeds, directory / PICTURE, _level(comparison))
        written.append(directory / PICTURE)
    return written


def _curves(comparison: Comparison) -> dict[str, list[LossCurve]]:
    return {
        NAMES[cell]: [
            LossCurve(
                tokens=[each.tokens for each in run.evaluations],
                minutes=[each.minutes for each in run.evaluations],
                losses=[each.loss for each in run.evaluations],
            )
            for run in comparison.runs_of(cell)
        ]
        for cell in comparison.plan.networks
    }


def _level(comparison: Comparison) -> tuple[str, float] | None:
    ngrams = comparison.ngrams
    return None if ngrams is None else (NAMES[NGRAM], ngrams.nats_per_token)
