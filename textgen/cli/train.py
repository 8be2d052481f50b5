"""`textgen train`: train a model on a text.

World.join ─rank 0→ new_run or resume_run ─→ Session ─ send_session ─→ Session.complete
           └others→ received_session ───────→ Session ──────────────→ Session.complete
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.options import (
    ARGUMENTS,
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

if TYPE_CHECKING:
    from textgen.distributed.world import World
    from textgen.run import Run
    from textgen.system.progress import Reporter
    from textgen.training.session import Session

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
@grouped_option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    group=DEVICE,
    help="Processes on this machine that train together.",
)
@json_option("the result")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    corpus: tuple[str, ...],
    resume: str | None,
    settings: str | None,
    processes: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a language model on text.

    CORPUS is text files, folders, globs, URLs (http, https, s3, gs, hf, sftp), or - for standard input. What
    a URL names is fetched once, and again when it has changed; of encoded text, a URL that ends with /, each
    shard when it is first read. Settings that you leave out are chosen for
    the text and the device, and saved in the run's config.json.
    """
    _load_torch()
    from textgen.cli.support.processes import reporting_once, start_processes
    from textgen.distributed.launcher import is_launched
    from textgen.distributed.world import World

    if processes > 1 and not is_launched():  # those that it starts get the option too
        start_processes(ctx.meta[ARGUMENTS], processes, options["run"], resume)
        return
    world = World.join()
    with reporting_once(world):
        _train(world, corpus, resume, settings, as_json, options)


def _train(
    world: World,
    corpus: tuple[str, ...],
    resume: str | None,
    settings: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Train in this process, one of a world."""
    from textgen.distributed.world import launch_id
    from textgen.run import Run
    from textgen.system.interrupts import StopRequest
    from textgen.system.progress import Reporter
    from textgen.text.remote.texts import RemoteTexts
    from textgen.text.store import default_cache_dir
    from textgen.training.finished import resume_complete
    from textgen.training.shared_run import received_session, send_session

    cache_dir = default_cache_dir() if options["cache_dir"] is None else Path(options["cache_dir"])
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    with StopRequest(is_launched=launch_id() is not None) as stop:
        if not world.is_first:
            remote = RemoteTexts(cache_dir, options["fetch"], cache_size=options["cache_size"])
            with received_session(world, remote, corpus) as received:
                if received is not None:
                    received.complete(stop)
            return
        begun = _begin(world, corpus, resume, settings, reporter, options)
        if isinstance(begun, Run):
            send_session(world, None)
            result = resume_complete(begun, reporter)
        else:
            send_session(world, begun)
            result = begun.complete(stop)
    if as_json:
        print(json.dumps(result))


def _begin(
    world: World,
    corpus: tuple[str, ...],
    resume: str | None,
    settings: str | None,
    reporter: Reporter,
    options: dict[str, Any],
) -> Session | Run:
    """The session of a new or resumed run; or the run, where nothing is left to train."""
    from textgen.distributed.world import launch_id
    from textgen.hub.fetch import local_path, refuse_hub
    from textgen.run import Run
    from textgen.text.remote.urls import is_encoded_url
    from textgen.training.new_run import find_run_of_launch, new_run
    from textgen.training.resume import resume_run

    for name in ESCAPED:
        if options[name] is not None:
            options[name] = read_escapes(options[name])
    if options["from_run"] is not None:
        options["from_run"] = local_path(options["from_run"], announce)
    given = UserOptions.from_names(options | {"corpus": corpus or None})
    launch, resumed = launch_id(), None
    if resume is not None:
        _refuse_beside_resume(given, settings)
        refuse_hub(resume, "resuming writes to the run", "start from it with --from")
        resumed = Path(resume)
    elif launch is not None:
        resumed = find_run_of_launch(given.run, launch)
    if resumed is not None:
        run = Run(resumed)
        if run.is_complete:
            return run
        cache_dir = None if given.cache_dir is None else Path(given.cache_dir)
        # Processes that torchrun has started again are given the URL again.
        return resume_run(
            resumed,
            cache_dir,
            reporter,
            fetch=given.fetch or any(map(is_encoded_url, corpus)),
            cache_size=given.cache_size,
            announce=announce,
            world=world,
        )
    if settings is not None:
        given = read_options(Path(local_path(settings, announce))).overridden_by(given)
    return new_run(given, reporter, announce, world=world, launch=launch)


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
