"""Disk: every write may fail. No file may grow, all changes of files fail from one on, or a disk is full.

The command must say so in one line, or give the right result without the file; once there is room again, it
can be resumed or repeated to the same result.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_groups.children import CAN_FORK, Outcome, run_textgen
from fault_groups.handicaps import LARGEST_WRITTEN, Handicap
from fault_groups.plan import Plan
from fault_groups.recovery import Task, check, finish, make_tasks, result_of
from fault_groups.tally import Tally

_ROOM = "64m"


def attack(plan: Plan) -> Tally:
    """Let each task run out of space. Does nothing where processes cannot be forked."""
    tally = Tally("disk")
    if not CAN_FORK:
        return tally
    tasks = make_tasks(plan)
    work = plan.folder / "task" / "work"
    for number in range(plan.count(4, 120)):
        task = tasks[number % len(tasks)]
        words, handicap = _limit(task, plan.rng)
        task.start(work)
        _try(task, work, f"{task.name}, {words}", handicap, tally)
    for number in range(plan.count(1, 30)):
        task = tasks[number % len(tasks)]
        with _file_system(work) as is_mounted:
            if is_mounted:
                _fill(task, work, plan.rng, tally)
    return tally


def _limit(task: Task, rng: random.Random) -> tuple[str, Handicap]:
    if rng.random() < 0.5:
        size = int(LARGEST_WRITTEN ** rng.random()) - 1
        return f"no file above {size} bytes", Handicap(largest_file=size)
    number = rng.randint(1, task.changes)
    return f"no space from change {number} on", Handicap(full_at=number)


def _try(task: Task, work: Path, case: str, handicap: Handicap | None, tally: Tally) -> None:
    """Run a task without enough space."""
    tally.tried += 1
    outcome = run_textgen(task.command, work, handicap=handicap)
    tally.look_at(case, outcome)
    if outcome.code == 0 and result_of(task, work) != task.result:
        tally.add("silent", case, "another result")
    if handicap is not None:
        _recover(task, work, case, tally)


def _recover(task: Task, work: Path, case: str, tally: Tally) -> None:
    """Finish a task once there is space."""

    def attempt(command: tuple[str, ...]) -> Outcome:
        outcome = run_textgen(command, work)
        tally.look_at(case, outcome)
        return outcome

    check(task, work, case, finish(task, work, attempt), tally)


@contextmanager
def _file_system(work: Path) -> Iterator[bool]:
    """A small file system in the place of a folder; yields False where this process may not make one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "faults", str(work)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(work)], check=True)


def _fill(task: Task, work: Path, rng: random.Random, tally: Tally) -> None:
    """Run a task on a file system with little room, then with enough."""
    task.start(work)
    used = sum(-(-path.stat().st_size // 4096) * 4096 for path in work.rglob("*") if path.is_file())
    room = used + 4096 * rng.randint(1, 150)
    case = f"{task.name}, a file system of {room} bytes with {used} used"
    _resize(work, str(room))
    _try(task, work, case, None, tally)
    _resize(work, _ROOM)
    _recover(task, work, case, tally)


def _resize(work: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(work)], check=True)
