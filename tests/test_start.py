"""Starting is quick: no help loads torch, and `textgen` and `python -m textgen` are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from textgen.cli import COMMANDS

HELPS = [["--help"], *([command, "--help"] for command in COMMANDS)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_loads_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from textgen.cli import group\n"
        f"try: group.main({arguments!r}, prog_name='textgen')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    lines = run("-c", code).stdout.splitlines()
    assert lines[0].startswith("Usage: textgen")
    assert lines[-1] == "False"


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_takes_at_most_150_ms_more_than_python_itself(arguments: list[str]) -> None:
    def seconds(*command: str) -> float:
        before = os.times()
        run(*command)
        after = os.times()
        used = after.children_user - before.children_user, after.children_system - before.children_system
        return sum(used)

    # Of the processor, and the best of a few: on a busy machine a clock measures its other work.
    differences = [seconds("-m", "textgen", *arguments) - seconds("-c", "pass") for _ in range(5)]
    assert min(differences) <= 0.15


def test_training_loads_no_compiler_of_torch(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("A line of text, and another one.\n" * 100)
    places = ["corpus.txt", "--run", "run", "--cache-dir", "cache"]
    arguments = ["textgen", "train", *places, "--steps", "2", "--hidden-size", "8", "--evaluations", "1"]
    code = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); sys.argv = {arguments!r}\n"
        "from textgen.cli import main; main(); print(*{'torch', 'torch._dynamo'} & sys.modules.keys())"
    )
    assert run("-c", code).stdout.splitlines()[-1] == "torch"


@pytest.mark.parametrize(("closed", "exit_code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_a_closed_output_is_not_an_error(closed: str, exit_code: int) -> None:
    command = f"{sys.executable} -m textgen --version {closed}"
    assert subprocess.run(command, shell=True, check=False).returncode == exit_code


def test_module_and_command_are_the_same() -> None:
    script = (
        "import sys; sys.argv = ['textgen', '--help']; from importlib.metadata import entry_points\n"
        "(entry,) = [e for e in entry_points(group='console_scripts') if e.name == 'textgen']\n"
        "entry.load()()"
    )
    assert run("-m", "textgen", "--help").stdout == run("-c", script).stdout


def test_the_version_of_the_command_is_that_of_the_package() -> None:
    import textgen

    assert run("-m", "textgen", "--version").stdout.split()[-1] == textgen.__version__ == version("textgen")


def test_a_clone_that_is_not_installed_runs(tmp_path: Path) -> None:
    """Only the code is there: no metadata of an installed package is read."""
    (tmp_path / "textgen").symlink_to(Path(__file__).parents[1] / "textgen")
    code = (
        "import importlib.metadata, runpy, sys\n"
        "def missing(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = importlib.metadata.distribution = missing\n"
        "sys.argv = ['textgen', '--version']; runpy.run_module('textgen', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("textgen, version ")
