"""Starting from another run's weights: what is taken from that run, and what the user may still choose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen.errors import ConfigError
from textgen.settings.config import DROPOUTS, DataConfig, ModelConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.settings.option import as_arguments, flag
from textgen.training.planning.recipe import Recipe

# The fields of DataConfig that say which text it is, and those that say how it becomes tokens.
TEXT_OPTIONS = (
    "corpus", "documents", "field", "label_field", "delimiter", "encoding",
    "val_fraction", "val_order", "val_characters", "val", "test",
)  # fmt: skip
TOKENIZER_OPTIONS = "tokenizer", "vocab_size", "min_frequency", "end_of_text"
# Lower than the peak for new weights, which would undo what these have learnt.
FINE_TUNING_LEARNING_RATE = 2e-3


def source_text(data: Section[DataConfig], source: DataConfig, source_path: str) -> Section[DataConfig]:
    """Without a corpus, the other run's own text, split as it was unless the user splits it otherwise.

    Raises ConfigError when that text was standard input.
    """
    if data.get("corpus"):
        return data
    if "-" in source.corpus:
        raise ConfigError(f"{source_path} was trained on standard input: name the CORPUS to train on")
    void = {"val"} if source.val is None else {"val_fraction", "val_order"}
    if "val" in data or data.get("val_fraction") == 0:
        void |= {"val", "val_fraction", "val_order"}
    elif "val_fraction" in data:
        void |= {"val", "val_fraction"}
    text = {name: getattr(source, name) for name in TEXT_OPTIONS if name not in void}
    given = {name: value for name, value in text.items() if value is not None}
    return Section(DataConfig, {**given, **data})


def require_same_tokenizer(data: Section[DataConfig], source: DataConfig, source_path: str) -> None:
    """Refuse an option that the other run's tokenizer contradicts. Raises ConfigError."""
    for name in TOKENIZER_OPTIONS:
        value, known = data.get(name), getattr(source, name)
        if value not in (None, known) and not _is_path_of(value, known):
            raise ConfigError(f"{flag(name)} does not go with --from: the tokenizer is that of {source_path}")


def _is_path_of(value: object, known: object) -> bool:
    """Whether both are the same file: config.json has whole paths."""
    return isinstance(value, str) and str(Path(value).absolute()) == known


def require_same_network(model: Section[ModelConfig], source: ModelConfig, source_path: str) -> None:
    """Refuse an option that the other run's network contradicts. Raises ConfigError."""
    for name, value in model.items():
        if name not in DROPOUTS and value != getattr(source, name):
            raise ConfigError(
                f"{' '.join(as_arguments(name, value))} does not fit --from {source_path}, whose network was "
                f"made with {name}={getattr(source, name)!r}. Leave the option out."
            )


def fine_tuning_model(model: Section[ModelConfig], source: ModelConfig, model_vocab_size: int) -> ModelConfig:
    """The other run's network for the vocabulary of both texts, with the user's dropout rates if given."""
    dropouts = {name: value for name, value in model.items() if name in DROPOUTS}
    return dataclasses.replace(source, model_vocab_size=model_vocab_size, **dropouts)


def fine_tuning_recipe(source: ModelConfig) -> Recipe:
    """The settings for training on from another run's weights, where the user gives none."""
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
