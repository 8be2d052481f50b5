"""`textgen eval`: how well a run predicts a text."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.dynamic import dynamic_options, take_dynamic_config, training_store
from textgen.cli.support.novelty import (
    ALL_FIELDS,
    novelty_meter,
    novelty_options,
    take_novelty_config,
    training_corpus,
)
from textgen.cli.support.options import cache_dir_option, json_option, reading_options, refuse_reading
from textgen.errors import ConfigError
from textgen.settings.config import DEVICES

if TYPE_CHECKING:
    from textgen.evaluation.report import DynamicReport, Report


@click.command(name="eval")
@click.argument("run_directory", metavar="RUN")
@click.argument("file", required=False)
@click.option(
    "--part", type=click.Choice(["val", "test", "train"]),
    help="Which part of the run's own corpus to read, when no FILE is named.  [default: val]",
)  # fmt: skip
@click.option(
    "--window", "reset_every", type=click.IntRange(min=1), metavar="N",
    help="Reset the state every N tokens, to compare with models of a fixed context.  [default: never]",
)  # fmt: skip
@click.option(
    "--dynamic", "is_dynamic", is_flag=True,
    help="Let the weights follow the text, each window counted before they learn from it.",
)  # fmt: skip
@dynamic_options("dynamic")
@click.option(
    "--novelty", is_flag=True,
    help="Draw texts too, and say how much of them, and of the text that is read, stands word for word in "
    "the training text.",
)  # fmt: skip
@novelty_options(ALL_FIELDS)
@reading_options("FILE")
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)  # fmt: skip
@cache_dir_option
@json_option("the figures")
def command(
    run_directory: str,
    file: str | None,
    part: str | None,
    reset_every: int | None,
    is_dynamic: bool,
    novelty: bool,
    field: str | None,
    encoding: str | None,
    device: str,
    cache_dir: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure how well RUN predicts its validation text, or FILE (- is standard input).

    Every token counts once, and the state is carried over the whole text; one of 400,000 tokens or more is
    read in segments side by side, each at least half as long.
    """
    from textgen.analysis.real_text import RealText
    from textgen.evaluation.adaptation import evaluate_run_dynamically
    from textgen.evaluation.evaluate import evaluate_run
    from textgen.generation.generator import Generator
    from textgen.run import Run
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.text.corpus import Corpus
    from textgen.text.sources import standard_input
    from textgen.text.store import TokenStore, default_cache_dir

    dynamic = take_dynamic_config("dynamic", is_dynamic, settings)
    if dynamic is not None and reset_every is not None:
        raise ConfigError("--window does not go with --dynamic, whose weights remember beyond any window")
    measured = take_novelty_config(ALL_FIELDS, novelty, settings)
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    run = Run(run_directory)
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    trained_on = None if measured is None else training_corpus(run, "--novelty")
    if file is None:
        refuse_reading("FILE", field, encoding)
        store = run.open_store(cache, reporter.work)
        part = run.require_part(store, part or "val")
        real = None if trained_on is None else RealText(part, trained_on.stream(part))
    else:
        if part is not None:
            raise ConfigError("--part is of the run's own corpus: leave it out, or leave FILE out")
        with standard_input((file,)) as stdin:
            corpus = Corpus.whole(run.config.data, file, stdin, field=field, encoding=encoding)
            store = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work)
            part = corpus.parts[0]
            real = None if trained_on is None else RealText(file, corpus.stream(part))
    with memory_errors():
        where = resolve_device(device)
        report: Report | DynamicReport
        if dynamic is None:
            report = evaluate_run(
                run, store, part, device=where, reset_every=reset_every, progress=reporter.work
            )
        else:
            report = evaluate_run_dynamically(
                run,
                store,
                part,
                dynamic,
                device=where,
                training_store=lambda: training_store(run, "dynamic", cache, reporter.work),
                progress=reporter.work,
            )
        figures: dict[str, Any] = dict(report.as_dict())
        lines = report.lines()
        if measured is not None and trained_on is not None and real is not None:
            meter = novelty_meter(run, trained_on, real, measured.length, cache, reporter.work)
            found = meter.report_on(Generator.from_run(run, where), measured)
            figures["novelty"] = found.as_dict() | {"settings": dataclasses.asdict(measured)}
            lines += ["", *meter.lines(found)]
    if as_json:
        source = {"run": str(run.path), "text": file or part, "window": reset_every}
        print(json.dumps(source | figures, allow_nan=False))
        return
    for line in lines:
        reporter.line(line)
