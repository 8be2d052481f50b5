"""Signals during training: recorded while there is something to save, an error otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textgen.errors import Interrupted
from textgen.system.exits import raise_at_signals
from textgen.system.interrupts import StopRequest


def test_a_deferred_signal_is_recorded_and_a_second_one_interrupts() -> None:
    with StopRequest() as stop:
        stop.deferred = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_with_nothing_to_save_a_signal_interrupts_at_once_with_the_exit_code_of_shells() -> None:
    with StopRequest() as stop:
        stop.hint = "Start again."
        with pytest.raises(Interrupted, match="Start again") as error:
            signal.raise_signal(signal.SIGTERM)
    assert error.value.exit_code == 143


def test_a_recorded_signal_interrupts_when_deferral_ends() -> None:
    with StopRequest() as stop:
        stop.deferred = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as error:
            stop.end_deferral()
    assert error.value.exit_code == 130


def test_the_previous_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


LAUNCHED = """
import pathlib, time
from textgen.system.interrupts import StopRequest
with StopRequest(is_launched=True) as stop:
    stop.deferred = True
    pathlib.Path("ready").touch()
    while not stop.signal_number:
        time.sleep(0.05)
pathlib.Path("partial").write_text(str(stop.signal_number))
pathlib.Path("partial").rename("stopped")
"""
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def until_there(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < limit, f"no {path.name}"
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_launched_process_is_stopped_when_its_launcher_was_killed(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, LAUNCHED], cwd=tmp_path, env=environment)
    until_there(tmp_path / "ready")
    launcher.kill()
    launcher.wait()
    until_there(tmp_path / "stopped")
    assert int((tmp_path / "stopped").read_text()) == signal.SIGTERM


def test_a_launched_process_that_has_ended_its_training_ignores_the_launchers_signal() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with StopRequest(is_launched=True):
            pass
        with raise_at_signals():
            signal.raise_signal(signal.SIGTERM)
        with raise_at_signals(), StopRequest(is_launched=True):
            pass
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
