"""A run finds its text after a folder that holds both is renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
import tokenizers
from click.testing import CliRunner

from textgen.cli import eval as evaluation
from textgen.cli import train as training
from textgen.errors import CorpusError, RunError
from textgen.run import Run
from textgen.settings.given import read_options

TINY = "--steps 4 --evaluations 1 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16".split()
TEXT = "the dog sat on the mat and the cat sat on the dog\n" * 60


def invoke(command: click.Command, *arguments: object) -> str:
    """Run a command in this process; a refusal is raised."""
    result = CliRunner().invoke(command, [*map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with text, held-out text, and the runs `first` and `second`, tuned from it; after its move."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before, after = tmp_path / "poems", tmp_path / "verses"
    (before / "texts").mkdir(parents=True)
    monkeypatch.chdir(before)
    for name in ("a", "b"):
        Path(f"texts/{name}.txt").write_text(f"{name}: {TEXT}")
    Path("held.txt").write_text(TEXT[:500])
    invoke(training.command, "texts/*.txt", "--val", "held.txt", "--run", "runs/first", *TINY)
    invoke(training.command, "--from", "runs/first", "--run", "runs/second", "--steps", "2")
    monkeypatch.chdir(tmp_path)
    before.rename(after)
    return after


def test_a_moved_run_is_evaluated_and_repeated(moved: Path) -> None:
    figures = json.loads(invoke(evaluation.command, moved / "runs/second", "--json"))
    assert figures["characters"] == 500
    options = read_options(moved / "runs/second")
    assert options["corpus"] == (str(moved / "texts/*.txt"),)
    assert options["val"] == str(moved / "held.txt")
    assert options["from_run"] == str(moved / "runs/first")
    invoke(training.command, "--config", moved / "runs/first", "--run", moved / "runs/third")
    kept = [(moved / "runs" / name / "model.safetensors").read_bytes() for name in ("first", "third")]
    assert kept[0] == kept[1]


def test_a_moved_run_is_opened_by_a_relative_path(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(moved / "runs" / "first")
    assert Run(".").open_corpus().size("val").characters == 500


def test_text_that_changed_is_refused(moved: Path) -> None:
    (moved / "texts" / "a.txt").write_text("something else\n" * 60)
    with pytest.raises(RunError, match="the corpus has changed since"):
        invoke(evaluation.command, moved / "runs/first")


def test_text_that_was_not_moved_and_is_gone_is_reported_at_its_old_path(moved: Path, tmp_path: Path) -> None:
    (moved / "held.txt").unlink()
    with pytest.raises(CorpusError, match=str(tmp_path / "poems" / "held.txt")):
        invoke(evaluation.command, moved / "runs/first")


def test_text_that_was_not_moved_is_read_from_its_old_path(moved: Path, tmp_path: Path) -> None:
    (moved / "runs").rename(tmp_path / "runs")
    moved.rename(tmp_path / "poems")
    assert Run(tmp_path / "runs/first").data.val == str(tmp_path / "poems" / "held.txt")
    invoke(evaluation.command, tmp_path / "runs/first")


def test_the_old_path_may_be_in_a_folder_that_may_not_be_read(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path / "poems")):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert Run(moved / "runs/first").data.val == str(moved / "held.txt")


def test_a_moved_run_with_a_tokenizer_file_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before, after = tmp_path / "poems", tmp_path / "verses"
    before.mkdir()
    (before / "corpus.txt").write_text(TEXT)
    tokens = ["<|end|>", *sorted(set(TEXT))]
    library = tokenizers.Tokenizer(tokenizers.models.BPE({token: n for n, token in enumerate(tokens)}, []))
    library.save(str(before / "plain.json"))
    monkeypatch.chdir(before)
    said = "--tokenizer", "plain.json", "--end-of-text", "<|end|>"
    invoke(training.command, "corpus.txt", *said, "--run", "first", *TINY)
    invoke(training.command, "--from", "first", *said, "--run", "second", "--steps", "2")
    monkeypatch.chdir(tmp_path)
    before.rename(after)
    invoke(training.command, "--config", after / "second", "--run", after / "third")
    assert Run(after / "third").config.data.tokenizer == str(after / "plain.json")


def test_a_run_whose_config_has_no_directory_keeps_its_paths(moved: Path, tmp_path: Path) -> None:
    config = moved / "runs/first/config.json"
    content = json.loads(config.read_text())
    del content["directory"]
    config.write_text(json.dumps(content))
    assert Run(config.parent).data.val == str(tmp_path / "poems" / "held.txt")
