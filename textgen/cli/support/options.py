"""Help with examples and headings, and options made from the config dataclasses, which declare them once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import click

from textgen.errors import ConfigError
from textgen.settings.config import DEVICE, DEVICES, DOCUMENT_KINDS, TEXT
from textgen.settings.option import Option, Range, flag, options_of, shown
from textgen.settings.sizes import parse_size

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

COMMON, OUTPUT = "Common options", "Output"  # besides the headings of settings/config.py
LONGEST_OPTION = 36  # characters; the help of a longer one begins on the next line
READING = ("documents", "field", "delimiter", "encoding")  # how a text besides the run's own is read
# What options take.
METAVARS = {
    "val": "FILE", "test": "FILE", "include": "GLOB", "normalize": "FORM",
    "host": "ADDRESS", "api_key_file": "FILE", "cors": "ORIGIN",
}  # fmt: skip


class GroupedOption(click.Option):
    """An option with its heading in the help; "" means the last heading of the command."""

    def __init__(self, *arguments: Any, group: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option as it is typed, --[no-]name for a switch, and its help."""
        record = super().get_help_record(ctx)
        if record is None or not self.secondary_opts:
            return record
        return f"--[no-]{self.opts[0][2:]}", record[1]


ARGUMENTS = "textgen.arguments"


class GroupedCommand(click.Command):
    """A command whose help shows examples, then its options under headings.

    examples: command lines, each followed by two or more spaces and what it does. headings: all headings in
    their order; the last one also takes the options that name none, such as --help.
    """

    def __init__(
        self,
        *arguments: Any,
        examples: Iterable[str] = (),
        headings: Iterable[str] = ("Options",),
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)
        self.headings = tuple(headings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; ARGUMENTS in ctx.meta are those of the command as they were given."""
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the options."""
        write_examples(self.examples, formatter)
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups[getattr(param, "group", "") or self.headings[-1]].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=LONGEST_OPTION)


def write_examples(examples: Iterable[str], formatter: click.HelpFormatter) -> None:
    """Write a section of examples, each line as it is."""
    with formatter.section("Examples"):
        indent = " " * formatter.current_indent
        formatter.write("".join(f"{indent}{line}\n" for line in examples))


def grouped_option(*declarations: str, group: str = "", **settings: Any) -> Decorator:
    """click.option under a heading."""
    return click.option(*declarations, cls=GroupedOption, group=group, **settings)


def cache_dir_option(what: str = "Where encoded and fetched text is kept.") -> Decorator:
    """--cache-dir of every command that encodes or fetches text; `what` is its help."""
    help = f"{what}  [default: the user's cache]"
    return grouped_option("--cache-dir", group=OUTPUT, metavar="DIR", help=help, callback=_a_path)


def cache_size_option() -> Decorator:
    """--cache-size of a command that may read encoded text behind a URL; in bytes."""
    return grouped_option(
        "--cache-size", group=OUTPUT, metavar="SIZE", callback=_a_size,
        help="Most that shards of URLs take, as in 20GB.  [default: half of the free disk]",
    )  # fmt: skip


def _a_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The bytes of a size. Raises ConfigError."""
    return None if value is None else parse_size("cache_size", value)


def _a_path(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The value, if it can be a path: empty, it would be the current folder. Raises ConfigError."""
    if value is not None and (not value or "\0" in value):
        raise ConfigError(f"{param.opts[0]} {shown(value)}: not a folder; name one, or leave it out")
    return value


def fetch_option(text: str = "the run's text", group: str = TEXT) -> Decorator:
    """--fetch of every command that opens the text of a run; `text` is its name in the help."""
    help = f"Fetch {text} from its URL if it is not cached."
    return grouped_option("--fetch", group=group, is_flag=True, help=help)


def no_ngram_option(help: str = "Use the network alone, without the run's n-grams.") -> Decorator:
    """--no-ngram of every command that uses a run's n-grams; the parameter is `ngram`."""
    return grouped_option(
        "--no-ngram", "ngram", group=COMMON, is_flag=True, flag_value=False, default=True, help=help
    )


def json_option(what: str) -> Decorator:
    """--json of a command that otherwise prints `what` in plain text."""
    help = f"Print {what} as one JSON object on standard output."
    return grouped_option("--json", "as_json", group=OUTPUT, is_flag=True, help=help)


def device_option(default: str, group: str = DEVICE) -> Decorator:
    """--device of a command that runs a model."""
    help = f"Device to run on; auto prefers a GPU.  [default: {default}]"
    return grouped_option("--device", group=group, type=click.Choice(DEVICES), default=default, help=help)


def reading_options(text: str, group: str = TEXT) -> Decorator:
    """The options of READING for a text that a run reads; `text` is its name in the help."""
    help = {
        "documents": f"What a document is ({', '.join(DOCUMENT_KINDS)}).  [default: the run's]",
        "field": "Field of the records to read.  [default: the run's]",
        "delimiter": "Delimiter of .csv and .tsv.  [default: the run's]",
        "encoding": f"Encoding of {text}.  [default: the run's]",
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(READING):
            kind = {"type": click.Choice(DOCUMENT_KINDS)} if name == "documents" else {}
            metavar = "KIND" if kind else "TEXT"
            command = grouped_option(flag(name), group=group, metavar=metavar, help=help[name], **kind)(
                command
            )
        return command

    return decorate


def take_reading(settings: dict[str, Any]) -> dict[str, str | None]:
    """Remove the options of READING from a command's parameters; returns them, None for one not given."""
    return {name: settings.pop(name) for name in READING}


def refuse_reading(text: str, reading: Mapping[str, str | None]) -> None:
    """Refuse the options of READING when their text was not given. Raises ConfigError."""
    for name, value in reading.items():
        if value is not None:
            raise ConfigError(f"{flag(name)} does nothing without {text}: give that too, or leave it out")


def cell_names(given: str) -> tuple[str, ...]:
    """The cells that --cells lists, separated by commas, in lower case."""
    return tuple(name.strip().lower() for name in given.split(","))


class Number(click.ParamType):  # type: ignore[type-arg]  # generic only in new versions of click
    """A whole or real number within a range; None: any."""

    def __init__(self, kind: type, range: Range | None) -> None:
        self._number = click.types.convert_type(kind)
        self.name = self._number.name
        self._range = range

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the number. Raises click.BadParameter, which names the option; also when out of range."""
        try:
            number = self._number.convert(value, param, ctx)
        except click.BadParameter:  # whose message has the value in full
            self.fail(f"{shown(value)} is not a valid {self.name}.", param, ctx)
        if self._range is not None and (broken := self._range.violation(number)):
            self.fail(f"{shown(number)} {broken}", param, ctx)
        return number


class Choice(click.Choice):  # type: ignore[type-arg]  # generic only in new versions of click
    """One of some names; `hints` say what to do instead of giving some other one."""

    def __init__(self, choices: Collection[str], hints: Mapping[str, str]) -> None:
        super().__init__(list(choices))
        self._hints = hints

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the name. Raises click.BadParameter, which names the option."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if value not in self._hints:
                raise
            self.fail(f"{error.message.removesuffix('.')}; {self._hints[value]}.", param, ctx)


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

    unset: the parameter is None when the user does not give the option, so that a settings file or the recipe
    decides; the help still shows the dataclass's default, or "chosen". prefix: put before the names of option
    and parameter; "adapt_" makes --adapt-rate and adapt_rate. group, help: None takes those of the
    dataclass. A bool becomes a pair --name/--no-name, and a tuple an option that may be repeated.
    """
    about = options_of(config_class)[name]
    typed = flag(prefix + name)
    is_flag = about.kind is bool
    shown = _shown_default(about)
    settings: dict[str, Any] = {"default": None if unset else about.default}
    settings["help"] = (help or about.help) + ("" if shown is None else f"  [default: {shown}]")
    settings["group"] = about.group if group is None else group
    if about.choices:
        settings |= {"type": Choice(about.choices, about.hints), "metavar": METAVARS.get(name)}
    elif about.kind is tuple:
        settings |= {"multiple": True, "type": str, "metavar": METAVARS[name], "callback": _none_if_empty}
    elif not is_flag:
        settings["type"] = Number(about.kind, about.range) if about.kind in (int, float) else about.kind
        settings["metavar"] = METAVARS.get(name, {int: "N", float: "X"}.get(about.kind, "TEXT"))
    declaration = f"{typed}/--no-{typed[2:]}" if is_flag else typed
    return grouped_option(declaration, prefix + name, **settings)


def _none_if_empty(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    """The values of an option that may be repeated; None when it was not given."""
    return value or None


def _shown_default(about: Option) -> Any:
    """The default as the help shows it; None: the help shows none."""
    if about.auto:
        return "chosen"
    if about.kind is bool:
        return "on" if about.default else "off"
    return about.default


def take_given(switch: str, names: Iterable[str], is_given: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the options --switch-name from a command's parameters; returns those that the user gave.

    Raises ConfigError for one that was given without the switch.
    """
    values = {name: settings.pop(f"{switch}_{name}") for name in names}
    given = {name: value for name, value in values.items() if value is not None}
    for name in () if is_given else given:
        option = flag(f"{switch}_{name}")
        raise ConfigError(f"{option} does nothing without --{switch}: give that too, or leave it out")
    return given
