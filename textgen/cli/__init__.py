"""The command line: one module per command, imported when the command is used."""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
from contextlib import suppress

import click

from textgen.errors import ConfigError, TextgenError
from textgen.system.exits import raise_at_signals
from textgen.system.terminal import guarded
from textgen.system.threads import limit_spinning
from textgen.version import VERSION

COMMANDS = (
    "train", "sample", "eval", "score", "compare", "inspect", "gradients", "ngram", "serve", "export",
    "push", "encode", "info", "cache",
)  # fmt: skip
EXAMPLES = (
    "textgen train corpus.txt       train a model on a text, for two minutes",
    "textgen sample                 generate text with the newest run",
    "textgen eval runs/corpus       measure how well it predicts its validation text",
    "textgen inspect runs/corpus    a page about its gates, states and surprisal",
)


class LazyGroup(click.Group):
    """The group of all commands; each is `command` in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, those that a newcomer needs first."""
        return list(COMMANDS)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, the commands and the options."""
        from textgen.cli.support.options import write_examples

        write_examples(EXAMPLES, formatter)
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module. Raises ConfigError when there is no such command."""
        if cmd_name not in COMMANDS:
            from textgen.settings.option import unknown_name

            raise ConfigError(unknown_name("command", cmd_name, COMMANDS, "--help lists them"))
        command: click.Command = importlib.import_module(f"textgen.cli.{cmd_name}").command
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(VERSION, prog_name="textgen")
def group() -> None:
    """Train LSTM and GRU language models on your own text, generate text with them, and look inside."""


def main() -> None:
    """Run textgen. Errors that the user can fix are printed in one line; bugs keep their traceback."""
    limit_spinning()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal cannot show must not end hours of training.
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)
    _print_warnings()
    try:
        with raise_at_signals():
            group.main(prog_name="textgen", standalone_mode=False)
            sys.stdout.flush()
    except TextgenError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message().replace("\n", " "), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:  # whoever read the output needs no more of it (`| head`)
        _drop_output()
        sys.exit(1)
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        if advice is None or (error.filename is None and error.errno not in _OF_OUTPUT):
            raise
        reason = os.strerror(error.errno or 0).lower()
        _fail(f"{error.filename or 'output'}: {reason}; {advice}", 1)


# Errors of the operating system that are not bugs, and what to do about them.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERMISSIONS = "check its permissions" + (", and close what has it open" if os.name == "nt" else "")
_OF_OUTPUT = (*_FULL, errno.EFBIG)  # these may come without the name of a file
_ADVICE = dict.fromkeys(_FULL, "free some space and try again") | {
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "copy it to a file system that can be written to",
    errno.ENOENT: "the file or its folder was removed while textgen was running",
    errno.ENAMETOOLONG: "name a file or folder, not a text",
    errno.EIO: "check the disk, or the network if it is remote",
    errno.ESTALE: "check the disk, or the network if it is remote",
}


class _Lines(logging.Handler):
    """Prints what is logged on standard error, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"textgen: {' '.join(record.getMessage().split())}", file=sys.stderr, flush=True)


def _print_warnings() -> None:
    """Print what textgen logs, once; a library that is used from Python leaves that to the program."""
    logger = logging.getLogger("textgen")
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())


def _open_closed_streams() -> None:
    """Replace standard input, output and error by the null device where they were closed (<&-, >&-)."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 (stays open until the process ends)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


def _drop_output() -> None:
    """Send what is still to be written to the null device, so that Python does not fail to when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream of a test has no descriptor
            os.dup2(null, stream.fileno())


def _fail(message: str, exit_code: int) -> None:
    try:
        print(f"textgen: {' '.join(message.split())}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _drop_output()
    sys.exit(exit_code)
