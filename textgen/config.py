"""What can be chosen: every option, its default and its range, said once.

    TrainOptions   what the user said; None means "to be chosen from corpus, budget and device"
    RunConfig      what was resolved; complete, written to config.json before the first step
        data: DataConfig          where the text is, what a document is, how it is tokenized
        model: ModelConfig        the network
        training: TrainingConfig  optimizer, batches, budget, device
        measured: dict            sizes and figures found while resolving (for reading, not for choosing)
    SampleConfig   how the next token is drawn
    DynamicConfig  how the weights follow a text that is read
    NoveltyConfig  what is drawn to see how much of it stands in the training text

Help texts read `option_help` and the defaults from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from textgen.errors import ConfigError

CELLS = ("lstm", "gru", "rnn")
TOKENIZER_KINDS = ("char", "byte", "bpe", "word")
DOCUMENT_KINDS = ("file", "line", "block")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
DYNAMIC_METHODS = ("sgd", "rms")

# What layer norm adds to the variance, so that equal numbers are not divided by zero: torch's default.
LAYER_NORM_EPSILON = 1e-5

Config = TypeVar("Config")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The one-line message for a name that does not exist, with the nearest one that does."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"unknown {kind} {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _matches(value: object, annotation: object) -> bool:
    """Whether a value read from JSON or TOML fits an annotation made of scalars, None, tuples and dicts."""
    origin = typing.get_origin(annotation)
    if origin is types.UnionType:
        return any(_matches(value, option) for option in typing.get_args(annotation))
    if origin is tuple:
        item = typing.get_args(annotation)[0]
        return isinstance(value, tuple) and all(_matches(element, item) for element in value)
    if origin is dict:
        return isinstance(value, dict)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, typing.cast(type, annotation))


def _readable(annotation: object) -> str:
    return str(getattr(annotation, "__name__", annotation)).replace("tuple[str, ...]", "list of str")


def from_mapping(config_class: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build a config from names and values, refusing names that do not exist and values of another type.

    Lists become tuples. `where` names the source in errors ("config.json", "settings.toml").

    Raises ConfigError.
    """
    annotations = typing.get_type_hints(config_class)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in annotations:
            raise ConfigError(f"{where}: {unknown_name('option', name, annotations)}")
        value = tuple(value) if isinstance(value, list) else value
        if not _matches(value, annotations[name]):
            raise ConfigError(f"{where}: {name} must be {_readable(annotations[name])}, not {value!r}")
        checked[name] = value
    try:
        return config_class(**checked)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name}={value!r}: must be {expected}")


def _check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ConfigError(f"{name}={value!r}: must be one of {', '.join(choices)}")


_COUNT = (1, math.inf, "at least 1")
_POSITIVE = (math.ulp(0.0), sys.float_info.max, "above 0")
_NOT_NEGATIVE = (0, sys.float_info.max, "0 or more")
_SHARE = (0, 1, "between 0 and 1")
_SHARE_BELOW_1 = (0, math.nextafter(1, 0), "at least 0 and below 1")

# The range of every numeric option, by name, wherever it appears: lowest, highest, in words.
_RANGES: dict[str, tuple[float, float, str]] = {
    "vocab_size": _COUNT,
    "min_frequency": _COUNT,
    "val_fraction": _SHARE_BELOW_1,
    "embedding_dim": _COUNT,
    "hidden_size": _COUNT,
    "num_layers": _COUNT,
    "dropout": _SHARE_BELOW_1,
    "input_dropout": _SHARE_BELOW_1,
    "embedding_dropout": _SHARE_BELOW_1,
    "weight_drop": _SHARE_BELOW_1,
    "batch_size": _COUNT,
    "seq_len": _COUNT,
    "learning_rate": _POSITIVE,
    "warmup_fraction": _SHARE_BELOW_1,
    "final_lr_fraction": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _POSITIVE,
    "ema_decay": _SHARE_BELOW_1,
    "activation_penalty": _NOT_NEGATIVE,
    "temporal_activation_penalty": _NOT_NEGATIVE,
    "minutes": _POSITIVE,
    "epochs": _COUNT,
    "steps": _COUNT,
    "evaluations": _COUNT,
    "eval_tokens": _COUNT,
    "patience": _COUNT,
    "seed": (0, 2**63 - 1, "0 or more and below 2**63"),
    "threads": _COUNT,
    "max_new_tokens": _COUNT,
    "temperature": _NOT_NEGATIVE,
    "top_k": _COUNT,
    "top_p": _SHARE,
    "min_p": _SHARE,
    "repetition_penalty": _POSITIVE,
    "rate": _NOT_NEGATIVE,
    "window": _COUNT,
    "decay": _SHARE,
    "length": _COUNT,
    "samples": _COUNT,
    "tokens": _COUNT,
}


def _check_ranges(config: object) -> None:
    """Check every numeric option against its range; None is always allowed."""
    for name, value in vars(config).items():
        if value is None or name not in _RANGES:
            continue
        low, high, expected = _RANGES[name]
        _check(low <= value <= high, name, value, expected)


def option(default: Any, help: str) -> Any:
    """A dataclass field with its default and the help text that the command line shows."""
    return field(default=default, metadata={"help": help})


def option_help(config_class: type, name: str) -> str:
    """The help text of an option, for the command line and the README."""
    fields = {entry.name: entry for entry in dataclasses.fields(config_class)}
    return str(fields[name].metadata["help"])


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text is, what a document is, and how text becomes tokens."""

    corpus: tuple[str, ...]
    documents: str = option(
        "file", "What a document is: the whole file, a line, or a block between blank lines."
    )
    field: str | None = option(None, "The field of a .jsonl or .csv record that holds its text.")
    encoding: str = option("utf-8", "The encoding of the text files.")
    val_fraction: float = option(0.1, "The share at the end of each source that is kept for validation.")
    val: str | None = option(None, "A file to validate on, instead of the end of the corpus.")
    test: str | None = option(None, "A file to keep for testing; `textgen eval --part test` reads it.")
    tokenizer: str = option("char", "char, byte, bpe, word, or the path of a tokenizer.json.")
    vocab_size: int | None = option(
        None, "Tokens to learn: characters, words, or bpe tokens with their 256 bytes."
    )
    min_frequency: int | None = option(
        None, "How often a character, word or bpe merge must occur to be learnt."
    )
    end_of_text: str | None = option(
        None, "The end-of-text token of a given tokenizer.json, when it is not a known one."
    )

    def __post_init__(self) -> None:
        _check_choice("documents", self.documents, DOCUMENT_KINDS)
        _check_ranges(self)
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(f"encoding={self.encoding!r}: Python knows no such encoding") from None
        if not self.uses_tokenizer_file and self.end_of_text is not None:
            raise ConfigError(
                f"end_of_text applies to the path of a tokenizer.json, not to {self.tokenizer!r}"
            )
        fixed = self.tokenizer == "byte" or self.uses_tokenizer_file
        for name in ("vocab_size", "min_frequency"):
            if fixed and getattr(self, name) is not None:
                raise ConfigError(f"{name} does not apply to tokenizer={self.tokenizer!r}: it learns nothing")

    @property
    def uses_tokenizer_file(self) -> bool:
        """Whether `tokenizer` is the path of a file and not the name of a kind."""
        return self.tokenizer not in TOKENIZER_KINDS


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network.

    vocab_size is the number of rows of embedding and head: one per token that training saw.
    """

    vocab_size: int
    cell: str = option("lstm", "The recurrent cell: lstm, gru or a plain tanh rnn.")
    embedding_dim: int = option(64, "Size of a token's embedding.")
    hidden_size: int = option(256, "Units in each recurrent layer.")
    num_layers: int = option(1, "Recurrent layers stacked on each other.")
    dropout: float = option(
        0.0, "Share of units dropped between layers and on the output, one mask for all steps."
    )
    input_dropout: float = option(
        0.0,
        "Share of the embedding's units dropped, one mask for all steps; is said to help where text is read "
        "often (0.1 on tiny Shakespeare: 0.1% more bits).",
    )
    embedding_dropout: float = option(
        0.0,
        "Share of tokens whose embedding is dropped wherever a window holds them; is said to help large "
        "vocabularies (0.05 on characters of tiny Shakespeare: 0.6% more bits).",
    )
    weight_drop: float = option(
        0.0,
        "Share of the recurrent weights dropped in each step of training; is said to help wide layers on "
        "little text (0.2 on tiny Shakespeare: 0.6% more bits).",
    )
    residual: bool = option(
        False, "Add each layer's input to its output, from the second layer on; helps deep stacks."
    )
    layer_norm: bool = option(
        False,
        "Layer norm on what is read above each layer; for deep stacks and high learning rates (with one "
        "layer between 0.3% more and 0.2% fewer bits on three texts).",
    )
    tie_weights: bool = option(
        False,
        "Use the embedding as the head too, projected where sizes differ; helps large vocabularies.",
    )

    def __post_init__(self) -> None:
        _check_choice("cell", self.cell, CELLS)
        _check_ranges(self)
        if self.residual and self.num_layers == 1:
            raise ConfigError("residual acts from the second layer on: it needs num_layers of 2 or more")

    @property
    def projects_to_tied_head(self) -> bool:
        """Whether a projection H -> E lies between the stack and a head that is the embedding."""
        return self.tie_weights and self.embedding_dim != self.hidden_size


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer, batches, budget and device, all resolved.

    One of minutes, epochs and steps is set, or minutes and epochs: then what is spent first ends the run.
    """

    batch_size: int = option(32, "Lanes of text read side by side.")
    seq_len: int = option(64, "Tokens in a window: how far the gradient reaches back.")
    vary_seq_len: bool = option(
        False, "Draw each window's length around seq_len (on tiny Shakespeare: no difference)."
    )
    learning_rate: float = option(7e-3, "Peak learning rate of AdamW.")
    warmup_fraction: float = option(0.02, "Share of the budget in which the learning rate rises from zero.")
    final_lr_fraction: float = option(0.01, "Learning rate at the end of the budget, as a share of the peak.")
    weight_decay: float = option(0.01, "AdamW's decay of the weight matrices per unit of learning rate.")
    clip_norm: float = option(1.0, "Gradients with a larger norm are scaled down to it.")
    ema_decay: float = option(
        0.0,
        "Keep an average of the weights: 0.999 is over about 1000 steps. For a rate that stays high; with "
        "the usual schedule no difference on tiny Shakespeare.",
    )
    activation_penalty: float = option(
        0.0,
        "Weight of the outputs' mean square; about 1 did as well as the one below on tiny Shakespeare, and "
        "beside it nothing more.",
    )
    temporal_activation_penalty: float = option(
        0.0,
        "Weight of the mean square of the outputs' steps; 1 gave an LSTM 1.4, 0.2 and 0.2% fewer bits on "
        "tiny Shakespeare, source code and data/faq.txt, and a GRU 2% more.",
    )
    minutes: float | None = option(None, "Budget in wall-clock minutes, evaluation included.")
    epochs: int | None = option(
        None,
        "Budget in passes over the training text; with --minutes, what comes first: a small text that is "
        "read too often is learnt by heart.",
    )
    steps: int | None = option(None, "Budget in optimizer steps.")
    evaluations: int = option(12, "How often to validate during training, evenly over the budget.")
    eval_tokens: int | None = option(None, "Validation tokens read at each of these evaluations.")
    early_stopping: bool = option(True, "Stop when validation has not improved for `patience` evaluations.")
    patience: int = option(4, "Evaluations without improvement before early stopping.")
    seed: int = option(1, "Seed of weights, batches and dropout.")
    device: str = option("auto", "Where to train; auto takes a GPU if there is one. mps is untested.")
    precision: str = option("auto", "Arithmetic of the network; auto takes bfloat16 where it is faster.")
    threads: int | None = option(None, "CPU threads.")
    deterministic: bool = option(False, "Make CUDA repeat bit for bit; slower. A CPU always does.")

    def __post_init__(self) -> None:
        _check_choice("device", self.device, DEVICES)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_ranges(self)
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if len(budgets) != 1 and budgets != ["minutes", "epochs"]:
            raise ConfigError(
                "give one budget of minutes, epochs and steps, or minutes and epochs for what comes first, "
                f"not {' and '.join(budgets) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that a run was made with; config.json in the run's directory."""

    format: int
    textgen_version: str
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    from_run: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)


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
        _check_choice("cell", self.cell, CELLS)
        _check_choice("documents", self.documents, DOCUMENT_KINDS)
        _check_choice("device", self.device, DEVICES)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_ranges(self)
        if self.val is not None and self.val_fraction is not None:
            raise ConfigError("val and val_fraction do not go together: leave one out")
        if self.early_stopping is False and self.patience is not None:
            raise ConfigError("patience does nothing without early stopping: leave it out")

    def said(self, config_class: type) -> dict[str, Any]:
        """What the user said of the options that a config class holds."""
        names = {entry.name for entry in dataclasses.fields(config_class)}
        return {name: value for name, value in vars(self).items() if name in names and value is not None}


def options_from_run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run's config.json as the options that would repeat it."""
    sections = [config.get(name, {}) for name in ("data", "model", "training")]
    options = {name: value for section in sections[::2] for name, value in section.items()}
    options |= {
        name: value for name, value in sections[1].items() if name != "vocab_size"
    }  # the number of rows
    options["from_run"] = config.get("from_run")
    # What another option makes void was never used, and saying both would be refused.
    if options.get("val") is not None:
        del options["val_fraction"]
    if not options.get("early_stopping", True):
        del options["patience"]
    return {name: value for name, value in options.items() if value is not None}


def read_options(path: Path) -> dict[str, Any]:
    """Options from a TOML file, or from a run's config.json; names and types are checked.

    Raises ConfigError, with the nearest known name for an unknown one.
    """
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
        content = options_from_run_config(content)
    elif "from" in content:
        content["from_run"] = content.pop("from")  # as on the command line; `from` cannot be a field's name
    options = vars(from_mapping(TrainOptions, content, str(path)))
    return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How the next token is drawn from the logits. None turns a filter off."""

    max_new_tokens: int = option(500, "Tokens to draw at most.")
    temperature: float = option(
        0.8, "Below 1 is safer, above is wilder, 0 always takes the most likely token."
    )
    top_k: int | None = option(None, "Draw among the k most likely tokens only.")
    top_p: float | None = option(None, "Draw among the fewest tokens that hold this much probability.")
    min_p: float | None = option(None, "Leave out tokens less likely than this share of the likeliest one.")
    repetition_penalty: float = option(1.0, "Above 1 makes tokens that already occurred less likely.")

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How the weights follow a text that is read: dynamic evaluation.

    Tuned on the last tenth of the first nine tenths of two texts, by characters, with runs of a minute. Nats
    per token of its first 50,000 with weights that stand still, and with these settings: tiny Shakespeare
    1.367, 1.294; data/faq.txt, which is alike throughout, 1.007, 1.007. A rate of 0.1 with a decay of 0.001
    gave 1.306 and 1.006; sgd without the mixture lost 0.02 of what rms gained.
    """

    method: str = option(
        "rms", "sgd, or rms: each weight's step divided by the size of its gradients on the training text."
    )
    rate: float = option(
        0.16,
        "Step down each window's gradient; more suits a text that changes, less one that is alike.",
    )
    window: int = option(20, "Tokens read between steps; fewer follow the text more closely and take longer.")
    decay: float = option(
        0.0003, "Share of the way back to the trained weights at each step; more suits a text of many parts."
    )
    clip_norm: float = option(1.0, "Gradients with a larger norm are scaled down to it.")
    mix: bool = option(
        True,
        "Let the trained weights predict too and trust whichever did better so far; a text that is alike "
        "throughout then costs no more.",
    )

    def __post_init__(self) -> None:
        _check_choice("method", self.method, DYNAMIC_METHODS)
        _check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class NoveltyConfig:
    """What is drawn from a run to see how much of it stands word for word in the training text.

    `length` is one that real text hardly reaches: of the first 40,000 characters of validation text 1.7% lay
    in copies of at least 20 characters, 0.1% of 30 and none of 40 in tiny Shakespeare; 23%, 3.8% and 0.8% in
    data/faq.txt, which is alike throughout.
    """

    length: int = option(
        40, "Count what stands word for word in the training text for N characters in a row or more."
    )
    samples: int = option(20, "Texts to draw.")
    tokens: int = option(500, "Tokens of each text at most.")
    temperature: float = option(SampleConfig.temperature, "Their temperature; lower copies more.")
    seed: int = option(1, "Their seed; the same one gives the same figures.")

    def __post_init__(self) -> None:
        _check_ranges(self)
