"""`textgen compare`: which cell suits a text, measured."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.analysis.comparison.plan import ComparisonPlan
from textgen.cli.support.options import cache_dir_option, cell_names, config_option, json_option
from textgen.settings.config import DataConfig, ModelConfig, TrainingConfig
from textgen.settings.option import options_of

if TYPE_CHECKING:
    from textgen.analysis.comparison.runs import ComparedRuns
    from textgen.system.progress import Reporter

# Options of `train` that all runs share. What is not among them is what is compared, or follows from it.
SHARED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        DataConfig,
        ("documents", "field", "encoding", "val_fraction", "val", "tokenizer", "vocab_size", "min_frequency"),
    ),
    (ModelConfig, ("hidden_size", "num_layers", "dropout")),
    (TrainingConfig, ("learning_rate", "device", "precision", "threads")),
)
MOST_COLUMNS = 100  # longer lines of words are hard to read


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of the plan, then one for each that all runs share, as `train` has it."""
    options = [
        config_option(ComparisonPlan, "seeds"),
        config_option(ComparisonPlan, "match"),
        config_option(ComparisonPlan, "minutes"),
    ]
    for config_class, names in SHARED:
        for name in names:
            options.append(config_option(config_class, name, unset=True))
    for add in reversed(options):
        command = add(command)
    return command


@click.command(name="compare")
@click.argument("corpus", nargs=-1, required=True)
@click.option(
    "--cells", metavar="NAMES", default=",".join(options_of(ComparisonPlan)["cells"].default),
    show_default=True, help=options_of(ComparisonPlan)["cells"].help,
)  # fmt: skip
@comparison_options
@click.option(
    "--output", metavar="DIR",
    help="Where runs and figures go; the same command goes on there.  [default: compare/<corpus>]",
)  # fmt: skip
@cache_dir_option
@json_option("the figures")
def command(
    corpus: tuple[str, ...],
    cells: str,
    seeds: int,
    match: str,
    minutes: float,
    output: str | None,
    cache_dir: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train an LSTM and a GRU on CORPUS alike, and say what the figures support and what they do not.

    Every run is trained as `textgen train` does it, one after the other, and what is not set here is chosen
    as there; but unless --match is minutes, all have an embedding of one narrow size, not tied to the head.
    Interrupted, the same command goes on; when all is done, it shows the figures again.
    """
    from textgen.analysis.comparison.plan import claimed, new_plan, plan_directory
    from textgen.analysis.comparison.runs import ComparedRuns
    from textgen.system.interrupts import StopRequest
    from textgen.system.progress import Reporter
    from textgen.text.sources import corpus_name

    shared = {name: value for name, value in settings.items() if value is not None}
    chosen = {"cells": cell_names(cells), "seeds": seeds, "match": match, "minutes": minutes}
    plan = new_plan(corpus, shared, **chosen)
    directory = plan_directory(plan, None if output is None else Path(output), corpus_name(corpus))
    progress = Reporter(sys.stderr)
    with claimed(plan, directory):
        runs = ComparedRuns(plan, directory, cache_dir, progress)
        with StopRequest() as stop:
            runs.train(stop)
        _show(runs, progress, as_json=as_json)


def _show(runs: ComparedRuns, progress: Reporter, *, as_json: bool) -> None:
    """The figures on standard output, and in files."""
    from textgen.analysis.comparison.files import comparison_json, finished_comparison, write_files
    from textgen.analysis.comparison.table import terminal_lines
    from textgen.plots.style import can_draw
    from textgen.system.progress import Reporter

    comparison = finished_comparison(runs, progress)
    written = write_files(comparison, runs.directory)
    out = Reporter(sys.stdout)
    if as_json:
        out.line(json.dumps(comparison_json(comparison), allow_nan=False))
    else:
        for line in terminal_lines(comparison, min(shutil.get_terminal_size().columns, MOST_COLUMNS)):
            out.line(line)
    progress.line(f"Written: {', '.join(map(str, written))}.")
    if not can_draw():
        progress.line("compare.png is left out: the extra `plot` draws it (pip install 'textgen[plot]').")
