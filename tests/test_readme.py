"""What the README shows works: every textgen and scripts line runs, in order.

Those that take long run with a smaller budget.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = "--steps 3 --hidden-size 8 --embedding-dim 8".split()


def shell_lines() -> list[str]:
    """The lines of the sh blocks that call textgen or a script; those with && by their parts, no pipes."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    lines = [part.strip() for block in blocks for line in block.splitlines() for part in line.split(" && ")]
    lines = [line.removeprefix(".venv/bin/").split(" | ")[0] for line in lines]
    return [line for line in lines if line.startswith(("textgen ", "python scripts/"))]


def smaller(arguments: list[str]) -> list[str]:
    """The same command with a budget for a test: a few steps of a tiny network, one epoch of regression."""
    if arguments[:1] == ["scripts/copy_task.py"]:
        return [*arguments, "--delays", "1,2", "--seeds", "1", "--steps", "3"]
    if arguments[:1] == ["scripts/regression.py"]:
        kept = [
            argument for argument in arguments if argument != "--keras"
        ]  # the comparison has its own test
        return [*kept, "--epochs", "1", "--repeats", "3"]
    trains = "compare", "gradients", "train"
    if arguments[0] not in trains or arguments[1].startswith("runs/") or "--resume" in arguments:
        return arguments
    if "--minutes" in arguments:
        at = arguments.index("--minutes")
        arguments = arguments[:at] + arguments[at + 2 :]
    if arguments[0] == "compare":
        return [*arguments, "--minutes", "0.04", "--seeds", "1", "--hidden-size", "8"]
    if arguments[0] == "gradients":
        return [*arguments, "--train-steps", "3", "--hidden-size", "8", "--steps", "5", "--tokens", "2000"]
    if "runs/long" in arguments:  # to be interrupted
        return [*arguments, "--steps", "400", *SMALL[2:]]
    fixed = "--from" in arguments or "--config" in arguments
    return arguments + (SMALL[:2] if fixed else SMALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a fresh clone."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("data", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def start(line: str, cwd: Path) -> subprocess.Popen[str]:
    program, *arguments = shlex.split(line, comments=True)
    module = ["-m", "textgen"] if program == "textgen" else []
    command = [sys.executable, *module, *smaller(arguments)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cwd / "cache"), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def press_ctrl_c(process: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("line", shell_lines(), ids=lambda line: line[:60])
def test_a_line_of_the_readme_works(line: str, clone: Path) -> None:
    interrupted = "press Ctrl-C" in line
    process = start(line, clone)
    if interrupted:
        press_ctrl_c(process, clone / "runs" / "long")
    out, err = process.communicate(timeout=120)
    assert process.returncode == (130 if interrupted else 0), err
    assert out or "--output" in line


def test_the_python_of_the_readme_works(clone: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_two_commands_stand_in_the_readme() -> None:
    first, second = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert "textgen train data/faq.txt" in first
    assert "textgen sample" in first
    assert "@@" not in README
    assert second.endswith("-m pytest")
