"""What one option is: its default, its help text, its range, and how a value read from a file is checked.

option(default, help)        in a dataclass   ->   option_help      for the command line and the README
{name: value} of JSON, TOML  ->  from_mapping  ->   the dataclass   ->   check_ranges, when it is born
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from textgen.errors import ConfigError

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


_IN_WORDS = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


def _readable(annotation: object) -> str:
    """What a value must be, for someone who writes a settings file."""
    if isinstance(annotation, types.UnionType):
        return " or ".join(_readable(each) for each in typing.get_args(annotation) if each is not type(None))
    if typing.get_origin(annotation) is tuple:
        return "a list of texts in quotes"
    return _IN_WORDS.get(typing.cast(type, annotation), getattr(annotation, "__name__", str(annotation)))


def from_mapping(config_class: type[Config], values: Mapping[str, Any], where: str | None = None) -> Config:
    """Build a config from names and values, refusing names that do not exist and values of another type.

    Lists become tuples. `where` names the source in errors ("config.json", "settings.toml"); None is a caller
    whose user knows.

    Raises ConfigError, also for what the class itself refuses.
    """
    source = "" if where is None else f"{where}: "
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}must hold names with their values, not {values!r}")
    annotations = typing.get_type_hints(config_class)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in annotations:
            raise ConfigError(f"{source}{unknown_name('option', name, annotations)}")
        value = tuple(value) if isinstance(value, list) else value
        if not _matches(value, annotations[name]):
            raise ConfigError(f"{source}{name} must be {_readable(annotations[name])}, not {value!r}")
        checked[name] = value
    try:
        return config_class(**checked)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{source}{error}") from error


def flag(name: str) -> str:
    """An option's name as it is typed on the command line."""
    return "--" + name.replace("_", "-")


def typed(name: str, value: object) -> list[str]:
    """An option with its value as arguments of the command line: --hidden-size 256, --no-tie-weights."""
    if isinstance(value, bool):
        return [flag(name if value else f"no_{name}")]
    return [flag(name), str(value)]


def check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices; None is always allowed. Raises ConfigError."""
    if value is not None and value not in choices:
        raise ConfigError(f"{name}={value!r}: must be one of {', '.join(choices)}")


_COUNT = (1, 2**63 - 1, "at least 1 and below 2**63")
_POSITIVE = (math.ulp(0.0), sys.float_info.max, "above 0 and finite")
_NOT_NEGATIVE = (0, sys.float_info.max, "0 or more and finite")
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
    "beta1": _SHARE_BELOW_1,
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
    "rate": (0.0, 1e6, "0 or more and at most 1,000,000"),
    "window": _COUNT,
    "decay": _SHARE,
    "length": _COUNT,
    "samples": _COUNT,
    "tokens": _COUNT,
}


def range_broken(name: str, value: float) -> str | None:
    """What an option must be, in words, where a value is not that; None where it is, or anything may be."""
    if name not in _RANGES:
        return None
    low, high, expected = _RANGES[name]
    return None if low <= value <= high else f"must be {expected}"


def check_ranges(config: object) -> None:
    """Check every numeric option against its range; None is always allowed. Raises ConfigError."""
    for name, value in vars(config).items():
        if value is not None and (broken := range_broken(name, value)):
            raise ConfigError(f"{name}={value!r}: {broken}")


def option(default: Any, help: str) -> Any:
    """A dataclass field with its default and the help text that the command line shows."""
    return field(default=default, metadata={"help": help})


def option_help(config_class: type, name: str) -> str:
    """The help text of an option, for the command line and the README."""
    fields = {entry.name: entry for entry in dataclasses.fields(config_class)}
    return str(fields[name].metadata["help"])
