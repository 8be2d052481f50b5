"""`textgen eval`: how well a run predicts a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from textgen.cli.options import config_option
from textgen.config import DEVICES, TrainingConfig


@click.command(name="eval")
@click.argument("run_directory", metavar="RUN")
@click.argument("file", required=False)
@click.option(
    "--part", type=click.Choice(["val", "test", "train"]), default="val", show_default=True,
    help="Which part of the run's own corpus to read, when no FILE is named.",
)  # fmt: skip
@click.option(
    "--window", "reset_every", type=click.IntRange(min=1), metavar="N",
    help="Reset the state every N tokens, to compare with models of a fixed context.  [default: never]",
)  # fmt: skip
@config_option(TrainingConfig, "device", choices=DEVICES)
@click.option("--cache-dir", metavar="DIR", help="Where encoded text is kept.  [default: the user's cache]")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the figures as one JSON object on standard output."
)
def command(
    run_directory: str,
    file: str | None,
    part: str,
    reset_every: int | None,
    device: str,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Measure how well RUN predicts its validation text, or FILE.

    Every token counts once, and the state is carried over the whole text.
    """
    from textgen.device import resolve_device
    from textgen.evaluation.report import evaluate_run
    from textgen.run import Run
    from textgen.text.corpus import Corpus
    from textgen.text.store import TokenStore, default_cache_dir
    from textgen.training.progress import Reporter

    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    run = Run(run_directory)
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    if file is None:
        store = run.open_store(cache, reporter.work)
        part = run.require_part(store, part)
    else:
        corpus = Corpus.whole(run.config.data, file)
        store, part = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work), corpus.parts[0]
    report = evaluate_run(
        run, store, part, device=resolve_device(device), reset_every=reset_every, progress=reporter.work
    )
    if as_json:
        source = {"run": str(run.path), "text": file or part, "window": reset_every}
        print(json.dumps(source | report.as_dict()))
        return
    for line in report.lines():
        reporter.line(line)
