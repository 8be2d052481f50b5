"""`textgen export`: write a run in another form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    cache_dir_option,
    fetch_option,
    grouped_option,
    no_ngram_option,
)
from textgen.cli.support.remote import announce, remote_texts
from textgen.errors import TextgenError

EXAMPLES = (
    "textgen export runs/tales html                      tales.html, a page that writes",
    "textgen export runs/tales html --weights int8       a quarter of the size of float32",
    "textgen export runs/tales html --inspect            with the surprise of what you type",
    "textgen export runs/tales onnx                      tales.onnx, for ONNX runtimes",
    "textgen export runs/tales weights --weights int8    tales-weights, a small run directory",
)
WEIGHTS = ("float16", "bfloat16", "int8", "float32")


@click.command(name="export", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, OUTPUT))
@click.argument("run_directory", metavar="RUN")
@click.argument("format_name", metavar="FORMAT")
@grouped_option(
    "--output", metavar="PATH", group=COMMON,
    help="What to write.  [default: the name of RUN, in the current folder]",
)  # fmt: skip
@grouped_option(
    "--weights", type=click.Choice(WEIGHTS), metavar="TYPE", group=COMMON,
    help="float16 or int8; html: also float32; weights: also bfloat16.  [default: float16]",
)  # fmt: skip
@no_ngram_option("Leave out the run's n-grams, which hold pieces of the training text.")
@grouped_option(
    "--inspect", group=COMMON, is_flag=True,
    help="Show the surprise of what is typed, what was expected instead, and the units.",
)  # fmt: skip
@fetch_option(group=COMMON)
@cache_dir_option()
def command(
    run_directory: str, format_name: str, output: str | None, ngram: bool, fetch: bool, **options: Any
) -> None:
    """Write RUN in another form, to be used elsewhere.

    FORMAT is html, one page that writes text, offline, in any browser; onnx, the network alone for ONNX
    runtimes in float32, with tokenizer.json in its metadata; or weights, a smaller run directory for every
    command but train. What is printed says how far it is from the run, measured on the beginning of the
    validation text if that is still there.
    """
    from textgen.export.formats import export
    from textgen.hub.fetch import open_run
    from textgen.system.progress import Reporter
    from textgen.system.threads import few_numpy_threads

    reporter = Reporter(sys.stderr)
    remote = remote_texts(options["cache_dir"], reporter, fetch=fetch)
    run = open_run(run_directory, remote, announce)
    target = None if output is None else Path(output)
    try:
        with few_numpy_threads():
            report = export(run, format_name, target, ngram=ngram, **options)
    except OSError as error:
        raise TextgenError(
            f"{error.filename or output}: {error.strerror or error}; nothing was written"
        ) from error
    for line in report.lines:
        print(line)
