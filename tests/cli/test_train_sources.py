"""`textgen train` on folders and on compressed text: what it reads, and what it says about it."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import textgen
from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 2 --evaluations 1 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


@pytest.fixture
def folder(text: str, tmp_path: Path) -> str:
    """A folder of code with a README."""
    (tmp_path / "code" / "src").mkdir(parents=True)
    (tmp_path / "code" / "README.md").write_text(text)
    for number in range(5):
        (tmp_path / "code" / "src" / f"{number}.py").write_text(f"print({number})\n" * 40)
        (tmp_path / "code" / "src" / f"{number}.c").write_text(f"int main() {{return {number};}}\n" * 40)
    return "code"


def test_a_folder_says_which_text_it_passes_over(cli: Cli, folder: str) -> None:
    result = cli("train", folder, *TINY)
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "skipped" in line)
    assert line == (
        "code: read 1 file; skipped 5 .c, 5 .py (--include '*.c' --include '*.py' reads these instead)."
    )


def test_the_files_of_a_folder_are_chosen_on_the_command_line_in_a_file_and_from_python(
    cli: Cli, folder: str, tmp_path: Path
) -> None:
    result = cli("train", folder, "--include", "*.py", "--include", "src/*.c", *TINY, "--run", "typed")
    assert result.exit_code == 0
    assert "skipped" not in result.stdout
    (tmp_path / "settings.toml").write_text('include = ["*.py", "src/*.c"]\n')
    assert cli("train", folder, "--config", "settings.toml", *TINY, "--run", "file").exit_code == 0
    options = {"steps": 2, "hidden_size": 8, "progress": False, "include": ["*.py", "src/*.c"]}
    textgen.train(folder, run="python", **options)
    texts = [Run(name).config.measured["train_characters"] for name in ("typed", "file", "python")]
    assert len(set(texts)) == 1
    assert {Run(name).data.include for name in ("typed", "file", "python")} == {("*.py", "src/*.c")}
    assert cli("eval", "typed").exit_code == 0
    assert cli("train", "--from", "typed", "--steps", 1, "--run", "tuned").exit_code == 0
    assert Run("tuned").data.include == ("*.py", "src/*.c")


def test_patterns_that_cannot_be_used_are_refused(cli: Cli, folder: str) -> None:
    assert "no argument is a folder" in cli("train", "corpus.txt", "--include", "*.py", *TINY).only_error
    assert "it has 5 .c, 5 .py" in cli("train", folder, "--include", "*.rs", *TINY).only_error
    with pytest.raises(textgen.TextgenError, match="include must be a list of texts in quotes, not"):
        textgen.train(folder, include="*.py")


def test_a_compressed_text_may_come_from_standard_input(
    cli: Cli, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(text.encode()))))
    assert cli("train", "-", *TINY, "--run", "piped").exit_code == 0
    assert cli("train", "corpus.txt", *TINY, "--run", "file").exit_code == 0
    sizes = {Run(name).config.measured["train_characters"] for name in ("piped", "file")}
    assert len(sizes) == 1
    assert cli("eval", "piped").exit_code == 0


def test_a_damaged_text_is_refused_in_one_line(cli: Cli, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode())[:-9])
    error = cli("train", "a.txt.gz", *TINY).only_error
    assert "a.txt.gz: damaged gzip file (it is cut short); compress it again" in error
