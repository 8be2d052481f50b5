"""A folder with runs and their text is renamed: all that needs the text still finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tokenizers

from textgen.errors import CorpusError, RunError
from textgen.run import Run
from textgen.settings.files import read_options

if TYPE_CHECKING:
    from tests.conftest import Invoke

TINY = "--steps 4 --evaluations 1 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16".split()
TEXT = "the dog sat on the mat and the cat sat on the dog\n" * 60


@pytest.fixture
def moved(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with text, held-out text, and the runs `first` and `second`, tuned from it; after its move."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before, after = tmp_path / "poems", tmp_path / "verses"
    (before / "texts").mkdir(parents=True)
    monkeypatch.chdir(before)
    for name in ("a", "b"):
        Path(f"texts/{name}.txt").write_text(f"{name}: {TEXT}")
    Path("held.txt").write_text(TEXT[:500])
    invoke("train", "texts/*.txt", "--val", "held.txt", "--run", "runs/first", *TINY)
    invoke("train", "--from", "runs/first", "--run", "runs/second", "--steps", "2")
    monkeypatch.chdir(tmp_path)
    before.rename(after)
    return after


def test_a_moved_run_is_evaluated_and_repeated(invoke: Invoke, moved: Path) -> None:
    figures = json.loads(invoke("eval", moved / "runs/second", "--json").stdout)
    assert figures["characters"] == 500
    options = read_options(moved / "runs/second").names()
    assert options["corpus"] == (str(moved / "texts/*.txt"),)
    assert options["val"] == str(moved / "held.txt")
    assert options["from_run"] == str(moved / "runs/first")
    invoke("train", "--config", moved / "runs/first", "--run", moved / "runs/third")
    kept = [(moved / "runs" / name / "model.safetensors").read_bytes() for name in ("first", "third")]
    assert kept[0] == kept[1]


def test_a_moved_run_opens_by_a_relative_path(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(moved / "runs" / "first")
    assert Run(".").open_corpus().size("val").characters == 500


def test_a_text_that_changed_is_refused(invoke: Invoke, moved: Path) -> None:
    (moved / "texts" / "a.txt").write_text("something else\n" * 60)
    with pytest.raises(RunError, match="the corpus has changed since"):
        invoke("eval", moved / "runs/first")


def test_a_text_that_was_not_moved_along_is_reported_missing_at_its_old_path(
    invoke: Invoke, moved: Path, tmp_path: Path
) -> None:
    (moved / "held.txt").unlink()
    with pytest.raises(CorpusError, match=str(tmp_path / "poems" / "held.txt")):
        invoke("eval", moved / "runs/first")


def test_a_text_that_was_not_moved_is_read_at_its_old_path(
    invoke: Invoke, moved: Path, tmp_path: Path
) -> None:
    (moved / "runs").rename(tmp_path / "runs")
    moved.rename(tmp_path / "poems")
    assert Run(tmp_path / "runs/first").data.val == str(tmp_path / "poems" / "held.txt")
    invoke("eval", tmp_path / "runs/first")


def test_the_old_folder_may_be_unreadable(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path / "poems")):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert Run(moved / "runs/first").data.val == str(moved / "held.txt")


def test_a_moved_fine_tuned_run_with_an_external_tokenizer_is_repeated(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before, after = tmp_path / "poems", tmp_path / "verses"
    before.mkdir()
    (before / "corpus.txt").write_text(TEXT)
    tokens = ["<|end|>", *sorted(set(TEXT))]
    library = tokenizers.Tokenizer(tokenizers.models.BPE({token: n for n, token in enumerate(tokens)}, []))
    library.save(str(before / "plain.json"))
    monkeypatch.chdir(before)
    options = "--tokenizer", "plain.json", "--end-of-text", "<|end|>"
    invoke("train", "corpus.txt", *options, "--run", "first", *TINY)
    invoke("train", "--from", "first", *options, "--run", "second", "--steps", "2")
    monkeypatch.chdir(tmp_path)
    before.rename(after)
    invoke("train", "--config", after / "second", "--run", after / "third")
    assert Run(after / "third").config.data.tokenizer == str(after / "plain.json")


def test_a_run_without_its_original_directory_keeps_its_paths(
    moved: Path, tmp_path: Path, rewrite: Callable[[Path, Any], None]
) -> None:
    config = moved / "runs/first/config.json"
    content = json.loads(config.read_text())
    del content["directory"]
    rewrite(config, content)
    assert Run(config.parent).data.val == str(tmp_path / "poems" / "held.txt")
