"""`textgen train`: train a model on a text."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    cache_dir_option,
    cache_size_option,
    config_option,
    fetch_option,
    grouped_option,
    json_option,
)
from textgen.cli.support.prompts import read_escapes
from textgen.cli.support.remote import announce
from textgen.errors import ConfigError
from textgen.settings.config import BUDGET, DEVICE, NETWORK, OPTIMISATION, REGULARISATION, TEXT
from textgen.settings.files import read_options
from textgen.settings.given import CACHE_SIZE, FETCH, FOLLOW_FROM_TEXT, SECTIONS, UserOptions
from textgen.settings.option import flag, options_of

EXAMPLES = (
    "textgen train corpus.txt                                for two minutes, with chosen settings",
    "textgen train books/*.txt --tokenizer bpe --minutes 30  longer, with subwords",
    "textgen train names.txt --documents line --cell gru     every line is a document",
    "textgen train --resume runs/corpus                      continue an interrupted run",
    "textgen train more.txt --from runs/corpus               fine-tune a run on another text",
)
# Shown first, in this order, whatever their section.
COMMON_OPTIONS = ("minutes", "tokenizer", "cell", "hidden_size", "num_layers")
ESCAPED = ("chat_template", "chat_stop")  # read as prompts are
HEADINGS = (COMMON, TEXT, NETWORK, REGULARISATION, OPTIMISATION, BUDGET, DEVICE, OUTPUT)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for every field of the three sections that a user can give."""
    sections = [
        (config_class, name) for config_class in SECTIONS.values() for name in options_of(config_class)
    ]
    given = [
        (config_class, name) for config_class, name in sections if name not in ("corpus", *FOLLOW_FROM_TEXT)
    ]
    common = [pair for name in COMMON_OPTIONS for pair in given if pair[1] == name]
    rest = [pair for pair in given if pair not in common]
    for config_class, name in reversed([*common, *rest]):
        group = COMMON if name in COMMON_OPTIONS else None
        command = config_option(config_class, name, unset=True, group=group)(command)
    return command


@click.command(name="train", cls=GroupedCommand, examples=EXAMPLES, headings=HEADINGS)
@click.argument("corpus", nargs=-1)
@grouped_option(
    "--run",
    metavar="DIR",
    group=COMMON,
    help="Directory of the new run.  [default: runs/<name of the corpus>]",
)
@grouped_option(
    "--resume", metavar="DIR", group=COMMON, help="Continue an interrupted run, with the same result."
)
@grouped_option(
    "--from",
    "from_run",
    metavar="DIR",
    group=COMMON,
    help="Fine-tune this run; without CORPUS, on its own text.",
)
@grouped_option(
    "--config",
    "settings",
    metavar="FILE",
    group=COMMON,
    help="Read options from a TOML file or from a run.",
)
@training_options
@fetch_option("a run's text")
@cache_dir_option()
@cache_size_option()
@json_option("the result")
def command(
    corpus: tuple[str, ...], resume: str | None, settings: str | None, as_json: bool, **options: Any
) -> None:
    """Train a language model on text.

    CORPUS is text files, folders, globs, URLs (http, https, s3, gs, hf, sftp), or - for standard input. What
    a URL names is fetched once, and again when it has changed; of encoded text, a URL that ends with /, each
    shard when it is first read. Settings that you leave out are chosen for
    the text and the device, and saved in the run's config.json.
    """
    _load_torch()
    from textgen.hub.fetch import local_path, refuse_hub
    from textgen.run import Run
    from textgen.system.interrupts import StopRequest
    from textgen.system.progress import Reporter
    from textgen.training.finished import resume_complete
    from textgen.training.new_run import new_run
    from textgen.training.resume import resume_run

    for name in ESCAPED:
        if options[name] is not None:
            options[name] = read_escapes(options[name])
    if options["from_run"] is not None:
        options["from_run"] = local_path(options["from_run"], announce)
    given = UserOptions.from_names(options | {"corpus": corpus or None})
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    with StopRequest() as stop:
        if resume is not None:
            _refuse_beside_resume(given, settings)
            refuse_hub(resume, "resuming writes to the run", "start from it with --from")
            if (run := Run(resume)).is_complete:
                result = resume_complete(run, reporter)
            else:
                cache_dir = None if given.cache_dir is None else Path(given.cache_dir)
                session = resume_run(
                    Path(resume),
                    cache_dir,
                    reporter,
                    fetch=given.fetch,
                    cache_size=given.cache_size,
                    announce=announce,
                )
                result = session.complete(stop)
        else:
            if settings is not None:
                given = read_options(Path(local_path(settings, announce))).overridden_by(given)
            result = new_run(given, reporter, announce).complete(stop)
    if as_json:
        print(json.dumps(result))


def _load_torch() -> None:
    """Import torch, and exempt its modules, which are never freed, from garbage collection."""
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _refuse_beside_resume(given: UserOptions, settings: str | None) -> None:
    extra = sorted(given.names().keys() - {"cache_dir", CACHE_SIZE, FETCH})
    extra += ["config"] if settings is not None else []
    if extra:
        flags = {"corpus": "CORPUS", "from_run": "--from"}
        names = ", ".join(flags.get(name, flag(name)) for name in extra)
        raise ConfigError(f"--resume continues a run with its own settings: leave out {names}")
