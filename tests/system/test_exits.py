"""Ctrl-C and SIGTERM at any moment: one line and the exit code of shells; with real processes and signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
LINES = {signal.SIGINT: "textgen: interrupted\n", signal.SIGTERM: "textgen: terminated\n"}
SIGNALS = pytest.mark.parametrize("number", LINES, ids=lambda number: number.name)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)


def signalled(code: str, number: signal.Signals) -> tuple[int, str, str]:
    """Run code and send it a signal when it has printed a line; exit code, the rest of the output, errors."""
    process = start("-c", "import sys, time, signal\nfrom textgen.system.exits import *\n" + code)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def check_at(moments: Sequence[float], number: signal.Signals) -> set[int]:
    """Send a signal to `textgen --help` at some moments; the exit codes."""
    codes = set()
    for moment in moments:
        process = start("-m", "textgen", "--help")
        time.sleep(moment)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        # Before the first line of textgen, Python ends as it likes: with a traceback of its own for Ctrl-C.
        ours = set(re.findall(r'/(textgen/[\w/]+\.py)", line', err)) - {"textgen/__init__.py"}
        if ours and ours <= {"textgen/__main__.py", "textgen/system/exits.py"}:
            # While these few lines are loaded, and what they import.
            assert "import exit_at_signals" in err
            assert "exit_at_signals()" not in err
        elif "Traceback" in err or process.returncode == 1:
            assert not ours, err
        else:
            assert process.returncode in (0, 128 + number, -number)
            # click ends the terminal's line with ^C first.
            assert err.lstrip("\n") == ("" if process.returncode in (0, -number) else LINES[number])
            assert out.startswith("Usage: textgen") or process.returncode != 0
            codes.add(process.returncode)
    return codes


@SIGNALS
def test_a_signal_while_textgen_starts_gives_one_line(number: signal.Signals) -> None:
    assert 128 + number in check_at([0.3 * step / 24 for step in range(24)], number)


@pytest.mark.slow
@SIGNALS
def test_a_signal_at_any_moment_gives_one_line(number: signal.Signals) -> None:
    assert 128 + number in check_at([0.3 * step / 300 for step in range(300)], number)


@SIGNALS
def test_a_signal_while_a_module_is_imported_is_not_caught_by_the_module(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "hesitant.py").write_text(
        "import time\ntry: print(flush=True); time.sleep(20)\nexcept BaseException: print('caught')\n"
    )
    code = f"sys.path.append({str(tmp_path)!r})\nwith raise_at_signals(): import hesitant"
    assert signalled(code, number) == (128 + number, "", LINES[number])


@SIGNALS
@pytest.mark.parametrize(
    "work",
    [
        "import atexit; atexit.register(lambda: (print(flush=True), time.sleep(20)))",
        "import threading; threading.Thread(target=lambda: (print(flush=True), time.sleep(3))).start()",
    ],
    ids=["exit handler", "thread"],
)
def test_a_signal_while_python_ends_gives_one_line(number: signal.Signals, work: str) -> None:
    code = (
        "from textgen.__main__ import main\nimport textgen.cli\n"
        f"def command():\n    with raise_at_signals():\n        {work}\n"
        "textgen.cli.main = command\nmain()"
    )
    code, _, err = signalled(code, number)
    assert (code, err) == (128 + number, LINES[number])


def test_a_signal_after_the_last_exit_handler_ends_the_process() -> None:
    code = "import atexit\natexit.register(lambda: (print(flush=True), time.sleep(20)))\nexit_at_signals()\n"
    assert signalled(code, signal.SIGTERM) == (-signal.SIGTERM, "", "")


@SIGNALS
def test_a_signal_where_an_exception_would_only_be_printed_ends_the_process(number: signal.Signals) -> None:
    code = (
        "class Slow:\n    def __del__(self): print(flush=True); time.sleep(20)\n"
        "with raise_at_signals():\n    del (slow := [Slow()])[0]\n    print('went on')"
    )
    assert signalled(code, number) == (128 + number, "", LINES[number])


@SIGNALS
def test_the_first_signal_is_an_exception_and_another_ends_the_process(number: signal.Signals) -> None:
    code = (
        "from textgen.errors import Interrupted\n"
        "with raise_at_signals():\n"
        "    try: signal.raise_signal(signal.Signals({number}))\n"
        "    except (KeyboardInterrupt, Interrupted) as error: print(type(error).__name__, flush=True)\n"
        "    time.sleep(20)"
    ).replace("{number}", str(int(number)))
    assert signalled(code, number) == (128 + number, "", LINES[number])


def test_what_was_before_is_restored_and_what_is_ignored_stays_so() -> None:
    code = (
        "exit_at_signals()\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "before = signal.getsignal(signal.SIGINT), sys.unraisablehook\n"
        "with raise_at_signals():\n    signal.raise_signal(signal.SIGTERM)\n    assert before[0] != "
        "signal.getsignal(signal.SIGINT)\n"
        "assert before == (signal.getsignal(signal.SIGINT), sys.unraisablehook)\n"
        "signal.raise_signal(signal.SIGTERM)\nprint(flush=True)\ntime.sleep(20)"  # it went on
    )
    assert signalled(code, signal.SIGINT) == (130, "", LINES[signal.SIGINT])


def test_in_a_thread_nothing_changes() -> None:
    code = (
        "import threading\n"
        "def work():\n    exit_at_signals()\n    with raise_at_signals(): print('fine')\n"
        "threading.Thread(target=work).start()"
    )
    process = start("-c", "from textgen.system.exits import *\n" + code)
    assert process.communicate(timeout=30) == ("fine\n", "")
