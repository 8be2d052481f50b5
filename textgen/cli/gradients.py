"""`textgen gradients`: how far back a network learns and remembers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.analysis.comparison.plan import check_cells
from textgen.cli.support.options import cache_dir_option, cell_names, config_option, json_option
from textgen.cli.support.output import writable
from textgen.errors import ConfigError, Interrupted, TextgenError
from textgen.settings.config import CELLS, DEVICES, DROPOUTS, DataConfig, TrainingConfig
from textgen.settings.given import UserOptions
from textgen.settings.option import flag

if TYPE_CHECKING:
    from textgen.run import Run
    from textgen.system.progress import Reporter

PICTURE = "gradients.png"
FORMATS = (".png", ".svg", ".pdf")
DEFAULT_MINUTES = 3.0
DEFAULT_HIDDEN_SIZE = 128
TRAINING_OPTIONS = ("field", "encoding", "cells", "hidden_size", "minutes", "train_steps", "seed", "runs")


@click.command(name="gradients")
@click.argument("sources", metavar="RUN|CORPUS...", nargs=-1, required=True)
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=100, show_default=True, metavar="N",
    help="How many tokens to look back.",
)  # fmt: skip
@click.option(
    "--positions", type=click.IntRange(min=1), default=200, show_default=True, metavar="N",
    help="At how many places of the validation text to measure gradients.",
)  # fmt: skip
@click.option(
    "--tokens", type=click.IntRange(min=2), default=50_000, show_default=True, metavar="N",
    help="At most how many validation tokens to read for the loss with resets.",
)  # fmt: skip
@click.option(
    "--output", metavar="FILE",
    help=f"Draw the picture into FILE: {', '.join(FORMATS)}.  [default: {PICTURE}]",
)  # fmt: skip
@config_option(DataConfig, "field", unset=True)
@config_option(DataConfig, "encoding", unset=True)
@click.option(
    "--cells", metavar="NAMES",
    help=f"With a CORPUS: the cells to train, with commas between.  [default: {','.join(CELLS)}]",
)  # fmt: skip
@click.option(
    "--hidden-size", type=click.IntRange(min=1), metavar="N",
    help=f"With a CORPUS: units of the one layer of each network.  [default: {DEFAULT_HIDDEN_SIZE}]",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), metavar="X",
    help=f"With a CORPUS: time to train all cells, split evenly.  [default: {DEFAULT_MINUTES:g}]",
)  # fmt: skip
@click.option(
    "--train-steps", type=click.IntRange(min=1), metavar="N",
    help="With a CORPUS: train each cell for so many optimizer steps, instead of --minutes.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N",
    help=f"With a CORPUS: seed of weights and batches.  [default: {TrainingConfig.seed}]",
)  # fmt: skip
@click.option(
    "--runs", metavar="DIR",
    help="With a CORPUS: where its runs go, one a cell; those there already are used again.  "
    "[default: gradients/<name of the corpus>]",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)  # fmt: skip
@cache_dir_option
@json_option("all figures")
def command(
    sources: tuple[str, ...],
    steps: int,
    positions: int,
    tokens: int,
    output: str | None,
    device: str,
    cache_dir: str | None,
    as_json: bool,
    **said: Any,
) -> None:
    """See how far back a network learns and remembers.

    How strongly the loss at a token depends on what the network remembered k tokens before, with its first
    weights and after training; and what the loss becomes when its memory is emptied every k tokens. Of RUN,
    or of an LSTM, a GRU and a plain RNN of one size, trained here on CORPUS.
    """
    named_runs = [source for source in sources if (Path(source) / "config.json").is_file()]
    cells = _check(sources, said, named_runs)
    picture = _picture(output)
    from textgen.analysis.memory.report import measure_gradients, report_lines
    from textgen.plots.curves import draw_gradients
    from textgen.run import Run
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.text.store import default_cache_dir

    reporter = Reporter(sys.stderr)
    where = resolve_device(device)
    if named_runs:
        runs = [Run(sources[0])]
    else:
        runs = _train(_options(sources, said, cells, device, cache_dir), steps, reporter)
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


def _check(sources: tuple[str, ...], said: dict[str, Any], named_runs: list[str]) -> tuple[str, ...]:
    """The cells to train. Raises ConfigError for what does nothing or goes with nothing."""
    if named_runs:
        if len(sources) > 1:
            raise ConfigError(f"{named_runs[0]} is a run, and one is measured at a time: name it alone")
        for name in TRAINING_OPTIONS:
            if said[name] is not None:
                raise ConfigError(f"{flag(name)} is for a CORPUS, and {sources[0]} is a run: leave it out")
        return ()
    if "-" in sources:
        raise ConfigError("- does not go with gradients, which reads the text once a cell: save it in a file")
    if said["minutes"] is not None and said["train_steps"] is not None:
        raise ConfigError("--minutes does not go with --train-steps: leave one of them out")
    cells = CELLS if said["cells"] is None else cell_names(said["cells"])
    check_cells(cells)
    return cells


def _picture(output: str | None) -> Path | None:
    """Where to draw, checked before any work; None without matplotlib. Raises ConfigError."""
    from textgen.plots.style import can_draw

    if not can_draw():
        missing = "pictures need matplotlib: pip install 'textgen[plot]'"
        if output is not None:
            raise ConfigError(f"--output {output}: {missing}")
        print(f"There will be no {PICTURE}: {missing}", file=sys.stderr)
        return None
    path = Path(output or PICTURE)
    if path.resolve().suffix not in FORMATS:
        raise ConfigError(f"--output {output}: no kind of picture; name a file in {', '.join(FORMATS)}")
    return writable(path)


def _options(
    sources: tuple[str, ...], said: dict[str, Any], cells: tuple[str, ...], device: str, cache_dir: str | None
) -> list[UserOptions]:
    """The training of each cell: one layer, alike but for the cell."""
    from textgen.text.sources import corpus_name
    from textgen.training.planning.recipe import CHARACTER_EMBEDDING_DIM

    root = Path(said["runs"] if said["runs"] is not None else f"gradients/{corpus_name(sources)}")
    # What the recipe would choose differently for each cell is the same for all, to be comparable.
    settings: dict[str, Any] = dict.fromkeys(DROPOUTS, 0.0) | {
        "corpus": sources,
        "field": said["field"],
        "encoding": said["encoding"],
        "hidden_size": said["hidden_size"] or DEFAULT_HIDDEN_SIZE,
        "num_layers": 1,
        "batch_size": TrainingConfig.batch_size,
        "embedding_dim": CHARACTER_EMBEDDING_DIM,
        "tie_weights": False,
        "learning_rate": TrainingConfig.learning_rate,
        "beta1": TrainingConfig.beta1,
        "weight_decay": TrainingConfig.weight_decay,
        "temporal_activation_penalty": 0.0,
        "seed": TrainingConfig.seed if said["seed"] is None else said["seed"],
        "device": device,
        "precision": "float32",
        "cache_dir": cache_dir,
    }
    if said["train_steps"] is not None:
        settings["steps"] = said["train_steps"]
    else:
        settings["minutes"] = (said["minutes"] or DEFAULT_MINUTES) / len(cells)
    return [UserOptions.from_names(settings | {"cell": cell, "run": str(root / cell)}) for cell in cells]


def _train(each_options: list[UserOptions], steps: int, reporter: Reporter) -> list[Run]:
    """A complete run for each. Raises Interrupted, after saving, and what training raises.

    Also CorpusError, before anything is trained, for a text too short to look so many steps back.
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
                f"{error} The same command again goes on there, and with the other cells.",
                error.exit_code - 128,
            ) from error
