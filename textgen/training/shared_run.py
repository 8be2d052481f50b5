"""How the other processes of a training get the run that rank 0 has created or resumed.

They have a directory of their own, with the files that are read, so that processes on other machines need no
file system in common: only the text, or its encoded form in the cache, has to be there too.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.distributed.world import World
from textgen.models.language_model import LanguageModel
from textgen.run import CONFIG, FILES, TOKENIZER, TRAINING, Run, vocab_of
from textgen.system.progress import Reporter
from textgen.text.remote.texts import RemoteTexts
from textgen.text.store import TokenStore
from textgen.training.session import Session, assemble
from textgen.training.setup import require_training_memory, set_up_training
from textgen.training.trainer import training_model


@dataclass(frozen=True)
class SharedRun:
    """What rank 0 sends of a run before its first step.

    path: the run's directory, for messages. files: the content of those that make it a run, by name. store:
    the path of its encoded text. weights: of the network as it is initialised, with its vocabulary.
    is_resumed: as in Session.
    """

    path: Path
    files: dict[str, bytes]
    store: Path
    weights: dict[str, np.ndarray]
    is_resumed: bool


def send_session(world: World, session: Session | None) -> None:
    """Send a run to all other processes, which are in received_session; None: there is nothing to train."""
    if world.size == 1:
        return
    sent: SharedRun | None = None
    if session is not None:
        run, weights = session.run, session.trainer.model.weights()
        paths = [run.path / name for name in (CONFIG, TOKENIZER, FILES)]
        files = {path.name: path.read_bytes() for path in paths if path.exists()}
        sent = SharedRun(run.path, files, session.store.path.absolute(), weights, session.is_resumed)
    world.from_first(sent)


@contextmanager
def received_session(world: World, cache_dir: Path, *, fetch: bool = False) -> Iterator[Session | None]:
    """The session of the run that rank 0 trains; None where there is nothing to train.

    cache_dir: where encoded text is kept on this machine. fetch: as in Run. Raises what resume_run raises.
    """
    started = time.monotonic()
    sent: SharedRun | None = world.from_first(None)
    if sent is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="textgen-") as folder:
        path = Path(folder)
        for name, content in sent.files.items():
            (path / name).write_bytes(content)
        (path / TRAINING).mkdir()
        run = Run(path, RemoteTexts(cache_dir, fetch))
        store = TokenStore(sent.store) if sent.store.exists() else run.open_store(cache_dir, None)
        training = run.config.training
        require_training_memory(run.config.model, training, world)
        set_up_training(training, world)
        model = LanguageModel(run.config.model, vocab_of(sent.weights))
        model.load_weights(sent.weights, "rank 0")
        session = assemble(
            run, store, run.tokenizer, training_model(model, training), Reporter(None),
            is_resumed=sent.is_resumed, started=started, world=world,
        )  # fmt: skip
        yield dataclasses.replace(session, path=sent.path)
