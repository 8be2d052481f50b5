"""Starting from another run's weights: what is taken from that run, and what the user may still choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DROPOUTS, RECORD, DataConfig, ModelConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.settings.option import as_arguments, flag, options_of
from textgen.text.formats import TextFile
from textgen.text.sources import Source, find_files
from textgen.training.planning.recipe import Recipe

# The fields of DataConfig that say how the files of a text become documents, and how a conversation looks in
# it, which another text inherits where they apply to it. The encoding is not one: an encoding such as latin-1
# reads any file, so a file that has another one would be garbled without an error.
INHERITED = "documents", "field", "label_field", "delimiter", "chat_template", "chat_stop"
# The fields that say which text it is and how it is read, and those that say how it becomes tokens.
TEXT_OPTIONS = (
    "corpus", "include", *INHERITED, "encoding", "val_fraction", "val_order", "val_characters", "val", "test",
)  # fmt: skip
TOKENIZER_OPTIONS = "tokenizer", "vocab_size", "min_frequency", "end_of_text", "normalize"
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


def inherited(
    config: DataConfig,
    given: Collection[str],
    source: DataConfig,
    fetched: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """The fields of INHERITED that a config takes from the other run's, with their values.

    Those that the user gave are left out, and so are those that do not apply to the config's text: the
    documents where no file is plain text, and the field of records that do not have it. fetched: the local
    file of each URL.

    Raises CorpusError for a text that does not exist.
    """
    files = _files(config, fetched)
    formats = {file.format for file in files}
    found: dict[str, Any] = {}
    for name in INHERITED:
        value = source.documents_of_other_text if name == "documents" else getattr(source, name)
        default = options_of(DataConfig)[name].default
        if name not in given and value != default and _applies(name, formats):
            found[name] = value
    records = [file for file in files if file.format != "text"]
    for unfit in ((), ("label_field",), ("delimiter", "label_field"), ("field", "delimiter", "label_field")):
        kept = {name: value for name, value in found.items() if name not in unfit}
        if _can_read(records, dataclasses.replace(config, **kept)):
            return kept
    return kept


def inherited_note(values: dict[str, Any], source: DataConfig, source_path: str) -> str:
    """One sentence that says what `inherited` took from the other run; values is not empty."""
    kinds = {"line": "lines", "block": "blocks"}
    words = {
        name: {
            "documents": f"documents are {kinds.get(value, value)}",
            "label_field": f"labels are the field {value!r}",
            "field": f"the text of records is the field {value!r}",
            "delimiter": f"the delimiter is {value!r}",
        }.get(name, f"{name} is {value!r}")
        for name, value in values.items()
    }
    *others, last = words.values()
    what = f"{', '.join(others)} and {last}" if others else last
    if [*values] == ["documents"] and source.document_kind == RECORD:
        return f"{what.capitalize()}, because those of {source_path} are records."
    return f"{what[0].upper()}{what[1:]}, as in {source_path}."


def _files(config: DataConfig, fetched: Mapping[str, Path] | None) -> list[TextFile]:
    """All files of a text; standard input stands for itself, since it is plain text."""
    names = [*config.corpus, *filter(None, (config.val, config.test))]
    return [file for name in names for file in find_files(name, Path(name), config.include, fetched=fetched)]


def _applies(name: str, formats: set[str]) -> bool:
    """Whether a field of DataConfig has a meaning for files of these formats."""
    if name == "documents":
        return "text" in formats
    if name in ("field", "label_field"):
        return formats != {"text"}
    return name != "delimiter" or bool(formats & {"csv", "tsv"})


def _can_read(records: list[TextFile], config: DataConfig) -> bool:
    """Whether the beginning of each of these files can be read with the settings of a config."""
    how = config.documents, config.field, config.encoding, config.delimiter_character, config.label_field
    try:
        for file in records:
            source = Source(file.name, (file,), *how)
            next(source.stream() if config.label_field is None else source.labels(), None)
    except CorpusError:
        return False
    return True


def require_same_tokenizer(
    data: Section[DataConfig], source: DataConfig, source_path: str, option: str = "--from"
) -> None:
    """Refuse an option that the other run's tokenizer contradicts. Raises ConfigError.

    option: what named the other run.
    """
    for name in TOKENIZER_OPTIONS:
        value, known = data.get(name), getattr(source, name)
        if value not in (None, known) and not _is_path_of(value, known):
            raise ConfigError(
                f"{flag(name)} does not go with {option}: the tokenizer is that of {source_path}"
            )


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
