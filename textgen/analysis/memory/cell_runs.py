"""Trained runs to look into: made by the code of `textgen train`, or there already."""

from __future__ import annotations

from pathlib import Path

from textgen.errors import RunError, TrainingError
from textgen.run import Run
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.given import TrainOptions
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter
from textgen.text.batches import fit_batches
from textgen.text.corpus import Corpus
from textgen.training.new_run import new_training
from textgen.training.planning.plan import plan_data
from textgen.training.resume import resumed_training


def complete_run(options: TrainOptions, reporter: Reporter, stop: StopRequest) -> Run:
    """The run options.run with these options, complete: as it is there, gone on with, or trained anew.

    A training that failed counts when it has kept weights. Raises RunError when another run is there,
    Interrupted when asked to stop, after saving, and what training raises.
    """
    assert options.run is not None
    path = Path(options.run)
    if path.exists():
        run = Run(path)
        _refuse_another(run, options)
        if run.is_complete:
            reporter.line(f"{path} is trained already.")
            return run
    try:
        if path.exists():
            cache_dir = Path(options.cache_dir) if options.cache_dir is not None else None
            resumed_training(path, cache_dir, reporter).complete(stop)
        else:
            new_training(options, reporter).complete(stop)
    except TrainingError as error:
        if not (path.is_dir() and Run(path).has_weights):
            raise
        reporter.line(f"{error} Going on with the weights that it kept.")
    return Run(path)


def validation_tokens(options: TrainOptions) -> int:
    """How many tokens there can be to validate on, at most, by characters. Raises CorpusError."""
    size = Corpus(plan_data(options)).size("val")
    return size.characters + size.documents


def _refuse_another(run: Run, options: TrainOptions) -> None:
    """Raises RunError when a run was not made with the options that were said, or not from this text."""
    was = {"model": vars(run.config.model), "training": vars(run.config.training)}
    said = {"model": options.said(ModelConfig), "training": options.said(TrainingConfig)}
    if options.batch_size is not None:  # a small text makes it smaller
        seq_len = options.seq_len or TrainingConfig.seq_len
        fitted, _ = fit_batches(run.config.measured["train_tokens"], options.batch_size, seq_len)
        said["training"]["batch_size"] = fitted
    for section, settings in said.items():
        for name, value in settings.items():
            if name != "device" and was[section][name] != value:
                raise RunError(
                    f"{run.path}: was trained with {name}={was[section][name]!r}, not {value!r}. "
                    "Name another directory for the runs, or say the same again."
                )
    corpus = Corpus(plan_data(options))
    if corpus.fingerprint != run.config.measured["corpus_fingerprint"]:
        raise RunError(
            f"{run.path}: was trained on another text. Name another directory for the runs, or remove it."
        )
