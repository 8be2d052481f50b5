"""Command-line options made from the config dataclasses: names, defaults and help are written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from textgen.errors import ConfigError
from textgen.settings.option import Option, flag, options_of

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Command = TypeVar("Command", bound=Callable[..., Any])

COMMON, OUTPUT = "Common options", "Output"  # headings beside those of settings/config.py
LONGEST_OPTION = 36  # characters; the help of a longer one begins on the next line


class GroupedOption(click.Option):
    """An option that stands under a heading of the help; without one, under "Options"."""

    def __init__(self, *arguments: Any, group: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option as it is typed, --[no-]name for a switch, and its help."""
        record = super().get_help_record(ctx)
        if record is None or not self.secondary_opts:
            return record
        return f"--[no-]{self.opts[0][2:]}", record[1]


class GroupedCommand(click.Command):
    """A command whose help shows examples, then the options under their headings.

    examples: command lines. headings: the order of the headings; "" is the one for options without.
    """

    def __init__(
        self, *arguments: Any, examples: Iterable[str] = (), headings: Iterable[str] = (), **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)
        self.headings = tuple(headings)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the options."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write(
                    "".join(f"{' ' * formatter.current_indent}{line}\n" for line in self.examples)
                )
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", ""), []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading or "Options"):
                    formatter.write_dl(records, col_max=LONGEST_OPTION)


def grouped_option(*declarations: str, group: str = "", **settings: Any) -> Decorator:
    """click.option under a heading."""
    return click.option(*declarations, cls=GroupedOption, group=group, **settings)


def cache_dir_option(command: Command) -> Command:
    """--cache-dir of every command that encodes text."""
    help = "Where encoded text is kept.  [default: the user's cache]"
    return click.option("--cache-dir", cls=GroupedOption, group=OUTPUT, metavar="DIR", help=help)(command)


def json_option(what: str) -> Callable[[Command], Command]:
    """--json of a command that otherwise prints `what` for a person."""
    help = f"Print {what} as one JSON object on standard output."
    return click.option("--json", "as_json", cls=GroupedOption, group=OUTPUT, is_flag=True, help=help)


def reading_options(text: str) -> Callable[[Command], Command]:
    """--field and --encoding of a text that is read with a run; `text` is what the help calls it."""

    def decorate(command: Command) -> Command:
        of_run = "  [default: as of the run's own text]"
        command = click.option("--encoding", metavar="TEXT", help=f"{text}'s encoding.{of_run}")(command)
        help = f"The field of {text}'s records, if it is a .jsonl or .csv file.{of_run}"
        return click.option("--field", metavar="TEXT", help=help)(command)

    return decorate


def refuse_reading(text: str, field: str | None, encoding: str | None) -> None:
    """Refuse options for a text that was not named. Raises ConfigError."""
    for name, value in {"--field": field, "--encoding": encoding}.items():
        if value is not None:
            raise ConfigError(f"{name} is for {text}: name one, or leave it out")


def cell_names(given: str) -> tuple[str, ...]:
    """The cells of --cells lstm,gru, in lower case."""
    return tuple(name.strip().lower() for name in given.split(","))


class _Number(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click alone
    """A whole number or any, in an option's own range."""

    def __init__(self, about: Option) -> None:
        self._number = click.types.convert_type(about.kind)
        self.name = self._number.name
        self._about = about

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click reports one out of range as it does a wrong type, with the option as typed."""
        number = self._number.convert(value, param, ctx)
        if broken := self._about.violation(number):
            self.fail(f"{number!r} {broken}", param, ctx)
        return number


def config_option(
    config_class: type,
    name: str,
    *,
    unset: bool = False,
    prefix: str = "",
    group: str | None = None,
    help: str | None = None,
) -> Decorator:
    """A click option for one field of a config dataclass.

    unset: None when the user did not give it, so that a settings file or the recipe decides; the help still
    shows the dataclass's default, or "chosen". A bool becomes a pair --name/--no-name. prefix: before the
    names of option and parameter; "adapt_" makes --adapt-rate and adapt_rate. group, help: None takes the
    option's own.
    """
    about = options_of(config_class)[name]
    typed = flag(prefix + name)
    is_flag = about.kind is bool
    shown = _shown_default(about)
    settings: dict[str, Any] = {"default": None if unset else about.default}
    settings["help"] = (help or about.help) + ("" if shown is None else f"  [default: {shown}]")
    settings["group"] = about.group if group is None else group
    if about.choices:
        settings["type"] = click.Choice(about.choices)
    elif not is_flag:
        settings["type"] = _Number(about) if about.kind in (int, float) else about.kind
        settings["metavar"] = {int: "N", float: "X"}.get(about.kind, "TEXT")
    declaration = f"{typed}/--no-{typed[2:]}" if is_flag else typed
    return grouped_option(declaration, prefix + name, **settings)


def _shown_default(about: Option) -> Any:
    """The default as the help shows it; None: nothing is shown."""
    if about.auto:
        return "chosen"
    if about.kind is bool:
        return "on" if about.default else "off"
    return about.default


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
