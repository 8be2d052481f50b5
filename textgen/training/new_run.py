"""A new run: the stages from the user's options to a session that is ready for its first step.

    data section ─prepare_text→ PreparedText ─resolve→ Resolved ─create_run→ Run ─assemble→ Session

The run's directory is created, with its complete config.json, when everything is chosen. After that nothing
is chosen again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from textgen.distributed.world import World
from textgen.errors import RunError
from textgen.run import (
    CONFIG,
    FILES,
    STDIN,
    TOKENIZER,
    TRAINING,
    Announce,
    Run,
    announce_named,
    config_json,
    files_json,
    free_directory,
    save_weights,
)
from textgen.settings.given import UserOptions
from textgen.system.atomic import new_directory
from textgen.system.memory import memory_errors
from textgen.system.progress import Reporter
from textgen.text.formats import is_utf8
from textgen.text.remote.texts import NamedText, RemoteTexts
from textgen.text.remote.urls import is_url
from textgen.text.sources import corpus_name, standard_input
from textgen.text.store import default_cache_dir
from textgen.training.leftovers import remove_unfinished_runs
from textgen.training.planning.data import PreparedText, prepare_text
from textgen.training.planning.fine_tune import require_same_network, require_same_tokenizer, source_text
from textgen.training.planning.resolve import Resolved, resolve
from textgen.training.session import Session, assemble, prepare_reading
from textgen.training.setup import INITIAL

RUNS = Path("runs")
LAUNCH = "launch"  # in training/, of a run that torchrun's processes train: which launch has created it


def new_run(
    given: UserOptions,
    reporter: Reporter,
    announce: Announce | None = None,
    *,
    world: World | None = None,
    launch: str | None = None,
) -> Session:
    """Create a run with these options, in `given.run` or a free directory in runs/.

    announce: as in Run, for the files that a run names which --config or --from gives. world: the processes
    that train it; None: this one alone. launch: what find_run_of_launch will find the run by.

    Raises ConfigError, CorpusError, TokenizerError, RunError, TrainingError.
    """
    started = time.monotonic()
    cache_dir = default_cache_dir() if given.cache_dir is None else Path(given.cache_dir)
    data, source, named = given.data, None, _named_by_settings(given)
    if announce is not None:
        for by in dict.fromkeys(given.files_of_runs.values()):
            announce_named([name for name, run in given.files_of_runs.items() if run == by], by, announce)
    if given.from_run is not None:
        source = Run(given.from_run, RemoteTexts(cache_dir), announce)
        if not is_utf8(path := str(source.path.absolute())):  # config.json names it
            raise RunError(f"{path!r}: the name is not UTF-8; rename the folder")
        source.require_trainable()
        require_same_tokenizer(data, source.data, str(source.path))
        require_same_network(given.model, source.config.model, str(source.path))
        if not data.get("corpus"):
            named |= source.named_texts
            source.announce_texts()
        data = source_text(data, source.data, str(source.path))
    corpus = data.get("corpus", ())
    require_usable(run_directory(given.run, corpus))
    remote = RemoteTexts(cache_dir, given.fetch, reporter.work, given.cache_size)
    with standard_input(corpus) as stdin:
        text = prepare_text(
            data, remote=remote, named=named, source=source, stdin=stdin, progress=reporter.work
        )
        with memory_errors():
            resolved = resolve(text, given.model, given.training, source=source, world=world)
        prepare_reading(text.store, resolved.config.training)
        for note in resolved.notes:
            reporter.line(note)
        run = create_run(given.run, corpus, text, resolved, stdin=stdin, launch=launch)
    return assemble(
        run, text.store, text.tokenizer, resolved.model, reporter,
        is_resumed=False, started=started, world=world,
    )  # fmt: skip


def find_run_of_launch(name: str | None, launch: str) -> Path | None:
    """The run that a launch has created, before its processes were started again; None if it has none.

    name: the directory; None: one in runs/.
    """
    for path in RUNS.glob("*") if name is None else [Path(name)]:
        with suppress(OSError):
            if (path / TRAINING / LAUNCH).read_text(encoding="utf-8") == launch:
                return path
    return None


def _named_by_settings(given: UserOptions) -> dict[str, NamedText]:
    """The URLs that a run given as --config names. Raises RunError or ConfigError where it is damaged."""
    texts = given.texts()
    return {
        text: Run(run).named_texts[text]
        for text, run in given.files_of_runs.items()
        if text in texts and is_url(text)
    }


def create_run(
    name: str | None,
    corpus: tuple[str, ...],
    text: PreparedText,
    resolved: Resolved,
    *,
    stdin: Path | None = None,
    launch: str | None = None,
) -> Run:
    """Make the run's directory, completely or not at all.

    name: the directory; None: a free one in runs/, named after the corpus. stdin: standard input as a file,
    to be kept with the run. launch: as in new_run. Raises RunError.
    """
    while True:
        path = run_directory(name, corpus)
        remove_unfinished_runs(path.parent, None if name is None else path.name)
        try:
            with new_directory(path) as building:
                config = dataclasses.replace(resolved.config, directory=str(path.absolute()))
                (building / CONFIG).write_text(config_json(config), encoding="utf-8")
                (building / TOKENIZER).write_text(text.tokenizer.to_json(), encoding="utf-8")
                (building / FILES).write_text(files_json(building), encoding="utf-8")
                (building / TRAINING).mkdir()
                if launch is not None:
                    (building / TRAINING / LAUNCH).write_text(launch, encoding="utf-8")
                if config.from_run is not None:
                    save_weights(building / TRAINING / INITIAL, resolved.model.weights())
                if stdin is not None:
                    shutil.copyfile(stdin, building / STDIN)
            return Run(path)
        except FileExistsError:  # another process took the name while this one read the corpus
            continue
        except OSError as error:
            raise RunError(
                f"{path}: cannot be created ({error.strerror or error}); choose another --run"
            ) from error


def run_directory(name: str | None, corpus: tuple[str, ...]) -> Path:
    """A directory that does not exist yet. Raises RunError when the named one does."""
    if name is None:
        return free_directory(RUNS, corpus_name(corpus or ("corpus",)))
    path = Path(name)
    if path.exists():
        raise RunError(f"{path}: already exists. Name a new directory, or resume it with: --resume {path}")
    return path


def require_usable(path: Path) -> None:
    """Check, before any work is done, that a run's directory can be created. Raises RunError."""
    if not is_utf8(full := str(path.absolute())):  # config.json names it
        raise RunError(f"{full!r}: the name is not UTF-8; choose another --run")
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"{path}: cannot be created, {nearest} is not a writable folder; choose another --run")
