"""What goes wrong in a child: a kill, a full disk, or limits, at a chosen moment.

A change is an event of Python's audit hooks: a file that is opened to write, renamed or removed, or a folder
that is made or removed. So the moments between any two changes can be hit exactly, and again.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LARGEST_WRITTEN = 120_000  # bytes; larger than any file that a task writes
_MAKING = ("os.mkdir", "os.rename", "os.link", "os.symlink")  # need space
_REMOVING = ("os.remove", "os.rmdir", "os.truncate")  # need none
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Counter:
    """A number that a child counts up, and its parent reads."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        """The number."""
        return int.from_bytes(self._shared[:8], "little")

    def add(self) -> int:
        """Count one more; returns the number."""
        value = self.value + 1
        self._shared[:8] = value.to_bytes(8, "little")
        return value


@dataclass(frozen=True)
class Handicap:
    """What goes wrong; None: it does not.

    kill_at: killed before its change of this number, from 1. full_at: from this change on, every one that
    needs space fails. largest_file: bytes beyond which no file grows; killed_at_largest: the process is
    killed in the middle of such a write, else the write fails. counter: counts the changes. cpu_seconds,
    memory: killed beyond this CPU time, and out of memory beyond these bytes.
    """

    kill_at: int | None = None
    full_at: int | None = None
    largest_file: int | None = None
    killed_at_largest: bool = False
    counter: Counter | None = None
    cpu_seconds: int | None = None
    memory: int | None = None

    def take_effect(self, folder: Path) -> None:
        """Set it up in this process; `folder` is where changes count."""
        if self.largest_file is not None:
            if self.killed_at_largest:
                # The signal comes in the middle of a write; no Python code runs after it.
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_file, self.largest_file))
        if self.cpu_seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds))
        if self.memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (self.memory, self.memory))
        if self.counter is not None or self.kill_at is not None or self.full_at is not None:
            sys.addaudithook(_Changes(self, str(folder.resolve())))


class _Changes:
    """An audit hook that counts changes, and kills or fails at one."""

    def __init__(self, handicap: Handicap, folder: str) -> None:
        self._handicap, self._folder, self._number = handicap, folder, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITING:
                return
        elif event in _MAKING or event in _REMOVING:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str | bytes) or not self._is_within(os.fsdecode(path)):
            return
        self._number += 1
        if self._handicap.counter is not None:
            self._handicap.counter.add()
        if self._number == self._handicap.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        full_at = self._handicap.full_at
        if full_at is not None and self._number >= full_at and event not in _REMOVING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))

    def _is_within(self, path: str) -> bool:
        """Whether a path is in the folder; names relative to an open folder count as such."""
        return not path.startswith("/") or path.startswith(self._folder)
