"""Runs `textgen train` in a process of its own and measures the peak memory of that process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from textgen.system.interrupts import StopRequest

POLL_SECONDS = 0.1
_ON_WINDOWS = os.name == "nt"
SAVE_SECONDS = 60.0  # how long a process that is asked to end may take to save a checkpoint


def run_training(
    arguments: Sequence[str], output: int, stop: StopRequest, while_running: Callable[[], None]
) -> tuple[int, int | None]:
    """Run `textgen train` with these arguments to its end; returns its exit code and peak memory in bytes.

    output is the file descriptor that its standard output and standard error go to. A signal recorded in
    `stop` is passed on to the process once. while_running is called every POLL_SECONDS. The peak memory is
    None where the system does not report it (Windows).
    """
    # -P keeps Python from importing modules out of the current directory, where -m would look first.
    command = [sys.executable, "-P", "-m", "textgen", "train", *arguments]
    # A process group of its own: a terminal sends Ctrl-C to the whole foreground group, and a second signal
    # would end training before it has saved. It gets the one that is passed on.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
    )
    ended, is_signalled = None, False
    try:
        while (ended := _poll(process)) is None:
            if stop.signal_number is not None and not is_signalled:
                _pass_on(process, stop.signal_number)
                is_signalled = True
            while_running()
            time.sleep(POLL_SECONDS)
    finally:
        if ended is None:
            _terminate(process)
    return ended


def failure_reason(log: Path, code: int) -> str:
    """Why a process failed, from its exit code and the last line of its log."""
    if code < 0:
        return f"its process was ended by signal {-code}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1].removeprefix("textgen: ").rstrip(".") if lines else f"exit code {code}"


def _poll(process: subprocess.Popen[bytes]) -> tuple[int, int | None] | None:
    """Exit code and peak memory in bytes of a process that has ended; None while it runs."""
    if not hasattr(os, "wait4"):  # Windows
        code = process.poll()
        return None if code is None else (code, None)
    number, status, usage = os.wait4(process.pid, os.WNOHANG)
    if number == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    # ru_maxrss is in units of 1024 bytes on Linux and in bytes on macOS.
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _pass_on(process: subprocess.Popen[bytes], number: int) -> None:
    """Pass a signal on to a process, so that it saves and ends.

    On Windows, Ctrl-C has reached it already, as there are no process groups of that kind, and os.kill would
    end it before it has saved.
    """
    if not _ON_WINDOWS:
        os.kill(process.pid, number)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, giving it SAVE_SECONDS to save before it is killed."""
    process.terminate()
    try:
        process.wait(SAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
