"""What the user said to `train`: on the command line, in a settings file, or in another run's config.json."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError
from textgen.settings.cells import CELL_SPECS
from textgen.settings.config import DEVICES, DOCUMENT_KINDS, PRECISIONS
from textgen.settings.option import check_choice, check_ranges, flag, from_mapping, option
from textgen.system.relocate import data_now, path_now


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the user said to `train`, on the command line or in a settings file; None means: nothing.

    Every name is one of DataConfig, ModelConfig and TrainingConfig, which document it and hold its default,
    but for the last three. What stays None is chosen once, when the run begins.
    """

    corpus: tuple[str, ...] | None = None
    documents: str | None = None
    field: str | None = None
    encoding: str | None = None
    val_fraction: float | None = None
    val: str | None = None
    test: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    min_frequency: int | None = None
    end_of_text: str | None = None
    cell: str | None = None
    embedding_dim: int | None = None
    hidden_size: int | None = None
    num_layers: int | None = None
    dropout: float | None = None
    input_dropout: float | None = None
    embedding_dropout: float | None = None
    weight_drop: float | None = None
    residual: bool | None = None
    layer_norm: bool | None = None
    tie_weights: bool | None = None
    batch_size: int | None = None
    seq_len: int | None = None
    vary_seq_len: bool | None = None
    learning_rate: float | None = None
    warmup_fraction: float | None = None
    final_lr_fraction: float | None = None
    beta1: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    ema_decay: float | None = None
    activation_penalty: float | None = None
    temporal_activation_penalty: float | None = None
    minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    evaluations: int | None = None
    eval_tokens: int | None = None
    early_stopping: bool | None = None
    patience: int | None = None
    seed: int | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    deterministic: bool | None = None
    from_run: str | None = option(None, "Start from another run's weights and tokenizer.")
    run: str | None = option(None, "The run's directory, new.")
    cache_dir: str | None = option(None, "Where encoded text is kept.")

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, tuple(CELL_SPECS))
        check_choice("documents", self.documents, DOCUMENT_KINDS)
        check_choice("device", self.device, DEVICES)
        check_choice("precision", self.precision, PRECISIONS)
        check_ranges(self)
        for name, value in vars(self).items():
            if value == "" or (isinstance(value, str) and "\0" in value):
                raise ConfigError(f"{flag(name)} {value!r}: is no name; say one, or leave it out")
        if self.val is not None and self.val_fraction is not None:
            raise ConfigError("--val and --val-fraction do not go together: leave one out")
        if self.early_stopping is False and self.patience is not None:
            raise ConfigError("--patience does nothing without early stopping: leave it out")

    def said(self, config_class: type) -> dict[str, Any]:
        """What the user said of the options that a config class holds."""
        names = {entry.name for entry in dataclasses.fields(config_class)}
        return {name: value for name, value in vars(self).items() if name in names and value is not None}


def options_from_run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run's config.json as the options that would repeat it."""
    sections = [config.get(name, {}) for name in ("data", "model", "training")]
    options = {name: value for section in sections[::2] for name, value in section.items()}
    # How many tokens the model knows follows from the text; vocab_size is what format 1 called it.
    found = {"model_vocab_size", "vocab_size"}
    options |= {name: value for name, value in sections[1].items() if name not in found}
    options["from_run"] = config.get("from_run")
    # What another option makes void was never used, and saying both would be refused.
    if options.get("val") is not None:
        options.pop("val_fraction", None)
    if not options.get("early_stopping", True):
        options.pop("patience", None)
    return {name: value for name, value in options.items() if value is not None}


def read_options(path: Path) -> dict[str, Any]:
    """Options from a TOML file, or from a run's config.json or directory; names and types are checked.

    Raises ConfigError, with the nearest known name for an unknown one.
    """
    if path.is_dir():
        path = path / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(
            f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'} ({error})"
        ) from error
    if path.suffix == ".json":
        if not isinstance(content, dict) or not {"data", "model", "training"} <= content.keys():
            raise ConfigError(f"{path}: not the config.json of a run; settings files are TOML")
        for name in ("data", "model", "training"):
            if not isinstance(content[name], dict):
                raise ConfigError(f"{path}: {name} must hold names with their values")
        begun = content.get("directory")
        if isinstance(begun, str):
            content["data"] = data_now(content["data"], begun, path.parent)
            if isinstance(content.get("from_run"), str):
                content["from_run"] = path_now(content["from_run"], begun, path.parent)
        content = options_from_run_config(content)
    else:
        if "from" in content:  # as on the command line; no field can be named `from`
            if "from_run" in content:
                raise ConfigError(f"{path}: from and from_run are the same; leave one out")
            content["from_run"] = content.pop("from")
        if isinstance(content.get("corpus"), str):
            content["corpus"] = [content["corpus"]]
        for name, value in content.items():
            if isinstance(value, dict):
                raise ConfigError(f"{path}: [{name}] is a section; write the options without any")
    options = vars(from_mapping(TrainOptions, content, str(path)))
    return {name: value for name, value in options.items() if value is not None}
