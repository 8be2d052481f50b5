"""The second stage: what the user left open is chosen and measured; the result is the complete config.

    device ─reference network→ work ─recipe→ network, settings ─probe→ threads, tokens an evaluation may read

Budgets in steps and epochs must repeat exactly, so for them only whether bfloat16 is faster is measured.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from textgen.distributed.world import World
from textgen.errors import ConfigError
from textgen.models.language_model import LanguageModel
from textgen.run import FORMAT, Run
from textgen.settings.config import ModelConfig, RunConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.settings.option import from_mapping
from textgen.system.device import resolve_device, resolve_precision
from textgen.system.threads import available_processors, resolve_threads
from textgen.text.model_vocab import ModelVocab
from textgen.training.planning.configs import (
    DEFAULT_MINUTES,
    FORWARD_SHARE,
    BatchShape,
    complete_model,
    complete_training,
    eval_tokens,
    fitted_batches,
)
from textgen.training.planning.data import PreparedText
from textgen.training.planning.fine_tune import fine_tuning_model, fine_tuning_recipe
from textgen.training.planning.notes import start_notes
from textgen.training.planning.probe import reading_speed
from textgen.training.planning.recipe import REFERENCE, Recipe, choose_recipe, embedding_dim, ties_weights
from textgen.training.planning.speeds import Speeds, affordable_tokens, with_batch
from textgen.training.setup import require_training_memory, set_up_training
from textgen.training.trainer import training_model
from textgen.version import VERSION


@dataclass(frozen=True)
class Resolved:
    """A run before its first step: the complete config, the model with its initial weights, and notes.

    notes: the lines to print for the user.
    """

    config: RunConfig
    model: LanguageModel
    notes: tuple[str, ...]


def resolve(
    text: PreparedText,
    model: Section[ModelConfig],
    training: Section[TrainingConfig],
    *,
    source: Run | None = None,
    world: World | None = None,
) -> Resolved:
    """Choose what the user left open. source: the run to start from, if any. world: the processes that will
    train; None: this one alone.

    Raises ConfigError, CorpusError, RunError, TrainingError.
    """
    world = world or World()
    if world.size > 1 and "threads" not in training:
        training = training.replaced(threads=max(available_processors(), world.local_size))
    measured = _sizes(text)
    batches = fitted_batches(training, text.train_tokens)
    speeds = Speeds(training.get("threads"), world)
    if source is None:
        recipe = _recipe(text, model, training, batches, speeds, measured, world)
        model_config = complete_model(
            model,
            recipe,
            model_vocab_size=text.vocab.size,
            labels=text.labels,
            start_id=text.start_id,
        )
    else:
        recipe = fine_tuning_recipe(source.config.model)
        model_config = fine_tuning_model(model, source.config.model, text.vocab.size)
        model_config = dataclasses.replace(model_config, labels=text.labels, start_id=text.start_id)
    config = complete_training(training, recipe, model=model_config, batches=batches)
    require_training_memory(model_config, config, world)
    set_up_training(config, world)
    network = training_model(_initial_model(model_config, text.vocab, source), config)
    if config.minutes is not None:
        if source is None and "batch_size" not in training:
            config = with_batch(network, config, speeds, text.train_tokens)
        threads = _measure_speed(network, config, speeds, measured, world)
        if threads != config.threads:
            config = dataclasses.replace(config, threads=threads)
            set_up_training(config, world)  # the same initial weights as a resumed run draws
            network = training_model(_initial_model(model_config, text.vocab, source), config)
    measured["parameters"] = network.num_parameters
    config = dataclasses.replace(config, shuffle=_shuffles(training, text))
    if config.eval_tokens is None and text.val_tokens:
        trained_tokens, forward_share = _cost(config, text.train_tokens, measured)
        affordable = eval_tokens(trained_tokens, forward_share, config.evaluations, text.val_tokens)
        config = dataclasses.replace(config, eval_tokens=affordable)
    run_config = RunConfig(
        format=FORMAT,
        textgen_version=VERSION,
        data=text.config,
        model=model_config,
        training=config,
        from_run=None if source is None else str(source.path.absolute()),
        remote=tuple(dataclasses.asdict(record) for record in text.remote),
        measured=measured,
    )
    return Resolved(run_config, network, start_notes(text, run_config, training, batches, source))


def _shuffles(training: Section[TrainingConfig], text: PreparedText) -> bool:
    """Whether documents are read in a new order each epoch. Raises ConfigError where there is only one."""
    has_documents = text.store.size("train").documents > 1
    if training.get("shuffle") and not has_documents:
        raise ConfigError(
            "--shuffle: the text is one document; say with --documents what a document is, or leave it out"
        )
    shuffles: bool = training.get("shuffle", has_documents and text.corpus.has_exchangeable_documents)
    return shuffles


def _sizes(text: PreparedText) -> dict[str, Any]:
    """The sizes of the text, to be kept in config.json."""
    size = text.store.size("train")
    return {
        "corpus_fingerprint": text.corpus.fingerprint,
        "train_tokens": text.train_tokens,
        "train_characters": size.characters,
        "train_bytes": size.bytes,
        "val_tokens": text.val_tokens,
        "documents": size.documents,
        "unicode_form": text.unicode_form,
        "characters_per_token": size.characters / text.train_tokens,
        "torch_version": torch.__version__,
    }


def _recipe(
    text: PreparedText,
    model: Section[ModelConfig],
    training: Section[TrainingConfig],
    batches: BatchShape,
    speeds: Speeds,
    measured: dict[str, Any],
    world: World,
) -> Recipe:
    """The recipe for the text, the budget and the device."""
    work = _work(text, model, training, batches, speeds, measured, world)
    return choose_recipe(
        text.train_tokens,
        work.tokens,
        is_float32=work.is_float32,
        tokens_read=work.tokens if work.for_any_network else None,
        num_layers=model.get("num_layers") or (2 if model.get("residual") else None),
        hidden_size=model.get("hidden_size"),
        model_vocab_size=text.vocab.size,
        cell=model.value("cell"),
        epochs=training.get("epochs"),
        characters=measured["train_characters"] if "steps" not in training else None,
    )


class _Work(NamedTuple):
    """A budget as the number of tokens that the reference network would read in it.

    is_float32: on a CPU in float32. for_any_network: any network reads as many, as with a budget in steps.
    """

    tokens: float
    is_float32: bool = False  # also where nothing is measured
    for_any_network: bool = False


def _work(
    text: PreparedText,
    model: Section[ModelConfig],
    training: Section[TrainingConfig],
    batches: BatchShape,
    speeds: Speeds,
    measured: dict[str, Any],
    world: World,
) -> _Work:
    """What the budget is worth, on this device."""
    if "steps" in training:
        return _Work(training["steps"] * batches.tokens, for_any_network=True)
    if "epochs" in training and "minutes" not in training:
        return _Work(training["epochs"] * text.train_tokens, for_any_network=True)
    cell, width = model.value("cell"), REFERENCE["hidden_size"]
    is_tied = ties_weights(text.vocab.size, cell)
    network = REFERENCE | {
        "cell": cell,
        "model_vocab_size": text.vocab.size,
        "embedding_dim": embedding_dim(text.vocab.size, width, cell, is_tied=is_tied),
        "tie_weights": is_tied,
    }
    config = from_mapping(ModelConfig, network)
    device = resolve_device(training.value("device"))
    precision = resolve_precision(
        training.value("precision"), device, cell=cell, hidden_size=config.hidden_size
    )
    threads = resolve_threads(training.get("threads"), hidden_size=config.hidden_size)
    probed = TrainingConfig(device=device, precision=precision, threads=threads, steps=1)
    require_training_memory(config, probed, World())
    # With the determinism of the run: cuBLAS reads that setting only once, at its first product.
    deterministic = training.value("deterministic")
    set_up_training(dataclasses.replace(probed, deterministic=deterministic), world)
    speed = speeds.of(training_model(LanguageModel(config), probed), probed).tokens_per_second
    measured["reference_tokens_per_second"] = round(speed)
    minutes = training.get("minutes") or DEFAULT_MINUTES
    return _Work(speed * 60 * minutes, is_float32=(device, precision) == ("cpu", "float32"))


def _measure_speed(
    model: LanguageModel, config: TrainingConfig, speeds: Speeds, measured: dict[str, Any], world: World
) -> int:
    """Measure how fast the model trains and reads, record it, and return the best number of threads."""
    fastest = speeds.of(model, config)
    measured["probed_tokens_per_second"] = round(fastest.tokens_per_second)
    reading = reading_speed(model, config.batch_size, config.seq_len) * world.size
    measured["probed_reading_tokens_per_second"] = round(reading)
    return fastest.number


def _cost(config: TrainingConfig, train_tokens: int, measured: dict[str, Any]) -> tuple[float, float]:
    """How many tokens the budget trains on, and the cost of reading one as a fraction of training on it."""
    if config.steps is not None:
        return config.steps * config.batch_size * config.seq_len, FORWARD_SHARE
    if config.minutes is None:
        assert config.epochs is not None
        return config.epochs * train_tokens, FORWARD_SHARE
    speed: int = measured["probed_tokens_per_second"]
    affordable = affordable_tokens(config, speed, train_tokens)
    return affordable, speed / measured["probed_reading_tokens_per_second"]


def _initial_model(config: ModelConfig, vocab: ModelVocab, source: Run | None) -> LanguageModel:
    """New weights from the seed, or another run's, extended to the vocabulary of both texts."""
    if source is None:
        return LanguageModel(config, vocab)
    model = LanguageModel.from_pretrained(source.path).with_vocab(vocab, config.labels, config.start_id)
    fresh = LanguageModel(config, vocab)  # the same network with this run's dropout
    fresh.load_weights(model.weights(), str(source.path))
    return fresh
