"""Bytes that rot on a disk are noticed: rebuilt, restored from a copy, or refused; never believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.measurements import with_digest
from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--hidden-size 8 --embedding-dim 8 --batch-size 4 --seq-len 8 --steps 24 --no-early-stopping".split()


@pytest.fixture
def run(cli: Cli) -> Path:
    assert cli("train", "corpus.txt", *TINY, "--run", "one").exit_code == 0
    return Path("one")


def flip(path: Path, place: int | None = None) -> None:
    """Flip a bit, in the middle of the file unless a place is given."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def test_rotten_weights_are_refused_with_where_a_copy_is(cli: Cli, run: Path) -> None:
    whole = cli("sample", "one", "--seed", 1).stdout
    flip(run / "model.safetensors", -5)
    for command in (["sample", "one"], ["eval", "one"], ["score", "one", "corpus.txt"]):
        error = cli(*command).only_error
        assert (
            "model.safetensors: damaged: its SHA-256 is not that of what was written; copy it from one/"
            in error
        )
    shutil.copyfile(error.split("copy it from ")[1].strip(), run / "model.safetensors")
    assert cli("sample", "one", "--seed", 1).stdout == whole


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "files.json"])
def test_a_file_that_never_changes_is_compared_with_its_digest(cli: Cli, run: Path, name: str) -> None:
    text = (run / name).read_text()
    (run / name).write_text(text.replace("e", "a", 1))
    error = cli("sample", "one").only_error
    assert f"one/{name}: " in error
    assert "remove" in error
    (run / "files.json").unlink()
    if name == "config.json":
        (run / name).write_text(text)
        assert cli("sample", "one").exit_code == 0


def test_weights_without_a_digest_load_with_a_note(cli: Cli, run: Path) -> None:
    import safetensors.numpy

    whole = cli("sample", "one", "--seed", 1).stdout
    path = run / "model.safetensors"
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path)
    result = cli("sample", "one", "--seed", 1)
    assert result.stdout == whole
    assert "model.safetensors: made by an earlier version, without a SHA-256" in result.stderr


def test_a_rotten_checkpoint_without_another_one_is_refused(cli: Cli, run: Path) -> None:
    # As after a kill during the final evaluation.
    (newest,) = (run / "training").glob("step-*")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:-1]))
    flip(newest / "optimizer.safetensors")
    error = cli("train", "--resume", "one").only_error
    assert f"{newest}: damaged checkpoint (optimizer.safetensors has changed since it was written)" in error
    assert "textgen train --from one" in error


def test_rotten_lines_of_metrics_are_removed_on_resume_and_named_by_info(cli: Cli, run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    lines[1] = lines[1].replace('"step": 2', '"step": 3')
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert "metrics.jsonl, line 2: has changed since it was written" in cli("info", "one").only_error
    result = cli("train", "--resume", "one")
    assert result.exit_code == 0
    assert f"{path}: removed damaged lines: 2" in result.stderr
    assert [record["step"] for record in Run("one").metrics()] == [
        record["step"] for number, record in enumerate(records) if number != 1
    ]


def test_a_record_that_was_read_has_no_digest(run: Path) -> None:
    record = {"kind": "train", "step": 1, "epoch": 0.1, "seconds": 1.0}
    assert json.loads(with_digest(record)).keys() - record.keys() == {"digest"}
    assert all("digest" not in record for record in Run(run).metrics())


@pytest.mark.parametrize("kept", [0, 3])
def test_info_says_when_the_end_of_the_measurements_is_missing(cli: Cli, run: Path, kept: int) -> None:
    """Also where it is cut between two lines, or nothing is left."""
    path = run / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    assert "not complete; the end of metrics.jsonl is missing" in cli("info", "one").stdout


def test_resuming_a_finished_run_removes_checkpoints_that_a_kill_left(cli: Cli, run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    (newest,) = (run / "training").glob("step-*")
    shutil.copytree(newest, newest.with_name("step-3"))
    assert cli("train", "--resume", "one").exit_code == 0
    assert [*(run / "training").glob("step-*")] == [newest]
