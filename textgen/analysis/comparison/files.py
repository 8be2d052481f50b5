"""What a finished comparison leaves in its directory, beside the runs.

speeds.json        writing and both passes, measured once, cell beside cell
comparison.json    every figure, claim and remark
comparison.md      the table and the words
compare.png        validation loss against tokens and time (with the `plot` extra)
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from textgen.analysis.comparison.claims import NAMES, findings, remarks, textbook_claims
from textgen.analysis.comparison.figures import Comparison, compare
from textgen.analysis.comparison.plan import PlannedRun
from textgen.analysis.comparison.runs import ComparedRuns
from textgen.analysis.comparison.table import markdown
from textgen.analysis.comparison.throughput import Passes, passes, writing_speeds
from textgen.errors import RunError
from textgen.plots.curves import LossCurve, draw_comparison
from textgen.plots.style import can_draw
from textgen.system.atomic import write_file
from textgen.system.progress import Reporter
from textgen.text.sources import corpus_name

SPEEDS, JSON, MARKDOWN, PICTURE = "speeds.json", "comparison.json", "comparison.md", "compare.png"


def finished_comparison(runs: ComparedRuns, reporter: Reporter) -> Comparison:
    """The figures of runs that are all complete; what is not measured yet is. Raises RunError."""
    path = runs.directory / SPEEDS
    if not path.is_file():
        reporter.line("Measuring how fast the cells write and compute, in turn.")
        write_file(path, json.dumps(_measure(runs), indent=2) + "\n")
    try:
        speeds = json.loads(path.read_text(encoding="utf-8"))
        written = {cell: float(speeds["characters_per_second"][cell]) for cell in runs.plan.cells}
        computed = Passes(**speeds["passes"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read; remove it, and it is measured again") from error
    return compare(runs.plan, runs.run, runs.peak_memory, characters_per_second=written, passes=computed)


def _measure(runs: ComparedRuns) -> dict[str, Any]:
    """Of the runs with seed 1; the speed of a cell does not depend on its weights."""
    cells = runs.plan.cells
    config = runs.config(PlannedRun(cells[0], 1))
    return {
        "characters_per_second": writing_speeds({cell: runs.run(PlannedRun(cell, 1)) for cell in cells}),
        "passes": dataclasses.asdict(passes(cells, config.model, config.training)),
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """All that was found, as one JSON object."""
    return comparison.as_dict() | {
        "findings": findings(comparison),
        "claims": [dataclasses.asdict(claim) for claim in textbook_claims(comparison)],
        "remarks": remarks(comparison),
    }


def write_files(comparison: Comparison, directory: Path) -> list[Path]:
    """Write the files above, each whole or not at all; returns those that were written."""
    plan = comparison.plan
    title = f"{', '.join(NAMES[cell] for cell in plan.cells)} on {corpus_name(plan.corpus)}"
    write_file(directory / JSON, json.dumps(comparison_json(comparison), indent=2, allow_nan=False) + "\n")
    write_file(directory / MARKDOWN, markdown(comparison, title))
    written = [directory / JSON, directory / MARKDOWN]
    if can_draw():
        seeds = f": {plan.seeds} seeds thin, their mean bold" if plan.seeds > 1 else ""
        draw_comparison(_curves(comparison), title + seeds, directory / PICTURE)
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
            for run in comparison.of_cell(cell)
        ]
        for cell in comparison.plan.cells
    }
