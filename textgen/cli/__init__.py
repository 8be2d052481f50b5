"""The command line: one file a command, each loaded only when it is asked for."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
from types import FrameType

import click

from textgen.errors import ConfigError, Interrupted, TextgenError
from textgen.system.threads import wait_briefly
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
            from textgen.settings.option import unknown_name

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
    _open_closed_streams()
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
        advice = _ADVICE.get(error.errno or 0)
        if advice is None or (error.filename is None and error.errno not in _FULL):
            raise
        reason = os.strerror(error.errno or 0).lower()
        _fail(f"{error.filename or 'output'}: {reason}; {advice}", 1)


# What the system refuses a program that does nothing wrong, and what to do about it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ADVICE = dict.fromkeys(_FULL, "make room and try again") | {
    errno.EACCES: "see who may read and write there",
    errno.EPERM: "see who may read and write there",
    errno.EROFS: "copy it to where it can be written",
    errno.ENOENT: "it went while textgen was at work, or its folder did",
    errno.ENAMETOOLONG: "name a file or a folder",
    errno.EIO: "see to the disk, or to the network that it is on",
    errno.ESTALE: "see to the disk, or to the network that it is on",
}


def _open_closed_streams() -> None:
    """Stand in for standard input, output or error where it was closed (<&-, >&-, a service)."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 (open as long as the process)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Interrupted("terminated", number)


def _fail(message: str, exit_code: int) -> None:
    print(f"textgen: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
