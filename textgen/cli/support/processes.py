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
from textgen.errors import Interrupted, LostProcessError, TextgenError

# What fails in all processes fails in rank 0 too, whose message is the one to read.
_SECONDS_FOR_RANK_0 = 0.5


def start_processes(arguments: Sequence[str], processes: int, run: str | None, resumed: str | None) -> None:
    """Run `textgen train` with its arguments in so many processes. Raises what run_processes raises.

    run, resumed: the directory given by --run and by --resume.
    """
    from textgen.training.new_run import find_run_of_launch

    run_id = uuid.uuid4().hex
    try:
        run_processes(["train", *arguments], processes, run_id=run_id)
    except LostProcessError as error:
        launch = launch_id({"TORCHELASTIC_RUN_ID": run_id}, os.getpid())
        assert launch is not None
        path = resumed or find_run_of_launch(run, launch)
        if path is None:
            raise
        raise LostProcessError(f"{path}: {error}. Resume with: textgen train --resume {path}") from error


@contextmanager
def reporting_once(world: World) -> Iterator[None]:
    """In the block, an error is raised in the first process that has one, and ends the others silently."""
    try:
        yield
    except TextgenError as error:
        if not _is_reported_here(error, world):
            sys.exit(error.exit_code)
        raise


def _is_reported_here(error: TextgenError, world: World) -> bool:
    """Whether it is this process that prints the error."""
    if isinstance(error, Interrupted):
        return world.is_first  # all are stopped together; nobody else needs to be asked
    if isinstance(error, LostProcessError):
        return not is_launched() and world.may_report()
    if not world.is_first:
        time.sleep(_SECONDS_FOR_RANK_0)
    return world.may_report()
