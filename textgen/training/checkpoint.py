"""Checkpoints: directories, written completely or not at all, from which training continues bit for bit.

    training/step-<n>/
        weights.safetensors     the network's parameters at step n
        optimizer.safetensors   AdamW's moments, by parameter
        carried.safetensors     state carried between windows, running sums, random generators
        best.safetensors        the best weights so far, to be copied to model.safetensors
        progress.json           step, seconds used, place in the data, best loss, length of metrics.jsonl;
                                SHA-256 digests of the other files, and of itself

The order of writing makes a kill at any moment harmless: metrics.jsonl is flushed, the checkpoint appears
under its name, model.safetensors is replaced by the best weights, and older checkpoints are removed, except
for those that training may go back to when it diverges (rollback.py). Resuming takes the newest checkpoint,
cuts metrics.jsonl back to the length that it stores, and replaces model.safetensors.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from textgen.errors import RunError
from textgen.system.atomic import new_directory
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.digests import file_digest, is_sealed, require_files, sealed, unsealed
from textgen.weights.file import weights_file


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The complete training state at one step."""

    progress: dict[str, Any]  # only what JSON can hold
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    carried: dict[str, Tensor]
    best: dict[str, np.ndarray]  # empty before the first evaluation

    @property
    def step(self) -> int:
        """The number of optimizer steps taken."""
        return int(self.progress["step"])

    def copied(self) -> Checkpoint:
        """A copy, with all tensors on the CPU."""

        def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            weights=copies(self.weights),
            optimizer=copies(self.optimizer),
            carried=copies(self.carried),
        )


_log = logging.getLogger(__name__)

_NAME = re.compile(r"step-\d+")
_DIGESTS = "files"  # in progress.json
_FILES = ("progress.json", *(f"{name}.safetensors" for name in ("weights", "optimizer", "carried", "best")))
# Checkpoints that a kill left half written or half removed have a dot in front and a suffix.
_OURS = re.compile(rf"{_NAME.pattern}|\.{_NAME.pattern}\..*")


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write training/step-<n>/, completely or not at all. Raises RunError when it cannot be written."""
    path = checkpoint_path(directory, checkpoint.step)
    if path.exists():  # an interruption right after an evaluation: nothing has changed since
        return path
    try:
        with new_directory(path) as building:
            _write(building, checkpoint)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be written ({error}); the previous checkpoint is kept") from error
    return path


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    for name in ("weights", "optimizer", "carried"):
        tensors = {key: value.detach().cpu().contiguous() for key, value in getattr(checkpoint, name).items()}
        safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    (folder / "best.safetensors").write_bytes(weights_file(checkpoint.best))
    digests = {path.name: file_digest(path) for path in folder.iterdir()}
    progress = sealed(checkpoint.progress | {_DIGESTS: digests})
    (folder / "progress.json").write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")


def remove_others(directory: Path, keep: Collection[int | None]) -> None:
    """Remove all checkpoints except those of the steps in keep (None is ignored), and unfinished ones."""
    names = {_name(step) for step in keep if step is not None}
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name in names or _OURS.fullmatch(path.name) is None:
            continue
        if not path.name.startswith("."):
            # Rename it first: a kill while it is removed must not leave a damaged one as the newest.
            path = path.rename(path.with_name(f".{path.name}.removed"))
        shutil.rmtree(path, ignore_errors=True)


def checkpoint_path(directory: Path, step: int) -> Path:
    """The path of a step's checkpoint, whether or not it exists."""
    return directory / _name(step)


def _name(step: int) -> str:
    return f"step-{step}"


class DamagedCheckpoint(RunError):
    """A checkpoint that is not as it was written, or does not fit its run."""


def newest_checkpoint(directory: Path) -> Path | None:
    """The checkpoint with the highest step; None if there is none. Raises RunError if it may not look."""
    return max(_checkpoints(directory), key=_step, default=None)


def set_aside(path: Path, error: DamagedCheckpoint) -> bool:
    """Rename a damaged checkpoint if there is an older one to resume from; returns whether there is.

    It is removed with the checkpoints that are no longer needed.
    """
    others = [each for each in _checkpoints(path.parent) if each != path]
    if not others:
        return False
    older = max(others, key=_step)
    _log.warning("%s; resuming from %s instead", str(error).partition(". ")[0], older.name)
    shutil.rmtree(moved := path.with_name(f".{path.name}.damaged"), ignore_errors=True)
    path.rename(moved)
    return True


def _checkpoints(directory: Path) -> list[Path]:
    """All checkpoints. Raises RunError where they may not be listed: that is not the same as none."""
    try:
        found = list(directory.iterdir()) if directory.exists() else []
        return [path for path in found if _NAME.fullmatch(path.name) and path.is_dir()]
    except PermissionError as error:
        raise _may_not_be_read(directory) from error


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, with all tensors on the CPU.

    Raises RunError if a file is missing or damaged, or cannot be read.
    """
    try:
        return Checkpoint(
            progress=_checked_progress(path),
            weights=safetensors.torch.load_file(path / "weights.safetensors"),
            optimizer=safetensors.torch.load_file(path / "optimizer.safetensors"),
            carried=safetensors.torch.load_file(path / "carried.safetensors"),
            best=safetensors.numpy.load_file(path / "best.safetensors"),
        )
    except OSError as error:
        raise _unreadable_checkpoint(path, error) from error
    except (TypeError, ValueError, SafetensorError) as error:
        raise damaged_checkpoint(path, error) from error


def _checked_progress(folder: Path) -> dict[str, Any]:
    """What progress.json holds, after all files were compared with their digests, if it has these."""
    content = parse_json(read_bounded(folder / "progress.json", RUN_FILE_LIMIT, "a checkpoint's progress"))
    for name in _FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / name))
    if not is_sealed(dict(content)):
        _log.warning("%s: made by an earlier version, without a SHA-256 to check it against", folder)
        return dict(content)
    progress = unsealed(content)
    require_files(folder, progress.pop(_DIGESTS))
    return progress


def _unreadable_checkpoint(path: Path, error: OSError) -> RunError:
    """The error for a checkpoint that the system cannot read; only one that lacks a file is damaged."""
    if not os.access(path, os.R_OK | os.X_OK):
        return _may_not_be_read(path)
    files = [path / name for name in _FILES]
    # safetensors calls a file that may not be read missing.
    for file in files:
        if file.exists() and not os.access(file, os.R_OK):
            return _may_not_be_read(file)
    if not all(file.exists() for file in files):
        return damaged_checkpoint(path, error)
    return RunError(f"{path}: cannot be read ({error.strerror or error}); check the disk, and resume again")


def _may_not_be_read(path: Path) -> RunError:
    return RunError(f"{path}: may not be read by this user; check its permissions, and resume again")


def damaged_checkpoint(path: Path, error: Exception) -> DamagedCheckpoint:
    """The error to raise for a checkpoint that cannot be resumed from; it says what to do."""
    what = f"no {error}" if isinstance(error, KeyError) else error
    run = path.parent.parent
    return DamagedCheckpoint(
        f"{path}: damaged checkpoint ({what}). There is no other one to resume from. "
        f"Put a copy of it there, or start a new run from the best weights: textgen train --from {run}"
    )
