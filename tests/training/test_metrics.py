"""metrics.jsonl is cut back to the length that a checkpoint stores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from textgen.errors import RunError
from textgen.training.metrics import MetricsLog

USES: list[Callable[[MetricsLog], None]] = [
    MetricsLog.start,
    MetricsLog.flush,
    lambda log: log.append("train", step=2, epoch=0.2, nats_per_token=1.0, seconds=2.0, tokens_per_second=9),
]


@pytest.mark.parametrize("use", USES)
def test_a_file_that_was_removed_or_cut_is_an_error_and_not_begun_again(
    tmp_path: Path, use: Callable[[MetricsLog], None]
) -> None:
    log = MetricsLog(tmp_path / "run" / "metrics.jsonl")
    log.path.parent.mkdir()
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0, seconds=1.0, tokens_per_second=9)
    log.path.write_bytes(log.path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"is shorter than .* removed or changed. Put it back"):
        use(log)
    log.path.unlink()
    with pytest.raises(RunError, match=r"metrics.jsonl: is missing: it was removed .* --from"):
        use(log)
    assert not log.path.exists()
    log.path.parent.rmdir()
    with pytest.raises(RunError, match="run: the run was removed while it was being trained"):
        use(log)


def test_lines_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0, seconds=1.0, tokens_per_second=9)
    kept, size = log.path.read_text(), log.size
    log.append("train", step=2, epoch=0.2, nats_per_token=1.0, seconds=2.0, tokens_per_second=9)
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
