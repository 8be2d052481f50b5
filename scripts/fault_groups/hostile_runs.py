"""Hostile runs: a run with a file that was made to do harm, and every command that only reads a run.

Each command must end with one line, or harmlessly, with little more time and memory than on a healthy run.
"""

from __future__ import annotations

import re

from fault_groups.children import CAN_FORK, MEGABYTE, Outcome, run_textgen
from fault_groups.handicaps import Handicap
from fault_groups.hostile_files import FILES, HOSTILE
from fault_groups.hostile_ngrams import HOSTILE_NGRAMS
from fault_groups.plan import Plan
from fault_groups.subjects import Subject, names_of_files, require, unfinished
from fault_groups.tally import Tally

MORE_SECONDS = 2.0  # of CPU time
MORE_BYTES = 300 * MEGABYTE
_TIMEOUT_SECONDS = 15.0
_CHANGES = HOSTILE | HOSTILE_NGRAMS
_NO_NUMBER = re.compile(r"(?<![\w/'])-?(nan|inf|infinity)(?!\w)", re.IGNORECASE)


def attack(plan: Plan) -> Tally:
    """Put every hostile file into a run, and read the run with every command."""
    tally = Tally("hostile runs")
    subject = plan.subject("plain")
    (subject.folder / "whole" / "runs").mkdir()
    (subject.folder / "whole" / "runs" / "run").symlink_to("../run")
    commands = reading_commands(subject)
    healthy = {name: require(_run(subject, "", command)) for name, command in commands.items()}
    cases = [f"{name}; {what}" for what in _CHANGES for name in commands]
    for case in plan.some(cases, 16):
        name, what = case.split("; ")
        outcome = _run(subject, what, commands[name])
        tally.tried += 1
        tally.look_at(case, outcome)
        _judge(case, outcome, healthy[name], tally)
        tally.leftovers(case, unfinished(names_of_files(subject.work)))
    return tally


def reading_commands(subject: Subject) -> dict[str, tuple[str, ...]]:
    """The commands that only read a run, by name."""
    names = ("info", "score", "sample", "eval")
    cheap = ("--steps", "5", "--positions", "5", "--tokens", "300")
    return {name: subject.commands[name] for name in names} | {
        "info of all": ("info",),
        "sample a prompt": ("sample", "run", "--prompt", "a" * 40 + "!", "--max-new-tokens", "5"),
        "inspect": ("inspect", "run", subject.kind.file, "--characters", "300", "--output", "page.html"),
        "gradients": ("gradients", "run", "--cache-dir", "cache", *cheap),
    }  # fmt: skip


def _run(subject: Subject, what: str, command: tuple[str, ...]) -> Outcome:
    """Run a command on the run with one hostile file; what: its name, "" for none."""
    subject.restore()
    if what:
        _CHANGES[what](subject.work / "run")
        if FILES not in what:
            (subject.work / "run" / FILES).unlink()
    # Limits that the machine survives; textgen has lower ones.
    limits = Handicap(cpu_seconds=20, memory=3000 * MEGABYTE) if CAN_FORK else None
    return run_textgen(command, subject.work, handicap=limits, timeout=_TIMEOUT_SECONDS)


def _judge(case: str, outcome: Outcome, healthy: Outcome, tally: Tally) -> None:
    if outcome.cpu_seconds > healthy.cpu_seconds + MORE_SECONDS:
        tally.add("over limits", case, f"{outcome.cpu_seconds:.1f} s of CPU time")
    if outcome.peak_bytes > healthy.peak_bytes + MORE_BYTES:
        tally.add("over limits", case, f"{outcome.peak_bytes / MEGABYTE:.0f} MB")
    results = [line for line in outcome.out.splitlines() if "not readable" not in line]
    if outcome.code == 0 and (found := _NO_NUMBER.search("\n".join(results))):
        tally.add("silent", case, f"{found[0]} as a result")
    lines, notes = outcome.err.strip().splitlines(), healthy.err.strip().splitlines()
    if outcome.code > 0 and len(lines) > len(notes) + 1:
        tally.add("tracebacks", case, f"{len(lines)} lines: {lines[0]}")
