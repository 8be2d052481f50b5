"""The complete state of a run in training: saved as a checkpoint, and restored from one.

    step k ...  save -> training/step-k/  -> restore, go_to -> ... step k, continuing exactly as before

trainer.py decides when to save, and rollback.py when to go back.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from textgen.run import WEIGHTS, Run, save_weights
from textgen.text.batches import SequenceBatches
from textgen.training.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    checkpoint_path,
    damaged_checkpoint,
    load_checkpoint,
    newest_checkpoint,
    remove_others,
    save_checkpoint,
    set_aside,
)
from textgen.training.metrics import MetricsLog
from textgen.training.position import Position
from textgen.training.schedule import Budget
from textgen.training.step import TrainStep
from textgen.weights.file import check_values
from textgen.weights.shapes import check_weights


class TrainingState:
    """Everything that changes while a run trains: weights, optimizer, place in the data, position, clock."""

    def __init__(self, run: Run, train_step: TrainStep, batches: SequenceBatches, budget: Budget) -> None:
        self.run = run
        self.train_step = train_step
        self.batches = batches
        self.budget = budget
        self.position = Position()
        self.best_weights: dict[str, np.ndarray] = {}  # empty before the first evaluation
        self._written: dict[str, np.ndarray] = {}  # the best weights that model.safetensors holds
        self.world = train_step.world
        self.metrics = MetricsLog(run.metrics_path)
        self.saved_step = 0  # of the newest checkpoint; 0: there is none
        self.start_clock()

    def start_clock(self) -> None:
        """Count wall-clock time from now on."""
        self._started = time.monotonic()
        self._now = self._saved = self.position.seconds

    def read_clock(self, signal_number: int | None = None) -> int | None:
        """Let `progress` be that of this moment, by the clock of rank 0, so that all processes decide alike.

        signal_number: of the signal that asked this process to stop; None: none did. Returns that of the
        first process that was asked.
        """
        told = self.world.exchanged([self.seconds(), signal_number or 0])
        self._now = told[0][0]
        return next((int(number) for _, number in told if number), None)

    def seconds(self) -> float:
        """Wall-clock seconds used by this run, including earlier processes."""
        return self.position.seconds + time.monotonic() - self._started

    def progress(self) -> float:
        """The fraction of the budget that was used when the clock was read last: 0 at the start, 1 or more
        when it is spent.
        """
        return self.budget.progress(self.position.step, self.position.tokens, self._now)

    def seconds_since_save(self) -> float:
        """Wall-clock seconds between the last checkpoint and the last reading of the clock."""
        return self._now - self._saved

    def record(self, kind: str, seconds: float | None = None, **figures: Any) -> None:
        """Append a line to metrics.jsonl: kind, step and epoch, the figures, and the seconds used so far.

        seconds: None: up to now.
        """
        if not self.world.is_first:
            return
        epoch = self.position.tokens / self.run.measured("train_tokens")
        self.metrics.append(
            kind,
            step=self.position.step,
            epoch=epoch,
            **figures,
            seconds=round(self.seconds() if seconds is None else seconds, 3),
        )

    def save(self) -> None:
        """Write a checkpoint and the best weights, then remove checkpoints that are no longer needed.

        All processes must call this, as each has some of the state; rank 0 writes.
        """
        checkpoint = self.checkpoint()
        self._saved, self.saved_step = self._now, self.position.step
        if not self.world.is_first:
            return
        self.metrics.flush()
        save_checkpoint(self.run.training_directory, checkpoint)
        self._replace_best()
        position = self.position
        # A finished run has no rollbacks any more.
        rollback_steps = () if position.finished else (position.good_step, position.candidate_step)
        remove_others(self.run.training_directory, keep={position.step, *rollback_steps})

    def checkpoint(self) -> Checkpoint:
        """The current state; its tensors are those in use, not copies."""
        progress = vars(self.position) | {
            "seconds": self.seconds(),
            "loss_count": self.train_step.loss_count,
            "loss_steps": self.train_step.loss_steps,
            "place": self.batches.place,
            "metrics_size": self.metrics.size,
        }
        return Checkpoint(
            progress=progress,
            weights=self.train_step.weights(),
            optimizer=self.train_step.optimizer_tensors(),
            carried=self.train_step.carried(),
            best=self.best_weights,
        )

    def restore(self) -> bool:
        """Restore the newest checkpoint; returns False, and changes nothing, if there is none.

        A checkpoint that is damaged or does not fit config.json is set aside, and the one before it restored.
        Raises RunError where there is none before it. Rank 0 reads; the other processes get what it has read.
        """
        checkpoint = self.world.from_first(self._newest() if self.world.is_first else None)
        if checkpoint is None:
            return False
        if not self.world.is_first:
            self.go_to(checkpoint)
        self.best_weights, self.saved_step = checkpoint.best, self.position.step
        self.position.good_step = self.world.from_first(self.position.good_step)
        if self.world.is_first:
            self._replace_best()
            if self.position.finished:  # a kill may have prevented this
                remove_others(self.run.training_directory, keep={self.position.step})
        return True

    def _newest(self) -> Checkpoint | None:
        """The newest checkpoint that can be restored, to which everything is set; None if there is none."""
        while (path := newest_checkpoint(self.run.training_directory)) is not None:
            try:
                checkpoint = self._restored(path)
            except DamagedCheckpoint as error:
                if not set_aside(path, error):
                    raise
                continue
            good = self.position.good_step
            if good is not None and not checkpoint_path(self.run.training_directory, good).exists():
                # A rollback went to this checkpoint and removed the others, and the process was killed before
                # the next one was written; this checkpoint still names the good step before it.
                self.position.good_step = self.position.step
            return checkpoint
        return None

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of a step, as rank 0 reads it. Raises RunError."""
        path = checkpoint_path(self.run.training_directory, step)
        return self.world.from_first(load_checkpoint(path) if self.world.is_first else cast(Checkpoint, None))

    def _restored(self, path: Path) -> Checkpoint:
        """Set everything to the checkpoint of a folder, except the best weights. Raises RunError."""
        checkpoint = load_checkpoint(path)
        if checkpoint.best:
            where = str(path / "best.safetensors")
            check_weights(self.run.config.model, checkpoint.best, where)
            check_values(checkpoint.best, where)
        try:
            self.go_to(checkpoint)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_checkpoint(path, error) from error
        return checkpoint

    def go_to(self, checkpoint: Checkpoint) -> None:
        """Set everything to a checkpoint, except the best weights."""
        progress = dict(checkpoint.progress)
        self.batches.restore(progress.pop("place"))
        loss_count = progress.pop("loss_count")
        loss_steps = progress.pop("loss_steps", 0)  # checkpoints of earlier versions do not have it
        self.metrics.size = progress.pop("metrics_size")
        self.position = Position.from_json(progress)
        self.train_step.load(
            weights=checkpoint.weights,
            optimizer=checkpoint.optimizer,
            carried=checkpoint.carried,
            loss_count=loss_count,
            loss_steps=loss_steps,
        )

    def save_weights_to_sample_from(self) -> None:
        """Write the current weights if none were evaluated yet, so that the run can be sampled."""
        if self.world.is_first and not self.best_weights:
            with self.train_step.eval_weights():
                save_weights(self.run.path / WEIGHTS, self.train_step.model.weights())

    def _replace_best(self) -> None:
        # Only when they changed: `sample` without a run takes the one whose weights were written last.
        if self.best_weights and self.best_weights is not self._written:
            save_weights(self.run.path / WEIGHTS, self.best_weights)
            self._written = self.best_weights
