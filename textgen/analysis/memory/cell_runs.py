"""The runs that `textgen gradients` measures: trained as `textgen train` does, or existing ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen.errors import ConfigError, RunError, TrainingError
from textgen.run import Run
from textgen.settings.given import UserOptions
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter
from textgen.text.remote.texts import RemoteTexts
from textgen.text.store import default_cache_dir
from textgen.training.new_run import new_run
from textgen.training.planning.configs import fitted_batches
from textgen.training.planning.data import open_corpus
from textgen.training.resume import resume_run


def complete_run(options: UserOptions, reporter: Reporter, stop: StopRequest) -> Run:
    """The complete run of these options, in options.run: an existing one, resumed, or newly trained.

    If training fails, the run is used if it has weights. Raises RunError when another run is there,
    Interrupted when asked to stop, after saving, and what training raises.
    """
    assert options.run is not None
    path = Path(options.run)
    if path.exists():
        run = Run(path)
        _refuse_another(run, options)
        if run.is_complete:
            reporter.line(f"{path} is already trained.")
            return run
    try:
        if path.exists():
            cache_dir = Path(options.cache_dir) if options.cache_dir is not None else None
            resume_run(path, cache_dir, reporter).complete(stop)
        else:
            new_run(_without_ngrams(options), reporter).complete(stop)
    except TrainingError as error:
        if not (path.is_dir() and Run(path).has_weights):
            raise
        reporter.line(f"{error} Measuring the weights that it kept.")
    return Run(path)


def _without_ngrams(options: UserOptions) -> UserOptions:
    """The options of a run whose network is measured; n-grams would only take time."""
    return dataclasses.replace(options, training=options.training.replaced(ngram=False))


def validation_tokens(options: UserOptions) -> int:
    """An upper bound on the number of validation tokens, from its characters. Raises CorpusError."""
    corpus = open_corpus(options.data, _remote(options)).corpus
    if "val" not in corpus.parts:
        raise ConfigError("--val-fraction 0: gradients are measured on validation text; leave it out")
    size = corpus.size("val")
    return size.characters + size.documents


def _remote(options: UserOptions) -> RemoteTexts:
    return RemoteTexts(default_cache_dir() if options.cache_dir is None else Path(options.cache_dir))


def _refuse_another(run: Run, options: UserOptions) -> None:
    """Raises RunError when a run was not made with these options, or not from this text."""
    was = {**vars(run.config.model), **vars(run.config.training)}
    given = {**options.model, **options.training}
    if "batch_size" in given:  # a small text makes it smaller
        fitted = fitted_batches(options.training, run.config.measured["train_tokens"])
        given["batch_size"] = fitted.batch_size
    for name, value in given.items():
        if name != "device" and was[name] != value:
            raise RunError(
                f"{run.path}: was trained with {name}={was[name]!r}, not {value!r}. "
                "Name another directory for the runs, or give the same options again."
            )
    corpus = open_corpus(options.data, _remote(options)).corpus
    if corpus.fingerprint != run.config.measured["corpus_fingerprint"]:
        raise RunError(
            f"{run.path}: was trained on another text. Name another directory for the runs, or remove it."
        )
