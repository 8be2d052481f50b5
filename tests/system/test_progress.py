"""Progress: a bar in a terminal, lines in a pipe, nothing when silent, and no error when nobody reads."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types

import pytest

from textgen.evaluation.report import describe_loss
from textgen.system.progress import Reporter, Speedometer

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")

SHOW = """
import sys, time
from textgen.system.progress import Reporter
reporter = Reporter(sys.stdout)
reporter.work("encoding train", 1, 10)
time.sleep(0.2)  # a bar is redrawn at most ten times a second
reporter.work("encoding train", 5, 10)
reporter.work("encoding train", 10, 10)
reporter.training(0.25, "loss 1.5 nats/token")
reporter.line("a line")
reporter.close()
"""


def test_bars_in_a_terminal_disappear_when_they_are_done() -> None:
    import fcntl
    import struct
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", SHOW], stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            block = os.read(controller, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(controller)
    assert process.wait() == 0
    text = shown.decode()
    assert "encoding train:  50%" in text
    assert " 25%|" in text
    assert "loss 1.5 nats/token" in text
    # What stays on the screen is what follows the last carriage return of a line, unless that ends it.
    screen = [line.rstrip("\r").split("\r")[-1].strip() for line in text.split("\n")]
    assert [line for line in screen if line] == ["a line"]


def test_a_pipe_gets_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.work("encoding", 1, 2)
    reporter.training(0.5, "loss")
    reporter.line("a line")
    reporter.close()
    assert stream.getvalue() == "a line\n"
    assert capsys.readouterr() == ("", "")


def test_a_silent_reporter_prints_nothing_even_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("textgen.system.progress._is_terminal", lambda stream: True)
    reporter = Reporter(None)
    reporter.line("a line")
    reporter.work("encoding", 1, 2)
    reporter.training(0.5, "loss")
    reporter.close()
    assert reporter.is_silent
    assert not reporter.shows_bars
    assert capsys.readouterr() == ("", "")


def test_bars_are_shown_in_a_notebook_though_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    assert Reporter(io.StringIO()).shows_bars
    assert not Reporter(None).shows_bars


def test_a_stream_without_a_file_descriptor_may_break_too() -> None:
    class Broken(io.StringIO):
        lines = 0

        def write(self, text: str) -> int:
            self.lines += 1
            raise BrokenPipeError

    stream = Broken()
    reporter = Reporter(stream)
    for _ in range(3):
        reporter.line("a line")
    assert stream.lines == 1


def test_importing_the_reporter_loads_no_bars() -> None:
    code = "import sys, textgen.system.progress; print({'tqdm', 'asyncio', 'IPython'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_work_continues_when_the_reader_of_a_pipe_is_gone() -> None:
    code = (
        "import sys; from textgen.system.progress import Reporter; reporter = Reporter(sys.stdout)\n"
        "sys.stdin.readline(); [reporter.line('x' * 1000) for _ in range(99)]; print('done', file=sys.stderr)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stderr.read() == b"done\n"
        assert process.wait() == 0


def test_a_speed_counts_from_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    speed = Speedometer()
    speed.count(100)
    assert speed.read() == 50
    speed.count(20)
    assert speed.read() == 5


def test_time_in_which_the_clock_is_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 111.0, 112.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    speed = Speedometer()
    speed.count(100)
    with speed.stopped():
        pass
    assert speed.read() == 50


def test_a_loss_is_described_in_both_units() -> None:
    # One nat is 1.4427 bits; two characters share a token's.
    assert describe_loss(1.0, characters_per_token=2.0) == "1.0000 nats/token, 0.7213 bits/character"
