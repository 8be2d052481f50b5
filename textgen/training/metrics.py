"""metrics.jsonl: one measurement per line, appended; resuming cuts it back to the checkpoint's length.

    kind      fields in addition to step, epoch and seconds
    train     nats_per_token, tokens_per_second: means since the last such line, without the time of
              evaluating and saving; gradient_norm, learning_rate: of the last step
    val       nats_per_token, tokens, best: whether it is the lowest loss so far
    rollback  training diverged at `step` and went back to the step `back_to`; reason, nats_per_token (null:
              not finite), lowest: the lowest mean loss before, halvings: how many times the peak
              learning rate is halved from here on
    final     the best weights on all validation text, once, at the end

Times (tokens_per_second, seconds) differ between runs; everything else repeats exactly with the same seed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from textgen.errors import RunError
from textgen.system.links import open_own


class MetricsLog:
    """Appends to a metrics.jsonl and keeps track of its length, which each checkpoint stores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes that belong to this run so far

    def start(self) -> None:
        """Remove the lines after `size`, which training will write again.

        Raises RunError when the file is shorter than `size`, or is not a file.
        """
        if self.path.exists() and not self.path.is_file():  # opening a named pipe would wait for ever
            raise RunError(f"{self.path}: not a regular file; remove it, and start the run again")
        with open_own(self.path, "a") as file:
            if file.tell() < self.size:
                raise RunError(f"{self.path}: shorter than its checkpoint says; it cannot be resumed")
            file.truncate(self.size)

    def append(self, kind: str, *, step: int, epoch: float, **figures: Any) -> None:
        """Append a line. Raises ValueError for a figure that is not finite."""
        record = {"kind": kind, "step": step, "epoch": round(epoch, 6)} | figures
        with open_own(self.path, "a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            self.size = file.tell()

    def flush(self) -> None:
        """Flush the lines to disk."""
        with open_own(self.path, "a") as file:
            os.fsync(file.fileno())
