"""Options: default, help, range and choices of a config dataclass's field, declared with the field.

option(default, help, ...)   in a dataclass     ->  options_of(the class)  for the command line
{name: value} of JSON, TOML  ->  from_mapping   ->  the dataclass          ->  check_options, in __post_init__
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from textgen.errors import ConfigError

Config = TypeVar("Config")


@dataclass(frozen=True)
class Range:
    """The numbers that an option may take, both ends included; `words` describes them in messages."""

    low: float
    high: float
    words: str

    def violation(self, value: float) -> str | None:
        """What the value must be, in words, if it is out of range (as NaN is); else None."""
        return None if self.low <= value <= self.high else f"must be {self.words}"


_LONGEST_SHOWN = 100  # characters of a value in a message

COUNT = Range(1, 2**63 - 1, "at least 1 and below 2**63")
SEED = Range(0, 2**63 - 1, "0 or more and below 2**63")
POSITIVE = Range(math.ulp(0.0), sys.float_info.max, "above 0 and finite")
NOT_NEGATIVE = Range(0, sys.float_info.max, "0 or more and finite")
FRACTION = Range(0, 1, "between 0 and 1")
FRACTION_BELOW_1 = Range(0, math.nextafter(1, 0), "at least 0 and below 1")


@dataclass(frozen=True)
class Option:
    """One option of a config class.

    annotation: the type of the field. help: one line, ending in a full stop. range: of a number; None: any.
    choices: of a string; None: any. hints: by some other value, what to do instead of giving it. auto: chosen
    from corpus, budget and device when the user does not give it; `default` is then only that of the
    dataclass. group: its heading in the help of the command line.
    """

    name: str
    default: Any
    annotation: Any
    help: str
    range: Range | None
    choices: Collection[str] | None
    hints: Mapping[str, str]
    auto: bool
    group: str

    @property
    def kind(self) -> type:
        """The type of a value that is not None: bool, int, float, str, tuple or dict."""
        annotation = self.annotation
        if isinstance(annotation, types.UnionType):
            annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
        return typing.cast(type, typing.get_origin(annotation) or annotation)

    @property
    def is_required(self) -> bool:
        """Whether the dataclass gives no default."""
        return self.default is dataclasses.MISSING

    def violation(self, value: Any) -> str | None:
        """What the value must be, in words, if it is out of range or not a choice; else None.

        A value of None is always allowed.
        """
        if value is None:
            return None
        if any("\0" in text for text in (value if self.kind is tuple else (value,)) if isinstance(text, str)):
            return "must not have the character \\0"
        if self.choices is not None and value not in self.choices:
            hint = f"; {self.hints[value]}" if value in self.hints else ""
            return f"must be one of {', '.join(self.choices)}{hint}"
        return None if self.range is None else self.range.violation(value)


def option(
    default: Any,
    help: str,
    *,
    range: Range | None = None,
    choices: Collection[str] | None = None,
    hints: Mapping[str, str] = types.MappingProxyType({}),
    auto: bool = False,
    group: str = "",
) -> Any:
    """A dataclass field that is an option, with the arguments of Option; a default of `...` means none."""
    about = {
        "help": help, "range": range, "choices": choices, "hints": hints, "auto": auto, "group": group,
    }  # fmt: skip
    return field(metadata=about) if default is ... else field(default=default, metadata=about)


def options_of(config_class: Any) -> dict[str, Option]:
    """The options of a config class by name, in the order of its fields."""
    return _options_of(config_class)


@functools.cache  # reading annotations is slow, and every --help would wait for it
def _options_of(config_class: Any) -> dict[str, Option]:
    annotations = typing.get_type_hints(config_class)
    plain: dict[str, Any] = {
        "help": "", "range": None, "choices": None, "hints": {}, "auto": False, "group": "",
    }  # fmt: skip
    return {
        entry.name: Option(
            name=entry.name,
            default=entry.default,
            annotation=annotations[entry.name],
            **{**plain, **entry.metadata},
        )
        for entry in dataclasses.fields(config_class)
    }


def shown(value: object) -> str:
    """A value for a message: as Python writes it, but not whole where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes only numbers of some thousand digits
        return "a number of thousands of digits"
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[: _LONGEST_SHOWN // 2]}... ({len(text):,} characters)"


def check_options(config: Any) -> None:
    """Check every option of a config against its range and choices. Raises ConfigError."""
    for name, about in options_of(type(config)).items():
        value = getattr(config, name)
        if broken := about.violation(value):
            raise ConfigError(f"{name}={shown(value)}: {broken}")


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> str:
    """A message about an unknown name, with the most similar known one, then the hint."""
    # A long one is like none, and comparing it takes time.
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5) if len(name) < 100 else []
    message = f"unknown {kind} {shown(name)}"
    if nearest:
        return f"{message}; did you mean {nearest[0]!r}?" + (f" {hint[0].upper()}{hint[1:]}" if hint else "")
    return f"{message}; {hint}" if hint else message


def checked_values(config_class: type, values: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
    """Check the names and types of values for a config class, which may be incomplete; lists become tuples.

    `where` names the source in errors ("config.json", "settings.toml"); None: the caller adds it.

    Raises ConfigError for an unknown name or a value of another type.
    """
    source = "" if where is None else f"{where}: "
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}must be names with their values, not {shown(values)}")
    options = options_of(config_class)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in options:
            raise ConfigError(f"{source}{unknown_name('option', name, options)}")
        value = tuple(value) if isinstance(value, list) else value
        if not _matches(value, options[name].annotation):
            kind = _readable(options[name].annotation)
            raise ConfigError(f"{source}{name} must be {kind}, not {shown(value)}")
        checked[name] = value
    return checked


def from_mapping(config_class: type[Config], values: Mapping[str, Any], where: str | None = None) -> Config:
    """Build a config from names and values, with the arguments of checked_values.

    Raises ConfigError, also for values that the class refuses.
    """
    checked = checked_values(config_class, values, where)
    try:
        return config_class(**checked)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{'' if where is None else f'{where}: '}{error}") from error


def _matches(value: object, annotation: object) -> bool:
    """Whether a value has the type of an annotation made of scalars, None, tuples and dicts."""
    origin = typing.get_origin(annotation)
    if origin is types.UnionType:
        return any(_matches(value, each) for each in typing.get_args(annotation))
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
    """The type of a value, in words for the author of a settings file."""
    if isinstance(annotation, types.UnionType):
        return " or ".join(_readable(each) for each in typing.get_args(annotation) if each is not type(None))
    if typing.get_origin(annotation) is tuple:
        return "a list of texts in quotes"
    return _IN_WORDS.get(typing.cast(type, annotation), getattr(annotation, "__name__", str(annotation)))


def flag(name: str) -> str:
    """The name of an option on the command line: hidden_size -> --hidden-size."""
    return "--" + name.replace("_", "-")


def as_arguments(name: str, value: object) -> list[str]:
    """An option and its value as command-line arguments: --hidden-size 256, --no-tie-weights.

    An option of several values is repeated.
    """
    if isinstance(value, bool):
        return [flag(name if value else f"no_{name}")]
    if isinstance(value, tuple):
        return [argument for each in value for argument in as_arguments(name, each)]
    return [flag(name), str(value)]
