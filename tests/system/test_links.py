"""Links are found at any depth, and a file of textgen's own is never opened through one."""

from __future__ import annotations

from pathlib import Path

import pytest

from textgen.errors import RunError
from textgen.system.links import open_own, refuse_links
from textgen.system.locks import folder_lock
from textgen.training.metrics import MetricsLog


def test_a_link_at_any_depth_is_refused_and_the_folder_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "run" / "training" / "step-1").mkdir(parents=True)
    (tmp_path / "run" / "metrics.jsonl").touch()
    (tmp_path / "link").symlink_to("run", target_is_directory=True)
    refuse_links(tmp_path / "link")
    (tmp_path / "run" / "training" / "step-1" / "x").symlink_to("nowhere")
    for folder in ("run", "link"):
        with pytest.raises(RunError, match=r"step-1.x: a symbolic link"):
            refuse_links(tmp_path / folder)


@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_file_is_opened_but_no_link_to_it(tmp_path: Path, mode: str) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    with open_own(target, mode) as file:
        file.write("é\n")
    assert target.read_bytes() == "é\n".encode()
    link.symlink_to(target)
    with pytest.raises(RunError, match="link: a symbolic link"):
        open_own(link, mode)
    assert target.read_bytes() == "é\n".encode()
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "none" / "x", mode)


def test_metrics_and_locks_are_not_written_through_links(tmp_path: Path) -> None:
    """A link may appear after the folder was looked through."""
    target = tmp_path / "target"
    target.write_text("keep this\n")
    for name in ("metrics.jsonl", "lock"):
        (tmp_path / name).symlink_to(target)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for write in (log.start, lambda: log.append("train", step=1, epoch=0.0), log.flush):
        with pytest.raises(RunError, match="a symbolic link"):
            write()
    with pytest.raises(RunError, match="a symbolic link"), folder_lock(tmp_path):
        pass
    assert target.read_text() == "keep this\n"
