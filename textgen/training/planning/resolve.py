"""What the user left open is chosen and measured: options become the complete config, with its first weights.

    device ─reference network→ work ─recipe→ network, settings ─probe→ threads, tokens an evaluation may read

Budgets in steps and epochs must repeat exactly, so for them no more is measured than whether bfloat16 pays.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import torch

from textgen.models.cost import num_parameters
from textgen.models.language_model import LanguageModel
from textgen.run import FORMAT, Run, vocab_of
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.settings.given import TrainOptions
from textgen.settings.option import from_mapping
from textgen.system.device import resolve_device, resolve_precision, set_up
from textgen.system.memory import require_memory
from textgen.system.threads import resolve_threads
from textgen.text.batches import fit_batches
from textgen.text.corpus import Corpus
from textgen.text.model_vocab import ModelVocab
from textgen.text.store import TokenStore
from textgen.training.planning.plan import (
    DEFAULT_MINUTES,
    FORWARD_SHARE,
    asked_batches,
    eval_tokens,
    fine_tuning_model,
    fine_tuning_recipe,
    plan_model,
    plan_training,
)
from textgen.training.planning.probe import reading_speed
from textgen.training.planning.recipe import (
    REFERENCE,
    choose_recipe,
    embedding_dim,
    ties_weights,
)
from textgen.training.planning.speeds import Speeds, affordable_tokens, with_batch
from textgen.training.session import set_up_training
from textgen.training.trainer import training_model
from textgen.version import VERSION


def resolve(
    options: TrainOptions, data: DataConfig, corpus: Corpus, store: TokenStore, source: Run | None
) -> tuple[RunConfig, LanguageModel]:
    """The complete config of a run, and the model with its first weights.

    source is the run that it starts from, if any. Raises ConfigError, CorpusError, RunError.
    """
    vocab = ModelVocab.from_counts(store.counts)
    if source is not None:
        vocab = vocab_of(source.load_weights()).extended(store.counts)
    train_tokens, val_tokens = len(store.tokens("train")), len(store.tokens("val"))
    measured: dict[str, Any] = {
        "corpus_fingerprint": corpus.fingerprint,
        "train_tokens": train_tokens,
        "train_characters": store.size("train").characters,
        "train_bytes": store.size("train").bytes,
        "val_tokens": val_tokens,
        "documents": store.size("train").documents,
        "characters_per_token": store.size("train").characters / train_tokens,
        "torch_version": torch.__version__,
    }
    speeds = Speeds(options.threads)
    if source is None:
        work = _work(options, speeds, vocab.size, train_tokens, measured)
        recipe = choose_recipe(
            train_tokens,
            work.tokens,
            is_float32=work.is_float32,
            tokens_read=work.tokens if work.is_for_any else None,
            num_layers=options.num_layers or (2 if options.residual else None),
            hidden_size=options.hidden_size,
            model_vocab_size=vocab.size,
            cell=options.cell or ModelConfig.cell,
            epochs=options.epochs,
            characters=measured["train_characters"] if options.steps is None else None,
        )
        model_config = plan_model(options, recipe, model_vocab_size=vocab.size)
    else:
        recipe = fine_tuning_recipe(source.config.model)
        model_config = fine_tuning_model(options, source.config.model, vocab.size)
    training = plan_training(options, recipe, model=model_config, train_tokens=train_tokens)
    require_memory(num_parameters(model_config), training.device)
    set_up_training(training)
    model = training_model(_first_model(model_config, vocab, source), training)
    if training.minutes is not None:
        if source is None:
            training = with_batch(options, model, training, speeds, train_tokens)
        threads = _measure(model, training, speeds, measured)
        if threads != training.threads:
            training = dataclasses.replace(training, threads=threads)
            set_up_training(training)  # the same first weights as a resumed run would draw
            model = training_model(_first_model(model_config, vocab, source), training)
    measured["parameters"] = model.num_parameters
    if training.eval_tokens is None:
        affordable = eval_tokens(*_cost(training, train_tokens, measured), training.evaluations, val_tokens)
        training = dataclasses.replace(training, eval_tokens=affordable)
    config = RunConfig(
        format=FORMAT,
        textgen_version=VERSION,
        data=data,
        model=model_config,
        training=training,
        from_run=None if options.from_run is None else str(Path(options.from_run).absolute()),
        measured=measured,
    )
    return config, model


class _Work(NamedTuple):
    """A budget as tokens that the reference network would read in it, and whether a CPU would in float32.

    is_for_any: any other network reads as many, as in a budget of steps.
    """

    tokens: float
    is_float32: bool = False  # of what is not measured nothing is known
    is_for_any: bool = False


def _work(
    options: TrainOptions, speeds: Speeds, model_vocab_size: int, train_tokens: int, measured: dict[str, Any]
) -> _Work:
    """What the budget is worth, on this device."""
    if options.steps is not None:
        batch_size, seq_len = fit_batches(train_tokens, *asked_batches(options))
        return _Work(options.steps * batch_size * seq_len, is_for_any=True)
    if options.epochs is not None and options.minutes is None:
        return _Work(options.epochs * train_tokens, is_for_any=True)
    device = resolve_device(options.device or TrainingConfig.device)
    cell = options.cell or ModelConfig.cell
    width, is_tied = REFERENCE["hidden_size"], ties_weights(model_vocab_size, cell)
    network = REFERENCE | {
        "cell": cell,
        "model_vocab_size": model_vocab_size,
        "embedding_dim": embedding_dim(model_vocab_size, width, cell, is_tied=is_tied),
        "tie_weights": is_tied,
    }
    config = from_mapping(ModelConfig, network)
    precision = resolve_precision(
        options.precision or TrainingConfig.precision,
        device,
        cell=config.cell,
        hidden_size=config.hidden_size,
    )
    threads = resolve_threads(options.threads, hidden_size=config.hidden_size)
    training = TrainingConfig(device=device, precision=precision, threads=threads, steps=1)
    # Determinism as it will be: cuBLAS asks for it once, at its first product.
    set_up(device, threads=threads, seed=training.seed, deterministic=bool(options.deterministic))
    model = training_model(LanguageModel(config), training)
    speed = speeds.of(model, training).tokens_per_second
    measured["reference_tokens_per_second"] = round(speed)
    tokens = speed * 60 * (options.minutes or DEFAULT_MINUTES)
    return _Work(tokens, is_float32=(device, precision) == ("cpu", "float32"))


def _measure(model: LanguageModel, training: TrainingConfig, speeds: Speeds, measured: dict[str, Any]) -> int:
    """Measure how fast the model trains and reads, note it, and return the threads that it takes for that."""
    fastest = speeds.of(model, training)
    measured["probed_tokens_per_second"] = round(fastest.tokens_per_second)
    reading = reading_speed(model, training.batch_size, training.seq_len)
    measured["probed_reading_tokens_per_second"] = round(reading)
    return fastest.number


def _cost(training: TrainingConfig, train_tokens: int, measured: dict[str, Any]) -> tuple[float, float]:
    """How many tokens the budget trains on, and what reading one costs of training on it."""
    if training.steps is not None:
        return training.steps * training.batch_size * training.seq_len, FORWARD_SHARE
    if training.minutes is None:
        assert training.epochs is not None
        return training.epochs * train_tokens, FORWARD_SHARE
    speed: int = measured["probed_tokens_per_second"]
    affordable = affordable_tokens(training, speed, train_tokens)
    return affordable, speed / measured["probed_reading_tokens_per_second"]


def _first_model(config: ModelConfig, vocab: ModelVocab, source: Run | None) -> LanguageModel:
    """New weights from the seed, or another run's with rows for the new text."""
    if source is None:
        return LanguageModel(config, vocab)
    model = LanguageModel.from_pretrained(source.path).with_vocab(vocab)
    fresh = LanguageModel(config, vocab)  # the same network with this run's dropout
    fresh.load_weights(model.weights(), str(source.path))
    return fresh
