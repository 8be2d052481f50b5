"""Settings for a corpus, a budget and a device when the user names none: the recipe's, and what follows.

What the user said wins, but that a text which is too small for its batches shrinks them; what is left open is
filled in here, once, and becomes the run's config.json.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from textgen.errors import ConfigError
from textgen.settings.config import DROPOUTS, DataConfig, ModelConfig, TrainingConfig
from textgen.settings.given import TrainOptions
from textgen.settings.option import from_mapping, typed
from textgen.system.device import resolve_device, resolve_precision
from textgen.system.threads import resolve_threads
from textgen.text.batches import fit_batches
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import DEFAULT_MIN_FREQUENCY, DEFAULT_VOCAB_SIZE, bpe_vocab_size
from textgen.training.planning.recipe import Recipe, embedding_dim

DEFAULT_MINUTES = 2.0
# Of a DataConfig what says which text it is, not how it becomes tokens.
TEXT_OPTIONS = "corpus", "documents", "field", "encoding", "val_fraction", "val", "test"
TOKENIZER_OPTIONS = "tokenizer", "vocab_size", "min_frequency", "end_of_text"  # and how
# Weights that know a language already are to be changed, not made: a peak as for new ones undoes them first.
FINE_TUNING_LEARNING_RATE = 2e-3
EVAL_SHARE = 0.05  # of the budget goes into validation during training
# What reading a token costs of training on it, forward only and without a graph, where it is not measured: a
# backward pass is about two forward ones.
FORWARD_SHARE = 0.35


def plan_model(options: TrainOptions, recipe: Recipe, *, model_vocab_size: int) -> ModelConfig:
    """The network: what the user said, the rest from the recipe. Raises ConfigError."""
    chosen: dict[str, Any] = {
        "hidden_size": recipe.hidden_size,
        "num_layers": recipe.num_layers,
        "tie_weights": recipe.tie_weights,
    }
    chosen |= {name: getattr(recipe, name) for name in DROPOUTS} | options.said(ModelConfig)
    cell = chosen.get("cell", ModelConfig.cell)
    usual = embedding_dim(model_vocab_size, chosen["hidden_size"], cell, is_tied=chosen["tie_weights"])
    chosen.setdefault("embedding_dim", usual)
    return from_mapping(ModelConfig, chosen | {"model_vocab_size": model_vocab_size})


def plan_training(
    options: TrainOptions, recipe: Recipe, *, model: ModelConfig, train_tokens: int
) -> TrainingConfig:
    """Batches, budget, optimizer and device; eval_tokens stays None until the speed is known.

    Raises ConfigError, and CorpusError when the text is too small for any window.
    """
    said = options.said(TrainingConfig)
    if not said.keys() & {"minutes", "epochs", "steps"}:
        said["minutes"] = DEFAULT_MINUTES
    if "minutes" in said:
        said = {"epochs": recipe.epochs} | said
    device = resolve_device(said.get("device", TrainingConfig.device))
    batch_size, seq_len = fit_batches(train_tokens, *asked_batches(options))
    precision = resolve_precision(
        said.get("precision", TrainingConfig.precision),
        device,
        cell=model.cell,
        hidden_size=model.hidden_size,
    )
    resolved: dict[str, Any] = {
        "learning_rate": recipe.learning_rate,
        "beta1": recipe.beta1,
        "weight_decay": recipe.weight_decay,
        "temporal_activation_penalty": recipe.temporal_activation_penalty,
    } | said
    resolved |= {
        "device": device,
        "precision": precision,
        "threads": resolve_threads(options.threads, hidden_size=model.hidden_size),
        "batch_size": batch_size,
        "seq_len": seq_len,
    }
    return from_mapping(TrainingConfig, resolved)


def asked_batches(options: TrainOptions) -> tuple[int, int]:
    """batch_size and seq_len before a small text shrinks them."""
    return options.batch_size or TrainingConfig.batch_size, options.seq_len or TrainingConfig.seq_len


def eval_tokens(trained_tokens: float, forward_share: float, evaluations: int, val_tokens: int) -> int:
    """How many validation tokens one evaluation may read for all of them to keep within their share.

    trained_tokens is how many tokens the budget trains on, forward_share what reading one costs of training
    on it. At least 2,000 tokens are read, if there are so many: fewer would measure nothing.
    """
    affordable = trained_tokens * EVAL_SHARE / forward_share / evaluations
    return int(min(val_tokens, max(affordable, 2_000)))


def on_its_text(options: TrainOptions, source: DataConfig, source_path: str) -> TrainOptions:
    """For --from without a corpus: the other run's own text, divided as it was. Raises ConfigError."""
    if options.corpus:
        return options
    if "-" in source.corpus:
        raise ConfigError(f"{source_path} was trained on standard input: name the CORPUS to go on with")
    said = options.said(DataConfig)
    # What the user says of how to divide it takes the place of both.
    division = {"val", "val_fraction"}
    void = division if division & said.keys() else {"val" if source.val is None else "val_fraction"}
    text = {name: getattr(source, name) for name in TEXT_OPTIONS if name not in void}
    return dataclasses.replace(options, **text | said)


def plan_data(options: TrainOptions, source: DataConfig | None = None) -> DataConfig:
    """The corpus and how it is tokenized: as the run that it starts from, if any. Raises ConfigError."""
    if not options.corpus:
        raise ConfigError("no corpus: name a text file, a folder, or - for standard input")
    said = options.said(DataConfig)
    if source is not None:  # its tokenizer stays, and nothing is learnt anew
        said = {name: value for name, value in said.items() if name not in TOKENIZER_OPTIONS}
        return from_mapping(
            DataConfig, said | {"tokenizer": source.tokenizer, "end_of_text": source.end_of_text}
        )
    kind = said.get("tokenizer", DataConfig.tokenizer)
    if kind in DEFAULT_MIN_FREQUENCY:
        # Written down, so that the run can be repeated when the defaults are others.
        said = {"min_frequency": DEFAULT_MIN_FREQUENCY[kind]} | said
        if kind != "bpe":  # depends on the text: with_vocab_size
            said = {"vocab_size": DEFAULT_VOCAB_SIZE[kind]} | said
    return from_mapping(DataConfig, said)


def with_vocab_size(data: DataConfig, corpus: Corpus) -> DataConfig:
    """The same with the number of bpe tokens to learn from the corpus, if it was left open."""
    if data.vocab_size is not None or data.tokenizer != "bpe":
        return data
    return dataclasses.replace(data, vocab_size=bpe_vocab_size(corpus.size("train").characters))


def same_network(options: TrainOptions, source: ModelConfig, source_path: str) -> None:
    """Refuse, for --from, an option that the other run's network has fixed otherwise. Raises ConfigError."""
    for name, value in options.said(ModelConfig).items():
        if name not in (*DROPOUTS, "model_vocab_size") and value != getattr(source, name):
            raise ConfigError(
                f"{' '.join(typed(name, value))} does not fit --from {source_path}, whose network was made "
                f"with {name}={getattr(source, name)!r}. Leave the option out."
            )


def fine_tuning_model(options: TrainOptions, source: ModelConfig, model_vocab_size: int) -> ModelConfig:
    """The other run's network with rows for the new text, and the user's dropouts where they were said."""
    said = {name: value for name, value in options.said(ModelConfig).items() if name in DROPOUTS}
    return dataclasses.replace(source, model_vocab_size=model_vocab_size, **said)


def fine_tuning_recipe(source: ModelConfig) -> Recipe:
    """What a run that starts from another one's weights takes where the user says nothing."""
    return Recipe(
        hidden_size=source.hidden_size,
        num_layers=source.num_layers,
        dropout=source.dropout,
        input_dropout=source.input_dropout,
        embedding_dropout=source.embedding_dropout,
        weight_drop=source.weight_drop,
        tie_weights=source.tie_weights,
        learning_rate=FINE_TUNING_LEARNING_RATE,
        beta1=TrainingConfig.beta1,
        weight_decay=TrainingConfig.weight_decay,
        temporal_activation_penalty=TrainingConfig.temporal_activation_penalty,
        epochs=None,
    )
