"""`textgen train` in several processes: starting them, and one message when they fail together."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from textgen.distributed.launcher import is_launched, run_processes
from textgen.distributed.world import World, launch_id
from textgen.errors import LostProcessError, TextgenError

OPTION = "--processes"
# What fails in all processes fails in rank 0 too, whose message is the one to read.
_SECONDS_FOR_RANK_0 = 0.5


def start_processes(arguments: Sequence[str], processes: int, run: str | None, resumed: str | None) -> None:
    """Run `textgen train` with its arguments in so many processes. Raises what run_processes raises.

    run, resumed: the directory given by --run and by --resume.
    """
    from textgen.training.new_run import find_run_of_launch

    run_id = uuid.uuid4().hex
    try:
        run_processes(["train", *_without_option(arguments)], processes, run_id=run_id)
    except LostProcessError as error:
        launch = launch_id({"TORCHELASTIC_RUN_ID": run_id}, os.getpid())
        assert launch is not None
        path = resumed or find_run_of_launch(run, launch)
        if path is None:
            raise
        raise LostProcessError(f"{path}: {error}. Resume with: textgen train --resume {path}") from error


def _without_option(arguments: Sequence[str]) -> list[str]:
    """The arguments without --processes and its value.

    >>> _without_option(["a.txt", "--processes", "2", "--cell=gru", "--processes=3"])
    ['a.txt', '--cell=gru']
    """
    kept = []
    rest = iter(arguments)
    for argument in rest:
        if argument == OPTION:
            next(rest, None)
        elif not argument.startswith(f"{OPTION}="):
            kept.append(argument)
    return kept


@contextmanager
def reporting_once(world: World) -> Iterator[None]:
    """In the block, an error is raised in the first process that has one, and ends the others silently."""
    try:
        yield
    except TextgenError as error:
        if not world.is_first and not isinstance(error, LostProcessError):
            time.sleep(_SECONDS_FOR_RANK_0)
        is_reported = is_launched() and isinstance(error, LostProcessError)
        if is_reported or not world.may_report():
            sys.exit(error.exit_code)
        raise
