"""Command-line options made from the config dataclasses, so that names, defaults and help are said once."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from textgen.errors import ConfigError
from textgen.settings.option import flag, option_help, range_broken

Command = TypeVar("Command", bound=Callable[..., Any])


# Reading annotations takes a while for each of dozens of options, and the help waits for it.
_annotations = functools.cache(typing.get_type_hints)


cache_dir_option = click.option(
    "--cache-dir", metavar="DIR", help="Where encoded text is kept.  [default: the user's cache]"
)


def reading_options(text: str) -> Callable[[Command], Command]:
    """--field and --encoding of a text that is read with a run; `text` is what the help calls it."""

    def decorate(command: Command) -> Command:
        of_run = "  [default: as of the run's own text]"
        command = click.option("--encoding", metavar="TEXT", help=f"{text}'s encoding.{of_run}")(command)
        help = f"The field of {text}'s records, if it is a .jsonl or .csv file.{of_run}"
        return click.option("--field", metavar="TEXT", help=help)(command)

    return decorate


def refuse_reading(text: str, field: str | None, encoding: str | None) -> None:
    """Refuse what was said of a text that was not named. Raises ConfigError."""
    for name, value in {"--field": field, "--encoding": encoding}.items():
        if value is not None:
            raise ConfigError(f"{name} is of {text}: name one, or leave it out")


def cell_names(said: str) -> tuple[str, ...]:
    """The cells of --cells lstm,gru, in lower case."""
    return tuple(name.strip().lower() for name in said.split(","))


def json_option(what: str) -> Callable[[Command], Command]:
    """--json of a command that prints `what` for a person else."""
    return click.option(
        "--json", "as_json", is_flag=True, help=f"Print {what} as one JSON object on standard output."
    )


def scalar_type(config_class: type, name: str) -> type:
    """The type of an option without its None."""
    annotation = _annotations(config_class)[name]
    if isinstance(annotation, types.UnionType):
        annotation = next(option for option in typing.get_args(annotation) if option is not type(None))
    return typing.cast(type, annotation)


def default_of(config_class: type, name: str) -> Any:
    """The default that the dataclass gives an option."""
    return next(entry.default for entry in dataclasses.fields(config_class) if entry.name == name)


class _Number(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click alone
    """A whole number or any, in an option's own range."""

    def __init__(self, kind: type, option: str) -> None:
        self._number = click.types.convert_type(kind)
        self.name = self._number.name
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click tells of another as of any wrong value, with the option as it was typed."""
        number = self._number.convert(value, param, ctx)
        if broken := range_broken(self._option, number):
            self.fail(f"{number!r} {broken}", param, ctx)
        return number


def config_option(
    config_class: type,
    name: str,
    *,
    choices: tuple[str, ...] | None = None,
    shown_default: str | None = None,
    unset: bool = False,
    prefix: str = "",
) -> Callable[[Command], Command]:
    """A click option for one field of a config dataclass.

    `unset` gives None when the user said nothing, so that a settings file can speak; the help still shows
    the dataclass's default, or `shown_default`. A bool becomes a pair --name/--no-name. `prefix` stands
    before the names of option and parameter: "adapt_" makes --adapt-rate and adapt_rate.
    """
    default = default_of(config_class, name)
    kind = scalar_type(config_class, name)
    typed = flag(prefix + name)
    shown = shown_default or (None if default is None else default)
    if kind is bool:
        shown = shown_default or (typed[2:] if default else f"no-{typed[2:]}")
        typed = f"{typed}/--no-{typed[2:]}"
    help = option_help(config_class, name)
    type_ = click.Choice(choices) if choices else _Number(kind, name) if kind in (int, float) else kind
    return click.option(
        typed,
        prefix + name,
        type=None if kind is bool else type_,
        default=None if unset else default,
        help=help if shown is None else f"{help}  [default: {shown}]",
        metavar=None if choices or kind is bool else {int: "N", float: "X"}.get(kind, "TEXT"),
    )


def take_given(switch: str, names: Iterable[str], is_given: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """Take the options --switch-name out of what a command was called with; those that the user gave.

    Raises ConfigError for one given without the switch.
    """
    values = {name: settings.pop(f"{switch}_{name}") for name in names}
    given = {name: value for name, value in values.items() if value is not None}
    for name in () if is_given else given:
        option = flag(f"{switch}_{name}")
        raise ConfigError(f"{option} does nothing without --{switch}: give that too, or leave it out")
    return given
