"""Reports on the gradients of a run: contents, initial weights, and damaged or extreme weights."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgen.analysis.memory.report import (
    CellGradients,
    _shown_steps,
    initial_model,
    measure_gradients,
    report_lines,
)
from textgen.errors import RunError
from textgen.export.formats import export
from textgen.plots.curves import draw_gradients
from textgen.run import WEIGHTS, Run, save_weights
from textgen.settings.given import UserOptions
from textgen.system.atomic import write_file
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter
from textgen.training.new_run import new_run

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
TINY: dict[str, Any] = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 4, "seq_len": 16, "steps": 12}


@pytest.fixture
def options(tmp_path: Path) -> UserOptions:
    (tmp_path / "corpus.txt").write_text(TEXT)
    places = {"run": str(tmp_path / "run"), "cache_dir": str(tmp_path / "cache")}
    return UserOptions.from_names(
        {"corpus": (str(tmp_path / "corpus.txt"),), "evaluations": 2, **places, **TINY}
    )


@pytest.fixture
def run(options: UserOptions, tmp_path: Path) -> Run:
    with (tmp_path / "log.txt").open("w") as log, StopRequest() as stop:
        new_run(options, Reporter(log)).complete(stop)
    return Run(tmp_path / "run")


def measure(run: Run, tmp_path: Path, **changed: int) -> CellGradients:
    sizes = {"steps": 20, "num_positions": 30, "num_tokens": 300} | changed
    return measure_gradients(run, tmp_path / "cache", **sizes, device="cpu", progress=None)


def damage(run: Run, **factors: float) -> None:
    """Multiply weights of the run by factors, which may be NaN."""
    weights = run.load_weights()
    for name, factor in factors.items():
        for full in [each for each in weights if each.startswith(name.replace("__", "."))]:
            weights[full] = weights[full] * np.float32(factor)
    save_weights(run.path / WEIGHTS, weights)


def test_the_initial_model_has_the_weights_that_training_began_with(
    options: UserOptions, tmp_path: Path
) -> None:
    with (tmp_path / "log.txt").open("w") as log:
        training = new_run(options, Reporter(log))
    began_with = training.trainer.model.weights()
    trained = {n: a if n.startswith("token_") else a * 0 + 1 for n, a in began_with.items()}
    save_weights(training.run.path / WEIGHTS, trained)
    weights = initial_model(training.run).weights()
    for name in began_with.keys() - {"token_ids", "token_counts"}:
        np.testing.assert_array_equal(weights[name], began_with[name])


def test_the_initial_weights_of_a_fine_tuned_run_are_those_that_it_keeps(run: Run, tmp_path: Path) -> None:
    places = {"run": str(tmp_path / "later"), "cache_dir": str(tmp_path / "cache")}
    options = UserOptions.from_names({"from_run": str(run.path), "evaluations": 1, "steps": 2, **places})
    with (tmp_path / "log.txt").open("w") as log, StopRequest() as stop:
        new_run(options, Reporter(log)).complete(stop)
    later = Run(tmp_path / "later")
    weights, began_with = initial_model(later).weights(), run.load_weights()
    for name in began_with.keys() - {"token_counts"}:
        np.testing.assert_array_equal(weights[name], began_with[name])
    export(later, "weights", tmp_path / "small", weights="int8", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(RunError, match=r"small: .*name the run that it was exported from"):
        measure(Run(tmp_path / "small"), tmp_path)
    shutil.rmtree(later.training_directory)
    with pytest.raises(RunError, match=r"weights that .*later began with are missing"):
        measure(later, tmp_path)


def test_the_json_has_all_figures_measured_on_the_validation_text(run: Run, tmp_path: Path) -> None:
    measured = measure(run, tmp_path)
    found = json.loads(json.dumps(measured.as_dict(), allow_nan=False))
    assert measured.val_tokens == len(TEXT) - int(len(TEXT) * 0.9)
    for stage in ("first", "trained"):
        for part in ("state", "hidden", "cell"):
            figures = found[stage][part]
            assert all(len(curve) == 21 for curve in figures.values())
            for low, median, high in zip(figures["p10"], figures["median"], figures["p90"], strict=True):
                assert low <= median <= high
        assert found[stage]["state"]["relative_median"][0] == 1
        assert found[stage]["state"]["relative_mean"][0] == 1
    assert found["trained"] != found["first"]
    assert found["reset"]["tokens"] == 300
    assert list(found["reset"]["nats_per_token"]) == [str(2**power) for power in range(9)]


def test_the_report_has_the_figures_in_80_columns(run: Run, tmp_path: Path) -> None:
    measured = measure(run, tmp_path)
    lines = report_lines([measured])
    assert max(len(line) for line in lines if str(run.path) not in line) <= 80
    (row,) = [line.split() for line in lines if line.startswith("   20  ")]
    expected = [measured.initial.median()[20], measured.initial.mean()[20], measured.trained.median()[20]]
    assert [float(word) for word in row[1:4]] == pytest.approx(expected, rel=0.06)
    assert "the first 300 of" in "\n".join(lines)
    assert lines[-1].split()[0] == "lstm"
    with_all = "\n".join(report_lines([measure(run, tmp_path, num_tokens=10**6)]))
    assert f"all {measured.val_tokens:,} validation tokens" in with_all


@pytest.mark.parametrize(("steps", "rows"), [(1, [0, 1]), (7, [0, 1, 2, 5, 7]), (20, [0, 1, 2, 5, 10, 20])])
def test_the_table_shows_rows_up_to_the_last_step(steps: int, rows: list[int]) -> None:
    assert _shown_steps(steps) == rows


@pytest.mark.parametrize("factor", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("name", ["head", "layers__weight_hh"])
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply")
def test_weights_that_are_not_finite_are_refused(run: Run, tmp_path: Path, name: str, factor: float) -> None:
    damage(run, **{name: factor})
    with pytest.raises(RunError, match=r"weights are finite.* it is damaged"):
        measure(run, tmp_path)


@pytest.mark.parametrize("factor", [0.0, 1e9], ids=str)
@pytest.mark.parametrize("name", ["head", "layers__weight_hh"])
def test_gradients_that_are_zero_or_very_large_are_reported_and_drawn(
    run: Run, tmp_path: Path, name: str, factor: float
) -> None:
    damage(run, **{name: factor})
    measured = measure(run, tmp_path)
    json.dumps(measured.as_dict(), allow_nan=False)
    assert report_lines([measured])
    draw_gradients([measured.curves()], tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_format_of_the_picture_follows_its_suffix(
    run: Run, tmp_path: Path, ending: str, start: bytes
) -> None:
    measured = measure(run, tmp_path)
    path = tmp_path / f"picture.{ending}"
    write_file(path, "an older one")
    draw_gradients([measured.curves()] * 3, path)
    assert path.read_bytes().startswith(start)
