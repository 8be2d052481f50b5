"""A checkpoint: one directory, whole or absent, from which training goes on bit for bit.

    training/step-<n>/
        weights.safetensors     the network at step n
        optimizer.safetensors   AdamW's moments, by parameter
        carried.safetensors     state carried between windows, running sums, random generators
        best.safetensors        the best weights so far: what model.safetensors will be
        progress.json           step, seconds used, place in the data, best loss, length of metrics.jsonl

The order makes a kill at any moment harmless: metrics.jsonl is flushed, then the checkpoint appears under its
name, then model.safetensors is replaced by its best weights, then older checkpoints go, but for that of the
last evaluation, which training goes back to when it fails (rollback.py). Whoever resumes
takes the newest checkpoint, cuts metrics.jsonl back to the length that it names, and replaces
model.safetensors.
"""

from __future__ import annotations

import dataclasses
import json
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


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that training is at one step."""

    progress: dict[str, Any]  # numbers, strings, lists and dicts only: it becomes JSON
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    carried: dict[str, Tensor]
    best: dict[str, np.ndarray]  # empty before the first evaluation

    @property
    def step(self) -> int:
        """The optimizer steps taken."""
        return int(self.progress["step"])

    def copied(self) -> Checkpoint:
        """The same on the CPU, in memory of its own."""

        def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            weights=copies(self.weights),
            optimizer=copies(self.optimizer),
            carried=copies(self.carried),
        )


_NAME = re.compile(r"step-\d+")
# What a kill leaves half made or half removed has a dot in front and more behind.
_OURS = re.compile(rf"{_NAME.pattern}|\.{_NAME.pattern}\..*")


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write training/step-<n>/, whole or not at all. Raises RunError when the disk does not take it."""
    path = checkpoint_path(directory, checkpoint.step)
    if path.exists():  # the same step again (a stop right after an evaluation): nothing has changed since
        return path
    try:
        with new_directory(path) as building:
            _write(building, checkpoint)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be written ({error}); the checkpoint before it is kept") from error
    return path


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    for name in ("weights", "optimizer", "carried"):
        tensors = {key: value.detach().cpu().contiguous() for key, value in getattr(checkpoint, name).items()}
        safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    safetensors.numpy.save_file(checkpoint.best, folder / "best.safetensors")
    (folder / "progress.json").write_text(json.dumps(checkpoint.progress, indent=2) + "\n", encoding="utf-8")


def remove_others(directory: Path, keep: Collection[int | None]) -> None:
    """Remove all checkpoints but those of some steps (None: of no step), and what a kill left half done."""
    names = {_name(step) for step in keep if step is not None}
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name in names or _OURS.fullmatch(path.name) is None:
            continue
        if not path.name.startswith("."):
            # First out of sight: a kill half way must not leave a damaged one to be the newest.
            path = path.rename(path.with_name(f".{path.name}.removed"))
        shutil.rmtree(path, ignore_errors=True)


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the checkpoint of a step is, whether it is there or not."""
    return directory / _name(step)


def _name(step: int) -> str:
    return f"step-{step}"


def newest_checkpoint(directory: Path) -> Path | None:
    """The checkpoint with the highest step; None when there is none yet."""
    return max(_checkpoints(directory), key=_step, default=None)


def _checkpoints(directory: Path) -> list[Path]:
    return [path for path in directory.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; all tensors on the CPU. Raises RunError when a file is missing or damaged."""
    try:
        return Checkpoint(
            progress=dict(json.loads((path / "progress.json").read_text(encoding="utf-8"))),
            weights=safetensors.torch.load_file(path / "weights.safetensors"),
            optimizer=safetensors.torch.load_file(path / "optimizer.safetensors"),
            carried=safetensors.torch.load_file(path / "carried.safetensors"),
            best=safetensors.numpy.load_file(path / "best.safetensors"),
        )
    except (OSError, TypeError, ValueError, SafetensorError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> RunError:
    """The one-line error for a checkpoint that cannot be gone on from."""
    others = [each for each in _checkpoints(path.parent) if each != path]
    then = f"--resume goes on from {max(others, key=_step).name}" if others else "start the run again"
    what = f"no {error}" if isinstance(error, KeyError) else error
    return RunError(f"{path}: damaged checkpoint ({what}). Remove it, then {then}.")
