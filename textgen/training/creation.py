"""A new run: what the user left open is chosen, measured and written down before the first step.

    options -> corpus -> tokenizer -> store -> rows -> config -> run directory -> model

The run's directory appears when all is chosen, with its complete config.json. From then on nothing is chosen
again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.atomic import new_directory
from textgen.config import (
    TOKENIZER_KINDS,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    TrainOptions,
    unknown_name,
)
from textgen.device import memory_errors
from textgen.errors import ConfigError, RunError
from textgen.models.language_model import LanguageModel
from textgen.run import (
    CONFIG,
    FORMAT,
    STDIN,
    TOKENIZER,
    TRAINING,
    Run,
    config_json,
    describe,
    free_directory,
    rows_of,
    save_weights,
)
from textgen.text.corpus import Corpus
from textgen.text.round_trip import measure_round_trip
from textgen.text.rows import Rows
from textgen.text.sources import standard_input
from textgen.text.store import TokenStore, default_cache_dir
from textgen.text.tokenizer import Tokenizer
from textgen.training.plan import (
    FORWARD_SHARE,
    eval_tokens,
    fine_tuning_model,
    plan_data,
    plan_model,
    plan_training,
    same_network,
)
from textgen.training.probe import fastest_threads, measure_speed
from textgen.training.progress import Reporter
from textgen.training.trainer import training_model
from textgen.training.training import INITIAL, Training, assemble, set_up_training
from textgen.version import VERSION


def new_training(options: TrainOptions, reporter: Reporter) -> Training:
    """Choose what the user left open, create the run's directory, and give its trainer.

    Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    source = Run(options.from_run) if options.from_run is not None else None
    _refuse_beside_from(options, source)
    path = _run_path(options)
    data = plan_data(options)
    if source is not None:
        data = dataclasses.replace(
            data, tokenizer=source.config.data.tokenizer, vocab_size=None, min_frequency=None
        )
    cache_dir = Path(options.cache_dir) if options.cache_dir is not None else default_cache_dir()
    with standard_input(data.corpus) as stdin:
        corpus = Corpus(data, stdin)
        tokenizer = source.tokenizer if source is not None else _build_tokenizer(data, corpus, reporter)
        store = TokenStore.open_or_build(corpus, tokenizer, cache_dir, reporter.work)
        with memory_errors():
            config, model = _choose(options, data, corpus, store, tokenizer, source)
        _describe_start(options, config, store, reporter)
        initial = None if source is None else model.weights()
        while True:
            try:
                _create(path, config, tokenizer, initial=initial, stdin=stdin)
                break
            except FileExistsError:  # another process took the name while this one read the corpus
                path = _run_path(options)
    return assemble(Run(path), store, tokenizer, model, reporter)


def _create(
    path: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    initial: dict[str, np.ndarray] | None,
    stdin: Path | None,
) -> None:
    """Make a run's directory, whole or not at all. Raises FileExistsError when it is taken, RunError."""
    try:
        with new_directory(path) as building:
            (building / CONFIG).write_text(config_json(config), encoding="utf-8")
            (building / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
            (building / TRAINING).mkdir()
            if initial is not None:
                save_weights(building / TRAINING / INITIAL, initial)
            if stdin is not None:
                shutil.copyfile(stdin, building / TRAINING / STDIN)
    except FileExistsError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be made ({error.strerror or error}); name another --run") from error


def _run_path(options: TrainOptions) -> Path:
    if options.run is not None:
        path = Path(options.run)
        if path.exists():
            raise RunError(f"{path}: is there already. Name a new directory, or go on with: --resume {path}")
        return _writable(path)
    first = (options.corpus or ("corpus",))[0]
    name = Path(first.rstrip("/*")).name.split(".")[0].strip("*?[]") if first != "-" else "stdin"
    return _writable(free_directory(Path("runs"), name or "corpus"))


def _writable(path: Path) -> Path:
    """Check, before any work is done, that a run's directory can be made. Raises RunError."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"{path}: cannot be made, {nearest} is no folder to write to; name another --run")
    return path


def _absolute(data: DataConfig) -> DataConfig:
    """Paths that hold wherever the run is resumed from; - and the names of tokenizer kinds stay."""

    def absolute(path: str) -> str:
        return path if path == "-" else str(Path(path).absolute())

    return dataclasses.replace(
        data,
        corpus=tuple(map(absolute, data.corpus)),
        val=data.val and absolute(data.val),
        test=data.test and absolute(data.test),
        tokenizer=absolute(data.tokenizer) if data.uses_tokenizer_file else data.tokenizer,
    )


def _refuse_beside_from(options: TrainOptions, source: Run | None) -> None:
    if source is None:
        return
    for name in ("tokenizer", "vocab_size", "min_frequency", "end_of_text"):
        value = getattr(options, name)
        if value is not None and value != getattr(source.config.data, name):
            raise ConfigError(f"{name} does not go with --from: the tokenizer is that of {source.path}")
    same_network(options, source.config.model, str(source.path))


def _build_tokenizer(data: DataConfig, corpus: Corpus, reporter: Reporter) -> Tokenizer:
    if not data.uses_tokenizer_file:

        def say_sampled(taken: int, total: int) -> None:
            reporter.line(
                f"The {data.tokenizer} vocabulary is learnt from {taken:,} of {total:,} characters, "
                "spread evenly over the text."
            )

        return Tokenizer.train(
            data.tokenizer, corpus.stream("train"), data.vocab_size, data.min_frequency, say_sampled
        )
    path = Path(data.tokenizer)
    if not path.exists() and path.suffix != ".json":
        raise ConfigError(
            f"{unknown_name('tokenizer', data.tokenizer, TOKENIZER_KINDS)}: "
            f"one of {', '.join(TOKENIZER_KINDS)}, or the path of a tokenizer.json"
        )
    tokenizer = Tokenizer.from_file(path, data.end_of_text)
    measured = measure_round_trip(tokenizer, corpus.stream("train"))
    if measured.example is not None:
        before, after = measured.example
        reporter.line(
            f"{data.tokenizer} loses {measured.lost_characters:,} of {measured.characters:,} characters, in "
            f"{measured.lost_documents:,} of {measured.documents:,} documents: "
            f"{before!r} comes back as {after!r}."
        )
    return tokenizer


def _choose(
    options: TrainOptions,
    data: DataConfig,
    corpus: Corpus,
    store: TokenStore,
    tokenizer: Tokenizer,
    source: Run | None,
) -> tuple[RunConfig, LanguageModel]:
    """Everything resolved, and the model with its first weights."""
    rows = Rows.from_counts(store.counts)
    if source is not None:
        rows = rows_of(source.load_weights()).extended(store.counts)
    train_tokens, val_tokens = len(store.tokens("train")), len(store.tokens("val"))
    model_config = (
        fine_tuning_model(options, source.config.model, rows.size)
        if source is not None
        else plan_model(options, vocab_size=rows.size, train_tokens=train_tokens)
    )
    training = plan_training(options, model=model_config, train_tokens=train_tokens)
    set_up_training(training)
    model = training_model(_first_model(model_config, rows, source), training)
    if options.threads is None and training.minutes is not None and training.device == "cpu":
        # Measured, as steps and epochs must not be: another number of threads rounds differently.
        threads = fastest_threads(model, training.batch_size, training.seq_len)
        if threads != training.threads:
            training = dataclasses.replace(training, threads=threads)
            set_up_training(training)  # the same first weights as a resumed run would draw
            model = training_model(_first_model(model_config, rows, source), training)
    size = store.size("train")
    measured: dict[str, Any] = {
        "corpus_fingerprint": corpus.fingerprint,
        "train_tokens": train_tokens,
        "train_characters": size.characters,
        "train_bytes": size.bytes,
        "val_tokens": val_tokens,
        "documents": size.documents,
        "characters_per_token": size.characters / train_tokens,
        "parameters": model.num_parameters,
        "torch_version": torch.__version__,
    }
    if training.eval_tokens is None:
        trained_tokens, forward_share = _cost(training, model, train_tokens, measured)
        affordable = eval_tokens(trained_tokens, forward_share, training.evaluations, val_tokens)
        training = dataclasses.replace(training, eval_tokens=affordable)
    config = RunConfig(
        format=FORMAT,
        textgen_version=VERSION,
        data=_absolute(data),
        model=model_config,
        training=training,
        from_run=None if options.from_run is None else str(Path(options.from_run).absolute()),
        measured=measured,
    )
    return config, model


def _cost(
    training: TrainingConfig, model: LanguageModel, train_tokens: int, measured: dict[str, Any]
) -> tuple[float, float]:
    """How many tokens the budget trains on, and what reading one costs of training on it.

    For minutes both are measured, which is noted; steps and epochs must repeat exactly, so nothing is.
    """
    if training.steps is not None:
        return training.steps * training.batch_size * training.seq_len, FORWARD_SHARE
    if training.epochs is not None:
        return training.epochs * train_tokens, FORWARD_SHARE
    assert training.minutes is not None
    speed = measure_speed(model, training.batch_size, training.seq_len)
    measured["probed_tokens_per_second"] = round(speed.training)
    measured["probed_reading_tokens_per_second"] = round(speed.reading)
    return speed.training * training.minutes * 60, speed.training / speed.reading


def _first_model(config: ModelConfig, rows: Rows, source: Run | None) -> LanguageModel:
    """New weights from the seed, or another run's with rows for the new text."""
    if source is None:
        return LanguageModel(config, rows)
    model = LanguageModel.from_pretrained(source.path).with_rows(rows)
    fresh = LanguageModel(config, rows)  # the same network with this run's dropout
    fresh.load_weights(model.weights(), str(source.path))
    return fresh


def _describe_start(options: TrainOptions, config: RunConfig, store: TokenStore, reporter: Reporter) -> None:
    train, val = store.size("train"), store.size("val")
    reporter.line(
        f"Corpus: {train.characters:,} characters to train on, {val.characters:,} to validate on; "
        f"{config.data.tokenizer} tokens, {config.model.vocab_size:,} distinct."
    )
    reporter.line(f"Model: {config.measured['parameters']:,} parameters; {describe(config)}.")
    training = config.training
    wanted = (options.batch_size or TrainingConfig.batch_size, options.seq_len or TrainingConfig.seq_len)
    if (training.batch_size, training.seq_len) != wanted:
        reporter.line(
            f"The corpus is small ({config.measured['train_tokens']:,} tokens), so a batch shrinks from "
            f"{wanted[0]} x {wanted[1]} to {training.batch_size} x {training.seq_len} tokens."
        )
