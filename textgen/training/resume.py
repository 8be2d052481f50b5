"""Resumes an interrupted run from its newest checkpoint, or from its start when there is none yet.

Nothing is chosen again: config.json has been complete since before the first step.
"""

from __future__ import annotations

import time
from pathlib import Path

from textgen.distributed.world import World
from textgen.errors import ConfigError, RunError
from textgen.models.language_model import LanguageModel
from textgen.run import CONFIG, Announce, Run, vocab_of
from textgen.system.links import refuse_links
from textgen.system.progress import Reporter
from textgen.text.model_vocab import ModelVocab
from textgen.text.remote.texts import RemoteTexts
from textgen.text.store import default_cache_dir
from textgen.training.checkpoint import newest_checkpoint
from textgen.training.session import Session, assemble, prepare_reading
from textgen.training.setup import initial_weights, require_training_memory, set_up_training
from textgen.training.trainer import training_model


def resume_run(
    path: Path,
    cache_dir: Path | None,
    reporter: Reporter,
    *,
    fetch: bool = False,
    cache_size: int | None = None,
    announce: Announce | None = None,
    world: World | None = None,
) -> Session:
    """The session of an interrupted run; Session.complete loads the checkpoint and trains to the end.

    cache_dir: where encoded text is kept; None: the user's cache. fetch: whether its text may be fetched from
    where config.json says. cache_size: as in RemoteTexts. announce: as in Run. world: the processes that
    train it from now on, in any number; None: this one alone.

    Raises RunError when the run is complete, is not a run, has links in it or rounded weights, or its corpus
    has changed.
    """
    started = time.monotonic()
    world = world or World()
    cache_dir = cache_dir or default_cache_dir()
    run = Run(path, RemoteTexts(cache_dir, fetch, reporter.work, cache_size), announce)
    refuse_links(path)
    run.require_trainable()
    if run.is_complete:
        raise RunError(
            f"{path}: this run is complete. Start a new one from it with: textgen train --from {path}"
        )
    store = run.open_store(cache_dir, reporter.work)
    training = run.config.training
    for name in ("threads", "eval_tokens"):
        if getattr(training, name) is None and (name != "eval_tokens" or "val" in store.parts):
            raise RunError(
                f"{path / CONFIG}: {name} is missing. It was chosen when the run began; put it back"
            )
    prepare_reading(store, training)
    require_training_memory(run.config.model, training, world)
    try:
        set_up_training(training, world)
    except ConfigError as error:
        raise RunError(
            f"{path}: cannot be resumed on this machine ({error}). Resume it where it was trained, or "
            f"start a new run from its best weights: textgen train --from {path} --device cpu"
        ) from error
    initial = initial_weights(run)
    if newest_checkpoint(run.training_directory) is None and run.has_weights:
        raise RunError(
            f"{run.training_directory}: there is no checkpoint to resume from. "
            f"Start a new run from its weights with: textgen train --from {path}"
        )
    if initial is None:
        model = LanguageModel(run.config.model, ModelVocab.from_counts(store.counts))
    else:  # its model ids are in the order of the run that it started from, which no checkpoint holds
        model = LanguageModel(run.config.model, vocab_of(initial))
        model.load_weights(initial, str(run.training_directory))
    model = training_model(model, training)
    return assemble(run, store, run.tokenizer, model, reporter, is_resumed=True, started=started, world=world)
