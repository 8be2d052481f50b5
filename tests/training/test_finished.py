"""`--resume` of a complete run: what a kill after the last record prevented is done then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.run import PICTURE, Run
from textgen.system.locks import folder_lock

if TYPE_CHECKING:
    from tests.conftest import Cli

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_the_picture_that_a_kill_prevented_is_drawn(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    trained = json.loads(cli("train", "corpus.txt", *TINY, "--run", "one", "--json").stdout)
    picture = (Run("one").path / PICTURE).read_bytes()
    (Run("one").path / PICTURE).unlink()
    (tmp_path / "one" / f".{PICTURE}.abcdefgh").write_bytes(picture[:100])
    before = {path for path in (tmp_path / "one").rglob("*") if PICTURE not in path.name}

    with folder_lock(Run("one").training_directory):  # as by the process that is about to draw it
        assert "another process" in cli("train", "--resume", "one").only_error
    result = cli("train", "--resume", "one")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"this run is complete. Its missing {PICTURE} was drawn." in result.stdout
    assert (Run("one").path / PICTURE).read_bytes() == picture
    assert set((tmp_path / "one").rglob("*")) == before | {tmp_path / "one" / PICTURE}

    again = cli("train", "--resume", "one", "--json")
    assert "was drawn" not in again.stderr
    result = json.loads(again.stdout)
    assert result.pop("seconds") == pytest.approx(trained.pop("seconds"), abs=0.11)
    assert result == trained


def test_without_matplotlib_a_complete_run_is_complete(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    monkeypatch.setattr("textgen.training.finished.can_draw", lambda: False)
    cli("train", "corpus.txt", *TINY, "--run", "one")
    result = cli("train", "--resume", "one")
    assert result.exit_code == 0
    assert "drawn" not in result.stdout
    assert not (Run("one").path / PICTURE).exists()
