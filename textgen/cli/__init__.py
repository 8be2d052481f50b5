"""The command line: one file a command, each loaded only when it is asked for."""

from __future__ import annotations

import errno
import importlib
import io
import signal
import sys
from types import FrameType

import click

from textgen.device import wait_briefly
from textgen.errors import ConfigError, Interrupted, TextgenError
from textgen.version import VERSION

COMMANDS = ("train", "sample", "eval", "score", "compare", "inspect", "gradients", "info")


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own names; `eval` lives in eval.py."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module. Raises ConfigError when there is no such command."""
        if cmd_name not in COMMANDS:
            from textgen.fields import unknown_name

            raise ConfigError(f"{unknown_name('command', cmd_name, COMMANDS)}; --help lists them")
        command: click.Command = importlib.import_module(f"textgen.cli.{cmd_name}").command
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(VERSION, prog_name="textgen")
def group() -> None:
    """Train recurrent text generators on your own text, and write new text with them."""


def main() -> None:
    """Run it: what the user can fix is one line on standard error; a bug keeps its traceback."""
    wait_briefly()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal's encoding cannot show must not end a training of hours.
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    try:
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"{error.filename or 'output'}: no space left; make room and try again", 1)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Interrupted("terminated", number)


def _fail(message: str, exit_code: int) -> None:
    print(f"textgen: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
