"""metrics.jsonl: one measurement per line, appended; resuming cuts it back to the checkpoint's length.

    kind      fields in addition to step, epoch and seconds
    train     nats_per_token, tokens_per_second: means since the last such line, without the time of
              evaluating and saving; gradient_norm, learning_rate: of the last step
    val       nats_per_token, tokens, best: whether it is the lowest loss so far
    rollback  training diverged at `step` and went back to the step `back_to`; reason, nats_per_token (null:
              not finite), lowest: the lowest mean loss before, halvings: how many times the peak
              learning rate is halved from here on
    final     the best weights on all validation text, once, at the end; ngram: of the n-gram companion, if
              one was built

Each line ends with a digest of its other fields. Times (tokens_per_second, seconds) differ between runs;
everything else repeats exactly with the same seed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from textgen.errors import RunError
from textgen.measurements import damaged_lines, with_digest
from textgen.system.atomic import write_file
from textgen.system.links import open_own

_NUMBERS_SHOWN = 5

_log = logging.getLogger(__name__)


class MetricsLog:
    """Appends to a metrics.jsonl and keeps track of its length, which each checkpoint stores.

    A file that is removed or cut while the run is trained is not replaced by one without the first lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes that belong to this run so far

    def start(self) -> None:
        """Remove the lines after `size`, which training will write again, and say which ones are damaged.

        Damaged lines are removed, since nothing but the figures in them is lost.

        Raises RunError when the file is shorter than `size`, or when its directory was removed.
        """
        with self._opened() as file:
            file.truncate(self.size)
        if damaged := damaged_lines(self.path):
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = b"".join(line for number, line in enumerate(lines, 1) if number not in damaged)
            write_file(self.path, kept)
            self.size = len(kept)
            numbers = ", ".join(map(str, damaged[:_NUMBERS_SHOWN])) + (
                "..." * (len(damaged) > _NUMBERS_SHOWN)
            )
            _log.warning("%s: removed damaged lines: %s", self.path, numbers)

    def append(self, kind: str, *, step: int, epoch: float, **figures: Any) -> None:
        """Append a line. Raises ValueError for a figure that is not finite, RunError as start does."""
        record = {"kind": kind, "step": step, "epoch": round(epoch, 6)} | figures
        line = with_digest(record) + "\n"
        with self._opened() as file:
            file.write(line.encode())
            self.size = file.tell()

    def flush(self) -> None:
        """Flush the lines to disk. Raises RunError as start does."""
        with self._opened() as file:
            os.fsync(file.fileno())

    @contextmanager
    def _opened(self) -> Iterator[IO[Any]]:
        """The file, at its end; RunError where it does not hold the lines that were written to it."""
        if self.path.exists() and not self.path.is_file():
            raise RunError(f"{self.path}: not a regular file; remove it, and start the run again")
        try:
            # Opening to append would replace lines that somebody has removed.
            file = open_own(self.path, "ab" if self.size == 0 else "r+b")
        except FileNotFoundError:
            raise self._lost("is missing") from None
        with file:
            if file.seek(0, os.SEEK_END) < self.size:
                raise self._lost("is shorter than what was written to it")
            yield file

    def _lost(self, what: str) -> RunError:
        run = self.path.parent
        if not run.is_dir():
            return RunError(f"{run}: the run was removed while it was being trained; start it again")
        return RunError(
            f"{self.path}: {what}: it was removed or changed. Put it back and resume, or start a new run "
            f"from the best weights: textgen train --from {run}"
        )
