"""Running `textgen` in a child process, where something may go wrong on purpose.

Where the system can fork, a child is a fork of this process, in which everything is imported and nothing has
been computed: starting it takes milliseconds instead of seconds.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fault_groups.handicaps import Handicap

CAN_FORK = hasattr(os, "fork")
MEGABYTE = 2**20
_TIMEOUT_SECONDS = 120.0  # of the clock; a child that takes longer is killed
_POLL_SECONDS = 0.002
# Imported by textgen where it is needed; the others are found by walking through its modules.
_LATE_IMPORTS = (
    "torch",
    "safetensors.torch",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "pydivsufsort",
)

# Given the seconds since the start, the number of a signal to send, or None; called again and again.
Watch = Callable[[float], int | None]


@dataclass(frozen=True)
class Outcome:
    """What a child did.

    code: its exit code, or minus the signal that killed it. cpu_seconds and peak_bytes are 0 where the system
    does not tell. timed_out: whether it was killed for taking too long.
    """

    code: int
    out: str
    err: str
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    timed_out: bool = False


def preload() -> None:
    """Import everything that a child may need, so that forks need not."""
    import textgen

    for module in pkgutil.walk_packages(textgen.__path__, "textgen."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LATE_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)


def run_textgen(
    arguments: Sequence[str | Path],
    folder: Path,
    *,
    handicap: Handicap | None = None,
    watch: Watch = lambda seconds: None,
    stdin: bytes = b"",
    timeout: float = _TIMEOUT_SECONDS,
) -> Outcome:
    """Run `textgen` with these arguments in a folder, and wait for it.

    handicap: what goes wrong in the child, only where CAN_FORK.
    """
    names = [str(argument) for argument in arguments]
    if not CAN_FORK:
        assert handicap is None
        return _spawned(names, folder, stdin, timeout)
    # Its output goes through pipes, because a file might not be allowed to grow.
    with tempfile.TemporaryFile() as given, _Pipe() as out, _Pipe() as err:
        given.write(stdin)
        given.seek(0)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be_textgen(names, folder, (given.fileno(), out.writer, err.writer), handicap)
        code, usage, timed_out = _wait(child, (out, err), watch, timeout)
        unit = 1 if sys.platform == "darwin" else 1024
        seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit
        return Outcome(code, out.text(), err.text(), seconds, peak, timed_out)


class _Pipe:
    """A pipe that is read without waiting."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._content = bytearray()

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._reader)
        os.close(self.writer)

    def drain(self) -> None:
        """Take what was written."""
        with suppress(BlockingIOError):
            while more := os.read(self._reader, 2**16):
                self._content += more

    def text(self) -> str:
        """All that was written."""
        self.drain()
        return self._content.decode(errors="replace")


def _wait(
    child: int, pipes: Iterable[_Pipe], watch: Watch, timeout: float
) -> tuple[int, os.struct_rusage, bool]:
    """Wait for a child and send it signals; returns its exit code, what it used, and whether it timed out."""
    started, timed_out = time.monotonic(), False
    try:
        while True:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                child = 0
                return os.waitstatus_to_exitcode(status), usage, timed_out
            for pipe in pipes:
                pipe.drain()
            seconds = time.monotonic() - started
            if seconds > timeout:
                timed_out = True
                os.kill(child, signal.SIGKILL)
            elif number := watch(seconds):
                os.kill(child, number)
            time.sleep(_POLL_SECONDS)
    finally:
        if child:  # this process is being interrupted
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _be_textgen(
    arguments: list[str], folder: Path, descriptors: Sequence[int], handicap: Handicap | None
) -> None:
    """Turn a fork into `textgen`; descriptors: of its standard streams. Does not return."""
    code = 1
    try:  # twice, so that a signal at the end does not let the fork return and clean up after its parent
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            _open_streams()
            os.chdir(folder)
            sys.argv = ["textgen", *arguments]
            if handicap is not None:
                handicap.take_effect(folder)
            code = _exit_code()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # it is full, or closed
                    stream.flush()
    finally:
        os._exit(code)


def _open_streams() -> None:
    """Standard streams as in a new process, whatever this one has put in their place."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (open until the process ends)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


def _exit_code() -> int:
    """Call `textgen` as Python would; returns its exit code."""
    from textgen.__main__ import main

    try:
        main()
        sys.stdout.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _spawned(arguments: list[str], folder: Path, stdin: bytes, timeout: float) -> Outcome:
    command = [sys.executable, "-m", "textgen", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, input=stdin, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(-9, "", "", timed_out=True)
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Outcome(done.returncode, out, err)
