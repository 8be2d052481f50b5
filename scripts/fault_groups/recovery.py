"""Training and storing that is cut short, then finished by the commands that a user would try."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_groups.children import Outcome, run_textgen
from fault_groups.handicaps import Counter, Handicap
from fault_groups.plan import Plan
from fault_groups.subjects import (
    KINDS,
    metrics,
    names_of_files,
    ngrams,
    require,
    train_command,
    weights,
    without_times,
)
from fault_groups.tally import Tally

_TRIES = 6
_COMPLETE = "this run is complete"
Attempt = Callable[[tuple[str, ...]], Outcome]  # runs a command; for the next one too, if it fails again


@dataclass(frozen=True)
class Task:
    """A command that writes files, how it is finished after it was cut short, and what it gives undisturbed.

    changes: how many changes of files it makes (see handicaps.py). seconds: how long it takes.
    """

    name: str
    command: tuple[str, ...]
    whole: Path  # the folder before it
    result: Any = None
    files: frozenset[str] = frozenset()
    changes: int = 0
    seconds: float = 0.0

    def start(self, work: Path) -> None:
        """Put the folder back as it was before."""
        for path in work.iterdir():  # not the folder itself, where something may be mounted
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self.whole, work, symlinks=True, dirs_exist_ok=True)


def make_tasks(plan: Plan) -> list[Task]:
    """Training from nothing, resuming, and writing with an index of the training text to build."""
    subject = plan.subject("plain")
    whole, fresh, unindexed = (subject.folder / name for name in ("whole", "fresh", "unindexed"))
    fresh.mkdir()
    shutil.copy2(whole / KINDS["plain"].file, fresh)
    shutil.copytree(whole, unindexed)
    for index in unindexed.glob("cache/*/suffixes.bin"):
        shutil.rmtree(index.parent)
    sample = (*subject.commands["sample"], "--output", "samples.json")
    tasks = [
        Task("train", train_command(KINDS["plain"], "run"), fresh),
        Task("resume", subject.commands["resume"], whole),
        Task("sample", sample, unindexed),
    ]
    work = plan.folder / "task" / "work"
    work.mkdir(parents=True)
    return [_measured(task, work) for task in tasks]


def _measured(task: Task, work: Path) -> Task:
    """A task with what it does undisturbed."""
    task.start(work)
    counter, last = Counter(), [0.0]

    def watch(seconds: float) -> None:
        last[0] = seconds

    require(run_textgen(task.command, work, handicap=Handicap(counter=counter), watch=watch))
    return Task(
        task.name,
        task.command,
        task.whole,
        result_of(task, work),
        names_of_files(work),
        counter.value,
        last[0],
    )


def result_of(task: Task, work: Path) -> Any:
    """The files of the run that was trained, metrics without times; or the text that was written."""
    if task.name == "sample":
        path = work / "samples.json"
        return without_times(path.read_text(encoding="utf-8")) if path.is_file() else None
    run = work / _run(task)
    if not (run / "metrics.jsonl").is_file():
        return None
    return weights(run), ngrams(run), metrics(run), (run / "config.json").read_bytes()


def _run(task: Task) -> str:
    return "half" if task.name == "resume" else "run"


def finish(task: Task, work: Path, attempt: Attempt) -> str:
    """Repeat or resume a task that was cut short until it is complete; returns "", or why it cannot be."""
    for _ in range(_TRIES):
        run = work / _run(task)
        resuming = task.name != "sample" and (run / "config.json").exists()
        command = (
            ("train", "--resume", _run(task), "--cache-dir", "cache", "--json") if resuming else task.command
        )
        outcome = attempt(command)
        if outcome.code == 0 or _COMPLETE in outcome.err:
            return ""
        if outcome.code > 0:
            return outcome.err.strip().splitlines()[-1]
    return "it was not complete after many tries"


def check(task: Task, work: Path, case: str, trouble: str, tally: Tally) -> None:
    """Compare a finished task with the undisturbed one; trouble: what `finish` returned."""
    if trouble:
        tally.add("lost", case, trouble)
        return
    if result_of(task, work) != task.result:
        tally.add("lost", case, "the result is another one")
    names = names_of_files(work)
    if missing := task.files - names:
        tally.add("lost", case, f"missing: {', '.join(sorted(missing))}")
    tally.leftovers(case, names - task.files)
