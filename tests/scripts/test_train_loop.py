"""The training loop of one's own: the loss falls, and the sample is text of the corpus's characters."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_loss_falls_and_the_sample_is_text(run_script: RunScript) -> None:
    process = run_script("train_loop.py", "--steps", "100")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    table, sample = process.stdout.split("\n\n", 1)
    losses = [float(loss) for loss in re.findall(r"^step +\d+  loss (\S+) nats/token$", table, re.MULTILINE)]
    assert len(losses) == 3
    assert losses[0] > 4 > 2.5 > losses[1] > losses[2]
    assert len(sample) > 150
    assert set(sample) <= set((ROOT / "data" / "faq.txt").read_text(encoding="utf-8"))
    assert len(sample.split()) > 15, "words with spaces between them"


def test_any_other_text_can_be_trained_on(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("Über allen Gipfeln ist Ruh.\n" * 100, encoding="utf-8")
    process = run_script("train_loop.py", str(tmp_path / "poem.txt"), "--steps", "1")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("step    1  loss 2.9"), "that of a uniform guess"
    assert set(process.stdout.split("\n\n", 1)[1]) <= set("Über allen Gipfeln ist Ruh.\n")
