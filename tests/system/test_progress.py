"""What a person sees: a bar on a terminal, lines in a pipe, and no end of the work when nobody reads."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from textgen.evaluation.report import describe_loss
from textgen.system.progress import Reporter, Speedometer

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")

SHOW = """
import sys, time
from textgen.system.progress import Reporter
reporter = Reporter(sys.stdout)
reporter.work("encoding train", 1, 10)
time.sleep(0.2)  # a bar is drawn anew ten times a second at most
reporter.work("encoding train", 5, 10)
reporter.work("encoding train", 10, 10)
reporter.training(0.25, "loss 1.5 nats/token")
reporter.line("a line")
reporter.close()
"""


def test_a_terminal_shows_bars_that_leave_nothing_behind() -> None:
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
    # What stays on the screen of a line is what follows its last carriage return that is not its end.
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


def test_the_work_goes_on_when_the_reader_went_away() -> None:
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


def test_a_speed_is_of_the_time_since_it_was_last_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    speed = Speedometer()
    speed.count(100)
    assert speed.read() == 50
    speed.count(20)
    assert speed.read() == 5


def test_the_time_in_which_a_speed_is_stopped_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 111.0, 112.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    speed = Speedometer()
    speed.count(100)
    with speed.stopped():
        pass
    assert speed.read() == 50


def test_a_loss_is_told_in_both_units() -> None:
    # One nat is 1.4427 bits; two characters share a token's.
    assert describe_loss(1.0, characters_per_token=2.0) == "1.0000 nats/token, 0.7213 bits/character"
