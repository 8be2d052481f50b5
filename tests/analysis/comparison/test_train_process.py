"""Training in a process of its own: exit code, output, peak memory, signals, and why it failed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from textgen.analysis.comparison.train_process import failure_reason, run_training
from textgen.system.interrupts import StopRequest


def test_the_exit_code_and_the_peak_memory_are_those_of_the_process(tmp_path: Path) -> None:
    """Measured from a small process: Linux counts what a parent holds at the fork as its child's peak."""
    code = (
        "from textgen.analysis.comparison.train_process import run_training\n"
        "from textgen.system.interrupts import StopRequest\n"
        "calls = []\n"
        f"with open({str(tmp_path / 'log')!r}, 'wb') as output:\n"
        "    result = run_training(['--help'], output.fileno(), StopRequest(), lambda: calls.append(None))\n"
        "print(*result, len(calls))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    exit_code, peak, calls = map(int, output.split())
    assert exit_code == 0
    assert 5e6 < peak < 5e8
    assert calls
    assert "textgen train" in (tmp_path / "log").read_text()


def test_a_noted_signal_is_passed_on(tmp_path: Path) -> None:
    stop = StopRequest()
    stop.signal_number = signal.SIGKILL
    with (tmp_path / "log").open("wb") as output:
        code, _ = run_training(["--help"], output.fileno(), stop, lambda: None)
    assert code == -signal.SIGKILL


def test_on_windows_where_ctrl_c_reaches_all_processes_it_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.analysis.comparison.train_process._ON_WINDOWS", True)
    stop = StopRequest()
    stop.signal_number = signal.SIGKILL
    with (tmp_path / "log").open("wb") as output:
        code, _ = run_training(["--help"], output.fileno(), stop, lambda: None)
    assert code == 0


def test_an_error_meanwhile_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("Some words.\n" * 2000)
    run = tmp_path / "run"

    def fail_once_it_trains() -> None:
        if (run / "metrics.jsonl").exists():
            raise KeyboardInterrupt

    arguments = [str(tmp_path / "corpus.txt"), "--run", str(run), "--steps", "1000000", "--hidden-size", "8"]
    arguments += ["--cache-dir", str(tmp_path / "cache"), "--threads", "1"]
    with (tmp_path / "log").open("wb") as output, pytest.raises(KeyboardInterrupt):
        run_training(arguments, output.fileno(), StopRequest(), fail_once_it_trains)
    assert "textgen train --resume" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        ("warning\ntextgen: no such file.\n", 1, "no such file"),
        ("", 3, "exit code 3"),
        ("something", -9, "its process was ended by signal 9"),
    ],
)
def test_a_failure_is_explained_by_the_last_line_of_the_log(
    tmp_path: Path, log: str, code: int, reason: str
) -> None:
    (tmp_path / "log").write_text(log)
    assert failure_reason(tmp_path / "log", code) == reason
