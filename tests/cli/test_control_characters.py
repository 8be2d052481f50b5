"""Names and texts of others cannot act on a terminal: every command shows their control characters."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals as POSIX has them")

ACTS = "\x1b[2J\x07\x9b1m\u202e\u2066\x7f"
TEXT = f"The dog {ACTS} and the cat.\n" * 30
TINY = "--steps 4 --evaluations 2 --hidden-size 8 --embedding-dim 4 --batch-size 2 --seq-len 8".split()
# Besides newlines and tabs: what acts, and is not one of our own sequences (colours, cursor up, clear line).
OURS = re.compile(r"\x1b\[[0-9;]*[mAK]|\r")
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def on_terminal(folder: Path, *arguments: object, bars: bool = False) -> str:
    """What a terminal receives from `textgen` as standard output and error.

    bars: progress bars may be shown, which move the cursor; else no sequence of ours is expected.
    """
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "XDG_CACHE_HOME": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    received = b""
    while True:
        try:
            block = os.read(controller, 2**16)
        except OSError:  # Linux: the other end is closed
            break
        if not block:
            break
        received += block
    os.close(controller)
    process.wait()
    text = received.decode().replace("\r\n", "\n")
    found = FORBIDDEN.search(OURS.sub("", text) if bars else text)
    assert found is None, f"{found!r} in {text[max(found.start() - 99, 0) :][:300]!r}"
    return text


@pytest.fixture
def run(make_run):
    """An untrained run whose name, settings and vocabulary have control characters."""
    made = make_run(f"bad{ACTS}run", text=TEXT)
    path = made.path / "config.json"
    config = json.loads(path.read_text())
    config["data"]["corpus"] = [f"/nowhere/{ACTS}.txt"]
    config["measured"] = {"parameters": 5, "train_characters": 7}
    path.write_text(json.dumps(config))
    return made


def test_info_shows_names_and_settings(run, tmp_path) -> None:
    listed = on_terminal(tmp_path, "info")
    assert "runs/bad␛[2J␇\\u009b1m\\u202e\\u2066␡run: 1 x 16 lstm" in listed
    assert "/nowhere/␛[2J␇" in on_terminal(tmp_path, "info", run.path)
    described = json.loads(on_terminal(tmp_path, "info", run.path, "--json").replace("␡", "\x7f"))
    assert described["corpus"] == [f"/nowhere/{ACTS}.txt"]


def test_a_sample_is_shown_whether_it_is_streamed_or_not(run, tmp_path) -> None:
    (tmp_path / "prompt").write_text(ACTS)
    for options in ((), ("--num-samples", 3)):
        text = on_terminal(tmp_path, "sample", run.path, "--prompt-file", "prompt", "--seed", 1, *options)
        assert "␛[2J␇\\u009b1m\\u202e" in text
        assert text.count("␛") > 1, "the model writes it too"


def test_a_pipe_gets_a_sample_as_it_is(run, tmp_path) -> None:
    (tmp_path / "prompt").write_text(ACTS)
    command = [sys.executable, "-m", "textgen", "sample", str(run.path), "--prompt-file", "prompt"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    written = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    assert written.decode().startswith(ACTS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--lines"], "dog ␛[2J␇\\u009b"),
        (["--tokens"], '"\\u001b"'),
        (["--view"], "␛"),
        ([], "\\u001b[2J"),
    ],
    ids=str,
)
def test_a_scored_text_is_shown(run, tmp_path, options, expected) -> None:
    name = f"letter{ACTS}.txt"
    (tmp_path / name).write_text(TEXT)
    text = on_terminal(tmp_path, "score", run.path, name, *options, bars=options in (["--view"], []))
    assert expected in text


def test_an_error_is_one_visible_line(run, tmp_path) -> None:
    text = on_terminal(tmp_path, "info", "no\x1b[2J\nsuch\u202erun")
    assert (
        text
        == "textgen: no␛[2J such\\u202erun: no such run directory; textgen info lists the runs in runs/\n"
    )
    text = on_terminal(tmp_path, "eval", run.path)
    announced, error = text.splitlines()
    assert announced.startswith("Reading what ")
    assert error.startswith("textgen: /nowhere/␛[2J")


def test_training_shows_samples_and_names(tmp_path) -> None:
    name = f"text{ACTS}.txt"
    (tmp_path / name).write_text(TEXT)
    text = on_terminal(tmp_path, "train", name, "--tokenizer", "char", *TINY, bars=True)
    assert "text␛[2J␇" in text
    run = next((tmp_path / "runs").iterdir())
    text = on_terminal(tmp_path, "inspect", run, bars=True)
    assert "in a browser" in text
    text = on_terminal(tmp_path, "eval", run, name, bars=True)
    assert "nats/token" in text
