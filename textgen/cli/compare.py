"""`textgen compare`: train several cells alike on a text and compare them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.analysis.comparison.plan import ComparisonPlan
from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    READING,
    GroupedCommand,
    cache_dir_option,
    cache_size_option,
    cell_names,
    config_option,
    grouped_option,
    json_option,
)
from textgen.cli.support.remote import remote_texts
from textgen.settings.config import (
    DEVICE,
    NETWORK,
    OPTIMISATION,
    REGULARISATION,
    TEXT,
    DataConfig,
    ModelConfig,
    TrainingConfig,
)
from textgen.settings.option import options_of

if TYPE_CHECKING:
    from textgen.analysis.comparison.runs import ComparedRuns
    from textgen.system.progress import Reporter

EXAMPLES = (
    "textgen compare corpus.txt                                    an LSTM and a GRU, equal parameters",
    "textgen compare corpus.txt --cells lstm,gru,rnn --minutes 30  a plain RNN too, for longer",
    "textgen compare corpus.txt --match size --hidden-size 128     equal layer sizes",
    "textgen compare corpus.txt --match minutes                    each cell with its own settings",
    "textgen compare corpus.txt --cells lstm,gru,ngram             n-grams too: what do networks add?",
)
HEADINGS = (COMMON, TEXT, NETWORK, REGULARISATION, OPTIMISATION, DEVICE, OUTPUT)
# Options of `train` that are the same for all runs. The others are compared, or follow from the comparison.
SHARED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        DataConfig,
        ("include", *READING, "normalize", "val_fraction", "val", "tokenizer", "vocab_size", "min_frequency"),
    ),
    (ModelConfig, ("hidden_size", "num_layers", "dropout")),
    (TrainingConfig, ("learning_rate", "device", "precision", "threads")),
)
MAX_COLUMNS = 100  # longer lines are hard to read


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for the fields of the plan, then those of `train` that all runs share."""
    options = [
        config_option(ComparisonPlan, "seeds", group=COMMON),
        config_option(ComparisonPlan, "match", group=COMMON),
        config_option(ComparisonPlan, "minutes", group=COMMON),
    ]
    for config_class, names in SHARED:
        for name in names:
            options.append(config_option(config_class, name, unset=True))
    for add in reversed(options):
        command = add(command)
    return command


@click.command(name="compare", cls=GroupedCommand, examples=EXAMPLES, headings=HEADINGS)
@click.argument("corpus", nargs=-1, required=True)
@grouped_option(
    "--cells", metavar="NAMES", default=",".join(options_of(ComparisonPlan)["cells"].default),
    show_default=True, group=COMMON, help=options_of(ComparisonPlan)["cells"].help,
)  # fmt: skip
@comparison_options
@grouped_option(
    "--output", metavar="DIR", group=OUTPUT,
    help="Directory of the runs and the report.  [default: compare/<corpus>]",
)  # fmt: skip
@cache_dir_option()
@cache_size_option()
@json_option("the results")
def command(
    corpus: tuple[str, ...],
    cells: str,
    seeds: int,
    match: str,
    minutes: float,
    output: str | None,
    cache_dir: str | None,
    cache_size: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train an LSTM and a GRU on the same text and compare them.

    CORPUS is what `textgen train` takes. The runs are trained one after the other. Settings that you leave
    out are chosen as in `train`, except that the embedding is small and the same for all, unless --match is
    minutes. With `ngram` among the --cells, an n-gram model is counted too, in seconds and with no settings;
    it may be added to a comparison that is complete. If interrupted, repeat the command to continue; after
    the last run, it shows the results again.
    """
    from textgen.analysis.comparison.plan import claimed, new_plan, plan_directory
    from textgen.analysis.comparison.runs import ComparedRuns
    from textgen.system.interrupts import StopRequest
    from textgen.system.progress import Reporter
    from textgen.text.sources import corpus_name

    shared = {name: value for name, value in settings.items() if value is not None}
    chosen = {"cells": cell_names(cells), "seeds": seeds, "match": match, "minutes": minutes}
    progress = Reporter(sys.stderr)
    plan = new_plan(corpus, shared, remote_texts(cache_dir, progress, cache_size=cache_size), **chosen)
    directory = plan_directory(plan, None if output is None else Path(output), corpus_name(corpus))
    with claimed(plan, directory):
        runs = ComparedRuns(plan, directory, cache_dir, progress, cache_size)
        with StopRequest() as stop:
            runs.train(stop)
        _show(runs, progress, as_json=as_json)


def _show(runs: ComparedRuns, progress: Reporter, *, as_json: bool) -> None:
    """Print the results and write them to files."""
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
        for line in terminal_lines(comparison, min(shutil.get_terminal_size().columns, MAX_COLUMNS)):
            out.line(line)
    progress.line(f"Written: {', '.join(map(str, written))}.")
    if not can_draw():
        progress.line("No compare.png: pictures need matplotlib (pip install 'textgen[plot]').")
