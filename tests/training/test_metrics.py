"""metrics.jsonl is cut back to the length that a checkpoint stores."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from textgen.errors import RunError
from textgen.training.metrics import MetricsLog


def test_a_file_that_is_too_short_cannot_be_resumed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0)
    log.path.unlink()
    with pytest.raises(RunError, match="shorter"):
        log.start()


def test_lines_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0)
    kept, size = log.path.read_text(), log.size
    log.append("train", step=2, epoch=0.2, nats_per_token=1.0)
    log.size = size
    log.start()
    assert log.path.read_text() == kept


def test_a_figure_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.append("train", step=1, epoch=0.1, nats_per_token=math.nan)
    assert log.size == 0


@pytest.mark.skipif(os.name != "posix", reason="named pipes as POSIX has them")
def test_a_named_pipe_in_its_place_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a regular file"):
        MetricsLog(tmp_path / "metrics.jsonl").start()
