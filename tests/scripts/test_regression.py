"""The regression example as a user runs it: a process of its own."""

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(run_script: RunScript) -> RunScript:
    return functools.partial(run_script, "regression.py")


@pytest.fixture(scope="module")
def results(run: RunScript) -> dict[str, Any]:
    process = run("--epochs", "3", "--json")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    found = json.loads(process.stdout)
    assert isinstance(found, dict)
    return found


def test_the_textbooks_networks_have_the_sizes_that_keras_counts_and_torchs_second_bias(
    results: dict[str, Any],
) -> None:
    lstm, gru = results["textbook"]["lstm"], results["textbook"]["gru"]
    assert (lstm["keras_parameters"], gru["keras_parameters"]) == (10_451, 8_001)
    assert (lstm["parameters"], gru["parameters"]) == (10_451 + 4 * 50, 8_001)


def test_random_targets_are_not_predicted_better_than_by_their_mean(results: dict[str, Any]) -> None:
    for row in results["textbook"].values():
        assert row["mean_squared_error"] == pytest.approx(1 / 12, rel=0.1)
        assert row["seconds"] > 0


def test_both_networks_beat_both_baselines_on_the_series_that_can_be_learnt(results: dict[str, Any]) -> None:
    series = results["series"]
    assert max(series["lstm"], series["gru"]) < min(series["mean"], series["last_value"])
    assert min(series.values()) > 0.1**2 / 2  # the noise: better would mean that the test part leaked


def test_without_json_it_prints_a_table_and_draws_the_forecast_where_it_is_told(
    run: RunScript, tmp_path: Path
) -> None:
    process = run("--epochs", "1", "--plot", str(tmp_path / "forecast.png"))
    assert process.returncode == 0, process.stderr
    assert "10,651" in process.stdout
    assert "10,451" in process.stdout
    assert "last value" in process.stdout
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--epochs", "0"),
        ("--repeats", "2"),
        ("--seed", "-1"),
        ("--seed", "9" * 23),
        ("--plot", "no/such/folder.png"),
    ],
)
def test_an_option_that_cannot_be_met_is_refused_before_any_work(
    run: RunScript, arguments: tuple[str, str]
) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert arguments[0] in process.stderr
    assert "Traceback" not in process.stderr
