"""`textgen gradients`: how far back gradients reach, and how much context a model uses."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.analysis.comparison.plan import check_cells
from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    cell_names,
    config_option,
    device_option,
    fetch_option,
    grouped_option,
    json_option,
)
from textgen.cli.support.output import writable
from textgen.cli.support.remote import announce, remote_texts
from textgen.errors import ConfigError, Interrupted, TextgenError
from textgen.hub.repository import is_on_hub
from textgen.settings.config import CELLS, DROPOUTS, DataConfig, TrainingConfig
from textgen.settings.given import UserOptions
from textgen.settings.option import COUNT, POSITIVE, SEED, Range, flag

if TYPE_CHECKING:
    from textgen.run import Run
    from textgen.system.progress import Reporter

EXAMPLES = (
    "textgen gradients runs/corpus                         one run",
    "textgen gradients corpus.txt                          an LSTM, a GRU and a plain RNN",
    "textgen gradients corpus.txt --cells lstm,rnn         only these two",
    "textgen gradients corpus.txt --steps 500 --minutes 9  farther back, after longer training",
)
TRAINING = "Training, with a CORPUS"
PICTURE = "gradients.png"
FORMATS = (".png", ".svg", ".pdf")
DEFAULT_MINUTES = 3.0
DEFAULT_HIDDEN_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class CellTraining:
    """How the cells are trained on a CORPUS, as the user gave it; None: not given."""

    field: str | None
    encoding: str | None
    cells: str | None
    hidden_size: int | None
    minutes: float | None
    train_steps: int | None
    seed: int | None
    runs: str | None


@click.command(name="gradients", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, TRAINING, OUTPUT))
@click.argument("sources", metavar="RUN|CORPUS...", nargs=-1, required=True)
@grouped_option(
    "--steps", type=Number(int, Range(1, 10_000, "at least 1 and at most 10,000")), default=100,
    show_default=True, metavar="N", group=COMMON, help="Look back this many tokens.",
)  # fmt: skip
@grouped_option(
    "--positions", type=Number(int, COUNT), default=200, show_default=True, metavar="N", group=COMMON,
    help="Validation positions to measure gradients at.",
)  # fmt: skip
@grouped_option(
    "--tokens", type=Number(int, Range(2, COUNT.high, "at least 2 and below 2**63")), default=50_000,
    show_default=True, metavar="N", group=COMMON, help="Validation tokens to measure the loss on.",
)  # fmt: skip
@grouped_option(
    "--output", metavar="FILE", group=COMMON,
    help=f"Write a picture: {', '.join(FORMATS)}.  [default: {PICTURE}]",
)  # fmt: skip
@device_option("auto", COMMON)
@grouped_option(
    "--cells", metavar="NAMES", group=TRAINING,
    help=f"Cells to train, separated by commas.  [default: {','.join(CELLS)}]",
)  # fmt: skip
@grouped_option(
    "--hidden-size", type=Number(int, COUNT), metavar="N", group=TRAINING,
    help=f"Units of each network, which has one layer.  [default: {DEFAULT_HIDDEN_SIZE}]",
)  # fmt: skip
@grouped_option(
    "--minutes", type=Number(float, POSITIVE), metavar="X", group=TRAINING,
    help=f"Training time in all, split evenly over the cells.  [default: {DEFAULT_MINUTES:g}]",
)  # fmt: skip
@grouped_option(
    "--train-steps", type=Number(int, COUNT), metavar="N", group=TRAINING,
    help="Optimizer steps of each cell, instead of --minutes.",
)  # fmt: skip
@grouped_option(
    "--seed", type=Number(int, SEED), metavar="N", group=TRAINING,
    help=f"Seed of weights and batches.  [default: {TrainingConfig.seed}]",
)  # fmt: skip
@grouped_option(
    "--runs", metavar="DIR", group=TRAINING,
    help="Directory of the runs; complete ones are reused.  [default: gradients/<corpus>]",
)  # fmt: skip
@config_option(DataConfig, "field", unset=True, group=TRAINING)
@config_option(DataConfig, "encoding", unset=True, group=TRAINING)
@fetch_option("the text of RUN", COMMON)
@cache_dir_option()
@json_option("all results")
def command(
    sources: tuple[str, ...],
    steps: int,
    positions: int,
    tokens: int,
    output: str | None,
    device: str,
    fetch: bool,
    cache_dir: str | None,
    as_json: bool,
    **training: Any,
) -> None:
    """Measure how far back a model learns and remembers.

    Two things are measured: the gradient of the loss with respect to the state k tokens earlier, with the
    initial and with the trained weights; and the loss when the state is reset every k tokens. A RUN is
    measured as it is; on a CORPUS, an LSTM, a GRU and a plain RNN of the same size are trained first.
    """
    given = CellTraining(**training)
    named_runs = [
        source for source in sources if is_on_hub(source) or (Path(source) / "config.json").is_file()
    ]
    cells = _check(sources, given, named_runs, fetch=fetch)
    picture = _picture(output)
    from textgen.analysis.memory.report import measure_gradients, report_lines
    from textgen.hub.fetch import open_run
    from textgen.plots.curves import draw_gradients
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.text.store import default_cache_dir

    reporter = Reporter(sys.stderr)
    where = resolve_device(device)
    if named_runs:
        runs = [open_run(sources[0], remote_texts(cache_dir, reporter, fetch=fetch), announce)]
    else:
        runs = _train(_options(sources, given, cells, device, cache_dir), steps, reporter)
    measured = []
    with memory_errors():
        for run in runs:
            cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
            measured.append(
                measure_gradients(
                    run,
                    cache,
                    steps=steps,
                    num_positions=positions,
                    num_tokens=tokens,
                    device=where,
                    progress=reporter.work,
                )
            )
    reporter.close()
    if picture is not None:
        try:
            draw_gradients([each.curves() for each in measured], picture)
        except OSError as error:
            raise TextgenError(f"{picture}: {error.strerror}; no picture was written") from error
        reporter.line(f"The picture is in {output or PICTURE}.")
    if as_json:
        content = {"steps": steps, "cells": {each.cell: each.as_dict() for each in measured}}
        content |= {"picture": None if picture is None else str(picture)}
        print(json.dumps(content, allow_nan=False))
    else:
        standard_output = Reporter(sys.stdout)
        for line in report_lines(measured):
            standard_output.line(line)


def _check(
    sources: tuple[str, ...], given: CellTraining, named_runs: list[str], *, fetch: bool
) -> tuple[str, ...]:
    """The cells to train; none for a run. Raises ConfigError for options that would do nothing."""
    if named_runs:
        if len(sources) > 1:
            raise ConfigError(f"{named_runs[0]} is a run, and one is measured at a time: name it alone")
        for entry in dataclasses.fields(given):
            if getattr(given, entry.name) is not None:
                raise ConfigError(
                    f"{flag(entry.name)} is for a CORPUS, and {sources[0]} is a run: leave it out"
                )
        return ()
    if fetch:
        raise ConfigError("--fetch is for the text of a RUN; a CORPUS is fetched without it: leave it out")
    if "-" in sources:
        raise ConfigError(
            "-: every run reads the text, and standard input can be read once: save it to a file"
        )
    if given.minutes is not None and given.train_steps is not None:
        raise ConfigError("--minutes does not go with --train-steps: leave one of them out")
    cells = CELLS if given.cells is None else cell_names(given.cells)
    check_cells(cells)
    return cells


def _picture(output: str | None) -> Path | None:
    """The picture's file, checked before any work; None without matplotlib. Raises ConfigError."""
    from textgen.plots.style import can_draw

    if not can_draw():
        missing = "pictures need matplotlib: pip install 'textgen[plot]'"
        if output is not None:
            raise ConfigError(f"--output {output}: {missing}")
        print(f"No {PICTURE}: {missing}", file=sys.stderr)
        return None
    path = Path(output or PICTURE)
    if path.resolve().suffix not in FORMATS:
        raise ConfigError(f"--output {output}: the name must end in one of {', '.join(FORMATS)}")
    return writable(path)


def _options(
    sources: tuple[str, ...],
    given: CellTraining,
    cells: tuple[str, ...],
    device: str,
    cache_dir: str | None,
) -> list[UserOptions]:
    """The options of each training: one layer, the same for all but the cell."""
    from textgen.text.sources import corpus_name
    from textgen.training.planning.recipe import CHARACTER_EMBEDDING_DIM

    root = Path(f"gradients/{corpus_name(sources)}" if given.runs is None else given.runs)
    # The recipe would choose some of these by cell; to compare the cells, they are the same for all.
    settings: dict[str, Any] = dict.fromkeys(DROPOUTS, 0.0) | {
        "corpus": sources,
        "field": given.field,
        "encoding": given.encoding,
        "hidden_size": given.hidden_size or DEFAULT_HIDDEN_SIZE,
        "num_layers": 1,
        "batch_size": TrainingConfig.batch_size,
        "embedding_dim": CHARACTER_EMBEDDING_DIM,
        "tie_weights": False,
        "learning_rate": TrainingConfig.learning_rate,
        "beta1": TrainingConfig.beta1,
        "weight_decay": TrainingConfig.weight_decay,
        "temporal_activation_penalty": 0.0,
        "seed": TrainingConfig.seed if given.seed is None else given.seed,
        "device": device,
        "precision": "float32",
        "cache_dir": cache_dir,
    }
    if given.train_steps is not None:
        settings["steps"] = given.train_steps
    else:
        settings["minutes"] = (given.minutes or DEFAULT_MINUTES) / len(cells)
    return [UserOptions.from_names(settings | {"cell": cell, "run": str(root / cell)}) for cell in cells]


def _train(each_options: list[UserOptions], steps: int, reporter: Reporter) -> list[Run]:
    """A complete run for each. Raises Interrupted, after saving, and the errors of training.

    Raises CorpusError, before any training, for a text that is too short to look this many steps back.
    """
    from textgen.analysis.memory.cell_runs import complete_run, validation_tokens
    from textgen.analysis.memory.gradients import refuse_short_text
    from textgen.system.interrupts import StopRequest

    refuse_short_text(validation_tokens(each_options[0]), steps)
    with StopRequest() as stop:
        try:
            return [complete_run(options, reporter, stop) for options in each_options]
        except Interrupted as error:
            raise Interrupted(
                f"{error} To train the other cells too, repeat the same command.",
                error.exit_code - 128,
            ) from error
