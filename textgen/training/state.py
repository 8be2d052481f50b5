"""All that training is at a moment: saved as a checkpoint, put back from one.

    step k ...  save -> training/step-k/  -> restore, go_to -> ... step k, the same from here on

Here are the facts and how they reach the disk; the loop decides when (trainer.py), and what follows when
training failed (rollback.py).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from textgen.run import WEIGHTS, Run, save_weights
from textgen.text.batches import StreamBatches
from textgen.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    damaged,
    load_checkpoint,
    newest_checkpoint,
    remove_others,
    save_checkpoint,
)
from textgen.training.metrics import MetricsLog
from textgen.training.position import Position
from textgen.training.schedule import Budget
from textgen.training.step import TrainStep


class TrainingState:
    """What a run in training is now: the learner, the place in the data, the position, the best weights."""

    def __init__(self, run: Run, learner: TrainStep, batches: StreamBatches, budget: Budget) -> None:
        self.run = run
        self.learner = learner
        self.batches = batches
        self.budget = budget
        self.position = Position()
        self.best_weights: dict[str, np.ndarray] = {}
        self._written: dict[str, np.ndarray] = {}  # the best weights that model.safetensors holds
        self.metrics = MetricsLog(run.metrics_path)
        self.start_clock()

    def start_clock(self) -> None:
        """From here on time is spent."""
        self._started = self.saved_at = time.monotonic()

    def seconds(self) -> float:
        """Wall-clock seconds used by this run, those of earlier processes included."""
        return self.position.seconds + time.monotonic() - self._started

    def progress(self) -> float:
        """The share of the budget that is used."""
        return self.budget.progress(self.position.step, self.position.tokens, self.seconds())

    def record(self, kind: str, **figures: Any) -> None:
        """Append a line to metrics.jsonl: where training is, the figures, and the time."""
        epoch = self.position.tokens / self.run.measured("train_tokens")
        self.metrics.append(
            kind, step=self.position.step, epoch=epoch, **figures, seconds=round(self.seconds(), 3)
        )

    def save(self) -> None:
        """Write a checkpoint, then the best weights, then remove the older checkpoints but what may be gone
        back to.
        """
        self.metrics.flush()
        save_checkpoint(self.run.training_directory, self.checkpoint())
        self._replace_best()
        position = self.position
        # A run that is finished goes back to nothing.
        may_return = () if position.finished else (position.good_step, position.candidate_step)
        remove_others(self.run.training_directory, keep={position.step, *may_return})
        self.saved_at = time.monotonic()

    def checkpoint(self) -> Checkpoint:
        """All that training is now; the tensors are those in use, not copies."""
        progress = vars(self.position) | {
            "seconds": self.seconds(),
            "loss_count": self.learner.loss_count,
            "place": self.batches.place,
            "metrics_size": self.metrics.size,
        }
        return Checkpoint(
            progress=progress,
            weights=self.learner.weights(),
            optimizer=self.learner.optimizer_tensors(),
            carried=self.learner.carried(),
            best=self.best_weights,
        )

    def restore(self) -> bool:
        """Go back to the newest checkpoint; False when there is none and training starts at the beginning.

        Raises RunError for one that is damaged, or does not fit config.json.
        """
        path = newest_checkpoint(self.run.training_directory)
        if path is None:
            return False
        checkpoint = load_checkpoint(path)
        try:
            self.go_to(checkpoint)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error
        self.best_weights = checkpoint.best
        good = self.position.good_step
        if good is not None and not checkpoint_path(self.run.training_directory, good).exists():
            # Gone back to this one, and killed before the next was written: the good one before it went.
            self.position.good_step = self.position.step
        self._replace_best()
        return True

    def go_to(self, checkpoint: Checkpoint) -> None:
        """Be what training was at a checkpoint, but for the best weights."""
        progress = dict(checkpoint.progress)
        self.batches.restore(progress.pop("place"))
        loss_count = progress.pop("loss_count")
        self.metrics.size = progress.pop("metrics_size")
        self.position = Position(**progress)
        self.learner.load(
            weights=checkpoint.weights,
            optimizer=checkpoint.optimizer,
            carried=checkpoint.carried,
            loss_count=loss_count,
        )

    def keep_unjudged(self) -> None:
        """Before the first evaluation, write the weights as they are: something to sample from."""
        if not self.best_weights:
            with self.learner.eval_weights():
                save_weights(self.run.path / WEIGHTS, self.learner.model.weights())

    def _replace_best(self) -> None:
        # Once: the run whose weights were written last is the one that `sample` takes by itself.
        if self.best_weights and self.best_weights is not self._written:
            save_weights(self.run.path / WEIGHTS, self.best_weights)
            self._written = self.best_weights
