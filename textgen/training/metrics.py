"""metrics.jsonl: one line a measurement, appended, and cut back to a checkpoint's length when a run is
resumed.

    kind      beside step, epoch and seconds
    train     nats_per_token, tokens_per_second: means since the line before, the time of evaluations and of
              saving left out; gradient_norm, learning_rate: of the last step
    val       nats_per_token, tokens, best
    rollback  back_to, reason, nats_per_token (null: no number), lowest, halvings: training failed at `step`;
              the lines after it are of steps from `back_to` on, at the peak rate halved so often
    final     the best weights on all validation text, once, at the end

tokens_per_second and seconds are times; everything else repeats exactly with the same seed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from textgen.errors import RunError


class MetricsLog:
    """Appends to one metrics.jsonl and knows its length, so that a checkpoint can name the place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes that belong to this run so far

    def start(self) -> None:
        """Forget what was written after `size`: those lines will come again.

        Raises RunError when lines are missing.
        """
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() < self.size:
                raise RunError(f"{self.path}: shorter than its checkpoint says; it cannot be resumed")
            file.truncate(self.size)

    def append(self, kind: str, *, step: int, epoch: float, **figures: Any) -> None:
        """Add a line."""
        record = {"kind": kind, "step": step, "epoch": round(epoch, 6)} | figures
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            self.size = file.tell()

    def flush(self) -> None:
        """Put the lines on the disk."""
        with self.path.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())
