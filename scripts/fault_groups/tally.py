"""Counting what was tried and what went wrong, as a row of the table."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fault_groups.children import MEGABYTE, Outcome

KINDS = ("silent", "lost", "tracebacks", "leftovers", "over limits")
HEADINGS = ("group", "tried", *KINDS, "peak MB")
_LONGEST_MESSAGE = 2000  # characters
_TRACES = re.compile(
    r"Traceback \(most recent call last\)|panicked at|Fatal Python error|terminate called|"
    r"^\S*\.py:\d+: \w*Warning: |RuntimeWarning: |Exception ignored in",
    re.MULTILINE,
)
_OVER_LIMITS = {getattr(signal, "SIGXCPU", None)}
_OURS = {getattr(signal, name, None) for name in ("SIGKILL", "SIGXFSZ")}  # see handicaps.py
_INTERRUPTED = {128 + signal.SIGINT, 128 + signal.SIGTERM}


class Fault(NamedTuple):
    """One thing that went wrong: one of KINDS, what was tried, and what happened."""

    kind: str
    case: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.case}: {self.what}"


@dataclass
class Tally:
    """The cases of a group and their faults."""

    group: str
    tried: int = 0
    peak_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)

    def look_at(self, case: str, outcome: Outcome) -> None:
        """Note memory, and what no child may do, whatever was done to it."""
        self.peak_bytes = max(self.peak_bytes, outcome.peak_bytes)
        if outcome.timed_out or -outcome.code in _OVER_LIMITS:
            self.add("over limits", case, "did not end")
        elif complaint := complaint_about(outcome):
            self.add("tracebacks", case, complaint)

    def add(self, kind: str, case: str, what: str) -> None:
        """Note a fault. A case has at most one of a kind."""
        assert kind in KINDS
        if (kind, case) not in {(fault.kind, fault.case) for fault in self.faults}:
            self.faults.append(Fault(kind, case, " ".join(what.split())[:300]))

    def leftovers(self, case: str, names: Iterable[str]) -> None:
        """Note files that should not be there, if there are any."""
        if found := sorted(names):
            self.add("leftovers", case, ", ".join(found))

    def row(self) -> tuple[str, ...]:
        """The cells of the table; HEADINGS are their names."""
        counts = (sum(fault.kind == kind for fault in self.faults) for kind in KINDS)
        return (self.group, str(self.tried), *map(str, counts), f"{self.peak_bytes / MEGABYTE:.0f}")


def complaint_about(outcome: Outcome) -> str:
    """What is wrong with how a child ended; "" if nothing.

    Whatever happens, there is no traceback, panic or warning with source lines, and an error is one line that
    begins with `textgen:`, the last on standard error.
    """
    if found := _TRACES.search(outcome.err):
        return outcome.err[found.start() :].strip().splitlines()[-1] if "Traceback" in found[0] else found[0]
    if outcome.code < 0:
        return "" if -outcome.code in _OURS else f"killed by {signal.Signals(-outcome.code).name}"
    if outcome.code == 0:
        return ""
    lines = outcome.err.strip().splitlines()
    messages = [line for line in lines if line.startswith("textgen: ")]
    if not messages and "Usage: textgen" in outcome.err:
        return ""  # the help, as it was called without a command
    if outcome.code not in {1, 2, *_INTERRUPTED}:
        return f"exit code {outcome.code}"
    if len(messages) != 1 or messages != lines[-1:]:
        return f"exit code {outcome.code} with {len(messages)} error messages: {lines[-1:]}"
    return f"a message of {len(lines[-1])} characters" if len(lines[-1]) > _LONGEST_MESSAGE else ""
