"""What a finished comparison reads again: each file that is damaged is named, and no other."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from textgen.analysis.comparison import files as comparison_files
from textgen.analysis.comparison.files import finished_comparison
from textgen.analysis.comparison.plan import ComparisonPlan, PlannedRun
from textgen.analysis.comparison.runs import ComparedRuns
from textgen.analysis.comparison.throughput import Passes
from textgen.errors import RunError
from textgen.system.progress import Reporter

CELLS = ("lstm", "gru")
SPEEDS = {
    "characters_per_second": {"lstm": 20_000.0, "gru": 25_000},
    "passes": dataclasses.asdict(
        Passes("1 x 8", {"lstm": [1.0], "gru": [1.0]}, {"lstm": [2.0], "gru": [1.5]})
    ),
}


@pytest.fixture
def runs(tmp_path: Path) -> ComparedRuns:
    plan = ComparisonPlan(corpus=("a.txt",), fingerprint="", cells=CELLS, seeds=1)
    (tmp_path / "speeds.json").write_text(json.dumps(SPEEDS))
    return ComparedRuns(plan, tmp_path, None, Reporter(sys.stderr))


@pytest.mark.parametrize("content", ["{", "[]", '{"passes": {}}', '{"characters_per_second": {"lstm": 1}}'])
def test_damaged_speeds_are_named(runs: ComparedRuns, content: str) -> None:
    (runs.directory / "speeds.json").write_text(content)
    with pytest.raises(RunError, match=r"speeds\.json: cannot be read; remove it"):
        finished_comparison(runs, Reporter(sys.stderr))


def test_what_goes_wrong_elsewhere_is_not_blamed_on_them(
    runs: ComparedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("train_tokens")

    monkeypatch.setattr(comparison_files, "compare", broken)
    with pytest.raises(KeyError, match="train_tokens"):
        finished_comparison(runs, Reporter(sys.stderr))


def test_what_was_measured_is_passed_on(runs: ComparedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(comparison_files, "compare", lambda *_, **measured: given.update(measured))
    finished_comparison(runs, Reporter(sys.stderr))
    assert given["characters_per_second"] == SPEEDS["characters_per_second"]
    assert dataclasses.asdict(given["passes"]) == SPEEDS["passes"]


@pytest.mark.parametrize("content", ["{", "[]", '{"lstm-seed1": null}'])
def test_a_damaged_note_of_memory_is_named(runs: ComparedRuns, content: str) -> None:
    run = PlannedRun("lstm", 1)
    assert runs.peak_memory(run) is None
    (runs.directory / "memory.json").write_text('{"lstm-seed1": 123}')
    assert runs.peak_memory(run) == 123
    (runs.directory / "memory.json").write_text(content)
    with pytest.raises(RunError, match=r"memory\.json: cannot be read; remove it"):
        runs.peak_memory(run)
