"""What training shows on the way; what it computes is tested by whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from textgen.cli import train

OPTIONS = "--steps 4 --evaluations 2 --hidden-size 8 --embedding-dim 8 --batch-size 4 --seq-len 16".split()


def test_each_evaluation_shows_its_loss_and_an_indented_sample_with_real_line_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("corpus.txt").write_text("a\n\\\nb\n" * 300)  # every other character is a line break
    result = CliRunner().invoke(train.command, ["corpus.txt", *OPTIONS], standalone_mode=False)
    assert result.exception is None
    lines = result.output.splitlines()
    evaluations = [number for number, line in enumerate(lines) if "% " in line and "  validation " in line]
    assert len(evaluations) == 2
    start, end = evaluations
    sample = lines[start + 1 : end]
    assert 2 <= len(sample) <= 6
    assert all(not line or line.startswith("      ") for line in sample)
    assert not any("\\n" in line for line in sample)
