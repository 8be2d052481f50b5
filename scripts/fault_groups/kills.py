"""Kills: SIGKILL at any moment of training, resuming and storing, then resumed until it is complete.

A third of the kills come at any time, a third between two changes of files, and a third in the middle of
writing one. The result must be that of the same command undisturbed: weights, metrics, config and list of
files.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_groups.children import CAN_FORK, Outcome, run_textgen
from fault_groups.handicaps import LARGEST_WRITTEN, Handicap
from fault_groups.plan import Plan
from fault_groups.recovery import Task, check, finish, make_tasks
from fault_groups.tally import Tally

_AGAIN = 0.25  # how often a process that resumes is killed too


def attack(plan: Plan) -> Tally:
    """Kill each task again and again. Does nothing where processes cannot be forked."""
    tally = Tally("kills")
    if not CAN_FORK:
        return tally
    tasks = make_tasks(plan)
    work = plan.folder / "task" / "work"
    for number in range(plan.count(4, 100)):
        # Most of the kills hit training from nothing, which writes most.
        task = tasks[0] if number % 4 < 2 else tasks[number % 4 - 1]
        _try(task, work, plan.rng, tally)
    return tally


def _try(task: Task, work: Path, rng: random.Random, tally: Tally) -> None:
    task.start(work)
    tally.tried += 1
    done: list[str] = []

    def attempt(command: tuple[str, ...]) -> Outcome:
        words, settings = ("", {}) if done and rng.random() > _AGAIN else _kill(task, rng)
        done.append(words)
        outcome = run_textgen(command, work, **settings)
        tally.look_at(_case(task, done), outcome)
        return outcome

    attempt(task.command)
    trouble = finish(task, work, attempt)
    check(task, work, _case(task, done), trouble, tally)


def _case(task: Task, done: list[str]) -> str:
    return f"{task.name}, {', then '.join(words for words in done if words)}"


def _kill(task: Task, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """One of the three kinds of kill: what it is, and arguments of run_textgen."""
    kind = rng.choice(("time", "change", "write"))
    if kind == "time":
        moment = rng.uniform(0, task.seconds)
        return f"killed after {moment:.3f} s", {"watch": _after(moment)}
    if kind == "change":
        number = rng.randint(1, task.changes)
        return f"killed at change {number}", {"handicap": Handicap(kill_at=number)}
    size = int(LARGEST_WRITTEN ** rng.uniform(0.3, 1))
    settings = Handicap(largest_file=size, killed_at_largest=True)
    return f"killed where a file reaches {size} bytes", {"handicap": settings}


def _after(moment: float) -> Callable[[float], int | None]:
    return lambda seconds: signal.SIGKILL if seconds >= moment else None
