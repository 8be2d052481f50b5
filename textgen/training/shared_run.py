"""How the other processes of a training get the run that rank 0 has created or resumed.

They have a directory of their own, with the files that are read, so that processes on other machines need no
file system in common: only the text, or its encoded form in the cache, has to be there too.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from textgen.distributed.world import World
from textgen.errors import CorpusError
from textgen.models.language_model import LanguageModel
from textgen.run import CONFIG, FILES, TOKENIZER, TRAINING, Run, vocab_of
from textgen.system.progress import Reporter
from textgen.text.opening import open_encoded
from textgen.text.remote.texts import RemoteTexts
from textgen.text.remote.urls import is_encoded_url
from textgen.text.store import TokenStore
from textgen.training.session import Session, assemble, prepare_reading
from textgen.training.setup import require_training_memory, set_up_training
from textgen.training.trainer import training_model


@dataclass(frozen=True)
class SharedRun:
    """What rank 0 sends of a run before its first step.

    path: the run's directory, for messages. files: the content of those that make it a run, by name. store:
    the path of its encoded text; None: that is fetched while it is read. weights: of the network as it is
    initialised, with its vocabulary. is_resumed: as in Session.
    """

    path: Path
    files: dict[str, bytes]
    store: Path | None
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
        store = session.store.path.absolute() if session.store.remote is None else None
        sent = SharedRun(run.path, files, store, weights, session.is_resumed)
    world.from_first(sent)


def _store(sent: SharedRun, run: Run, remote: RemoteTexts, corpus: Sequence[str]) -> TokenStore:
    """The encoded text of a run that was received."""
    if sent.store is not None and sent.store.exists():
        return TokenStore(sent.store)
    if any(map(is_encoded_url, corpus)) and (found := open_encoded(corpus, remote)) is not None:
        # The user has named it to this process, and perhaps with a password that the run does not have.
        if found.corpus.fingerprint != run.measured("corpus_fingerprint"):
            raise CorpusError(f"{found.name}: has changed while training began; start it again")
        return cast(TokenStore, found.corpus.store)
    return run.open_store(remote.cache_dir, None)


@contextmanager
def received_session(
    world: World, remote: RemoteTexts, corpus: Sequence[str] = ()
) -> Iterator[Session | None]:
    """The session of the run that rank 0 trains; None where there is nothing to train.

    remote: as in Run. corpus: what the user gave to this process too. Raises what resume_run raises.
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
        run = Run(path, remote)
        training = run.config.training
        store = _store(sent, run, remote, corpus)
        prepare_reading(store, training)
        require_training_memory(run.config.model, training, world)
        set_up_training(training, world)
        model = LanguageModel(run.config.model, vocab_of(sent.weights))
        model.load_weights(sent.weights, "rank 0")
        session = assemble(
            run, store, run.tokenizer, training_model(model, training), Reporter(None),
            is_resumed=sent.is_resumed, started=started, world=world,
        )  # fmt: skip
        yield dataclasses.replace(session, path=sent.path)
