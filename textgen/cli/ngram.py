"""`textgen ngram`: build the n-gram companion of a run."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    device_option,
    fetch_option,
    grouped_option,
    json_option,
)
from textgen.cli.support.remote import announce, remote_texts
from textgen.settings.option import Range

EXAMPLES = (
    "textgen ngram runs/corpus            count, and mix at the best weight",
    "textgen ngram runs/corpus --order 6  count shorter n-grams",
)
ORDERS = Range(2, 16, "at least 2 and at most 16")


@click.command(name="ngram", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, OUTPUT))
@click.argument("run_directory", metavar="RUN")
@grouped_option(
    "--order", type=Number(int, ORDERS), metavar="N", group=COMMON,
    help="Tokens in the longest n-grams.  [default: chosen by the tokenizer]",
)  # fmt: skip
@device_option("auto", COMMON)
@fetch_option(group=COMMON)
@cache_dir_option()
@json_option("the figures")
def command(
    run_directory: str,
    order: int | None,
    device: str,
    fetch: bool,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Build an n-gram model to mix with the network of RUN.

    `textgen train` does this at the end, unless --no-ngram is given. The n-grams are counted in the training
    text, and the weight of the mixture is the one that is best on the validation text. `sample`, `score` and
    `eval` use the mixture. The file, ngram.safetensors, holds pieces of the training text; delete it to use
    the network alone.
    """
    from textgen.hub.fetch import refuse_hub
    from textgen.run import Run
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.training.ngrams import build_companion

    refuse_hub(run_directory, "n-grams are written into the run", "name a copy of it")
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    remote = remote_texts(cache_dir, reporter, fetch=fetch)
    run = Run(run_directory, remote, announce)
    run.config  # noqa: B018  read now, so that a directory that is not a run is refused as one
    run.require_weights()
    store = run.open_store(remote.cache_dir, reporter.work)
    run.require_part(store, "val")
    with memory_errors():
        built = build_companion(
            run, store, device=resolve_device(device), order=order, least_gain=0.0, progress=reporter.work
        )
    if as_json:
        figures: dict[str, Any] = {"run": str(run.path)} | built.as_dict()
        print(json.dumps(figures | {"seconds": round(built.seconds, 1)}, allow_nan=False))
    else:
        reporter.line(built.line(run.path))
