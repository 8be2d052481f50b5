"""A checkpoint is complete or refused, with an error that says what to do."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from textgen.errors import RunError
from textgen.training.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    checkpoint_path,
    load_checkpoint,
    newest_checkpoint,
    remove_others,
    save_checkpoint,
    set_aside,
)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        progress={"step": step, "seconds": 1.5},
        weights={"w": torch.arange(6.0).reshape(2, 3)},
        optimizer={"w/exp_avg": torch.ones(2, 3)},
        carried={"state/0": torch.ones(1, 2, 3, dtype=torch.bfloat16)},
        best={"w": np.ones((2, 3), np.float32)},
    )


def test_a_checkpoint_is_loaded_as_it_was_saved_dtypes_included(tmp_path: Path) -> None:
    saved = checkpoint(7)
    found = load_checkpoint(save_checkpoint(tmp_path, saved))
    assert found.progress == saved.progress
    assert found.carried["state/0"].dtype == torch.bfloat16
    for part in ("weights", "optimizer", "carried"):
        for name, tensor in getattr(saved, part).items():
            assert torch.equal(getattr(found, part)[name], tensor)
    assert np.array_equal(found.best["w"], saved.best["w"])


def test_the_newest_checkpoint_is_that_of_the_highest_step_and_others_are_removed(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        path = save_checkpoint(tmp_path, checkpoint(step))
    assert newest_checkpoint(tmp_path) == path
    (tmp_path / ".step-120.x1y2").mkdir()  # half built by a process that was killed
    remove_others(tmp_path, keep={9, 100})
    assert {entry.name for entry in tmp_path.iterdir()} == {"step-9", "step-100"}


@pytest.mark.parametrize("name", ["weights.safetensors", "progress.json", "best.safetensors"])
def test_a_damaged_checkpoint_is_set_aside_if_there_is_another(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))
    (path / name).write_bytes((path / name).read_bytes()[:-9])
    with pytest.raises(DamagedCheckpoint, match=r"step-3: damaged .* Put a copy of it there, or") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not set_aside(path, error.value)  # it is the only one
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step))
    assert set_aside(path, error.value)
    assert "step-3: damaged checkpoint" in caplog.text
    assert caplog.text.endswith("; resuming from step-2 instead\n")
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 2)
    remove_others(tmp_path, keep={2})
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-2"]


@pytest.mark.parametrize("part", ["weights", "optimizer", "carried", "best"])
def test_any_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path, part: str) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3)) / f"{part}.safetensors"
    whole = path.read_bytes()
    rng = random.Random(0)
    for place in rng.sample(range(len(whole)), 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match=f"{path.name} has changed"):
            load_checkpoint(path.parent)


def test_a_checkpoint_of_an_earlier_version_has_no_digests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))
    progress = load_checkpoint(path).progress
    (path / "progress.json").write_text(json.dumps(progress))
    assert load_checkpoint(path).progress == progress
    assert "made by an earlier version, without a SHA-256" in caplog.text


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path, checkpoint(3))
    tmp_path.joinpath("blocked").write_text("a file where a folder is needed")
    with pytest.raises(RunError, match="cannot be written"):
        save_checkpoint(tmp_path / "blocked", checkpoint(4))
    assert newest_checkpoint(tmp_path) == first


def test_a_checkpoint_that_lacks_a_file_is_damaged(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))
    (path / "best.safetensors").unlink()
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(path)


def test_a_checkpoint_that_the_disk_does_not_give_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))

    def fail(path: Path, limit: int, what: str) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("textgen.training.checkpoint.read_bounded", fail)
    with pytest.raises(RunError, match=r"cannot be read \(Input/output error\); check the disk"):
        load_checkpoint(path)


NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")
@pytest.mark.parametrize("name", ["", "step-3", "step-3/progress.json", "step-3/weights.safetensors"])
def test_what_may_not_be_read_is_neither_damaged_nor_missing(open_folder: Path, name: str) -> None:
    save_checkpoint(open_folder / "training", checkpoint(3))
    path = open_folder / "training" / name
    path.chmod(0)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from textgen.training.checkpoint import load_checkpoint, newest_checkpoint\n"
        f"if os.geteuid() == 0: os.setuid({NOBODY})\n"  # root may read everything
        "try: load_checkpoint(newest_checkpoint(Path(sys.argv[1])))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(open_folder / "training")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path.chmod(0o755)
    assert (
        printed == f"RunError {path}: may not be read by this user; check its permissions, and resume again\n"
    )
