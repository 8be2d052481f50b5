"""The files of a comparison: what is written, and that damaged ones are named when they are read again."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from textgen.analysis.comparison import files as comparison_files
from textgen.analysis.comparison.files import comparison_json, finished_comparison, write_files
from textgen.analysis.comparison.plan import ComparisonPlan, PlannedRun
from textgen.analysis.comparison.runs import ComparedRuns
from textgen.analysis.comparison.throughput import Throughput
from textgen.errors import RunError
from textgen.system.progress import Reporter

CELLS = ("lstm", "gru")
SPEEDS = {
    "characters_per_second": {"lstm": 20_000.0, "gru": 25_000},
    "passes": dataclasses.asdict(
        Throughput("1 x 8", {"lstm": [1.0], "gru": [1.0]}, {"lstm": [2.0], "gru": [1.5]})
    ),
}


@pytest.fixture
def runs(tmp_path: Path) -> ComparedRuns:
    plan = ComparisonPlan(corpus=("a.txt",), fingerprint="", cells=CELLS, seeds=1)
    (tmp_path / "speeds.json").write_text(json.dumps(SPEEDS))
    return ComparedRuns(plan, tmp_path, None, Reporter(sys.stderr))


@pytest.mark.parametrize("content", ["{", "[]", '{"passes": {}}', '{"characters_per_second": {"lstm": 1}}'])
def test_a_damaged_speeds_file_is_named(runs: ComparedRuns, content: str) -> None:
    (runs.directory / "speeds.json").write_text(content)
    with pytest.raises(RunError, match=r"speeds\.json: cannot be read; remove it"):
        finished_comparison(runs, Reporter(sys.stderr))


def test_an_error_elsewhere_is_not_blamed_on_the_speeds_file(
    runs: ComparedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("train_tokens")

    monkeypatch.setattr(comparison_files, "load_comparison", broken)
    with pytest.raises(KeyError, match="train_tokens"):
        finished_comparison(runs, Reporter(sys.stderr))


def test_the_measured_speeds_are_passed_on(runs: ComparedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(comparison_files, "load_comparison", lambda *_, **measured: given.update(measured))
    finished_comparison(runs, Reporter(sys.stderr))
    assert given["characters_per_second"] == SPEEDS["characters_per_second"]
    assert dataclasses.asdict(given["throughput"]) == SPEEDS["passes"]


@pytest.mark.parametrize("content", ["{", "[]", '{"lstm-seed1": null}'])
def test_a_damaged_memory_file_is_named(runs: ComparedRuns, content: str) -> None:
    run = PlannedRun("lstm", 1)
    assert runs.peak_memory(run) is None
    (runs.directory / "memory.json").write_text('{"lstm-seed1": 123}')
    assert runs.peak_memory(run) == 123
    (runs.directory / "memory.json").write_text(content)
    with pytest.raises(RunError, match=r"memory\.json: cannot be read; remove it"):
        runs.peak_memory(run)


def test_json_has_every_figure_and_claim(make_comparison: Any) -> None:
    found = json.loads(json.dumps(comparison_json(make_comparison()), allow_nan=False))
    assert {"plan", "runs", "cells", "passes", "findings", "claims", "remarks"} <= found.keys()
    assert found["cells"][1]["nats_per_token"] == {"mean": 1.5, "half_width": 0.0}
    assert found["common_nats_per_token"] == {"1": 1.5, "2": 1.5, "3": 1.5}
    assert len(found["runs"]) == 6
    assert {claim["verdict"] for claim in found["claims"]} == {"supported", "within noise"}


def test_json_has_the_n_grams_apart_from_the_cells(make_comparison: Any) -> None:
    found = json.loads(json.dumps(comparison_json(make_comparison(ngrams=1.25)), allow_nan=False))
    assert [cell["cell"] for cell in found["cells"]] == ["lstm", "gru"]
    assert found["plan"]["cells"] == ["lstm", "gru", "ngram"]
    assert (found["ngrams"]["nats_per_token"], found["ngrams"]["parameters"]) == (1.25, 123_456)
    assert comparison_json(make_comparison())["ngrams"] is None


def test_n_grams_are_a_horizontal_line_in_both_halves_of_the_picture(
    make_comparison: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("textgen.plots.curves.save", lambda figure, path: figures.append(figure))
    write_files(make_comparison(ngrams=1.25), tmp_path)
    write_files(make_comparison(), tmp_path)
    with_ngrams, without = figures
    for axes, plain in zip(with_ngrams.axes, without.axes, strict=True):
        (line,) = [line for line in axes.lines if line.get_label() == "n-grams: 1.250"]
        assert list(line.get_ydata()) == [1.25, 1.25]
        assert len(axes.lines) == len(plain.lines) + 1
    assert with_ngrams.axes[0].get_title("left").startswith("LSTM, GRU, n-grams on a")
    assert (tmp_path / "comparison.md").read_text().startswith("# LSTM, GRU on a\n")


def test_the_picture_is_drawn_for_any_number_of_seeds_and_left_out_without_matplotlib(
    make_comparison: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        comparison = make_comparison(
            gru=[1.4] * number, gru_speed=[1000] * number, cells=("lstm", "gru", "rnn")
        )
        assert write_files(comparison, tmp_path)[-1] == tmp_path / "compare.png"
        assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("textgen.analysis.comparison.files.can_draw", lambda: False)
    written = write_files(make_comparison(), tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.md"]
