"""The regression example, run as a user runs it."""

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


def test_the_textbook_networks_have_the_parameters_of_keras_plus_torchs_second_bias(
    results: dict[str, Any],
) -> None:
    lstm, gru = results["textbook"]["lstm"], results["textbook"]["gru"]
    assert (lstm["keras_parameters"], gru["keras_parameters"]) == (10_451, 8_001)
    assert (lstm["parameters"], gru["parameters"]) == (10_451 + 4 * 50, 8_001)


def test_random_targets_are_not_predicted_better_than_by_their_mean(results: dict[str, Any]) -> None:
    for row in results["textbook"].values():
        assert row["mean_squared_error"] == pytest.approx(1 / 12, rel=0.1)
        assert row["seconds"] > 0


def test_both_networks_beat_both_baselines_on_the_series_that_can_be_learned(results: dict[str, Any]) -> None:
    series = results["series"]
    assert max(series["lstm"], series["gru"]) < min(series["mean"], series["last_value"])
    assert min(series.values()) > 0.1**2 / 2  # the noise; less would mean that test values leaked


def test_without_json_it_prints_tables_and_plots_the_forecast(run: RunScript, tmp_path: Path) -> None:
    process = run("--epochs", "1", "--plot", str(tmp_path / "forecast.png"))
    assert process.returncode == 0, process.stderr
    assert "10,651" in process.stdout
    assert "10,451" in process.stdout
    assert "last value" in process.stdout
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_the_help_explains_the_example(run: RunScript) -> None:
    process = run("--help")
    assert process.returncode == 0, process.stderr
    assert "1000 random sequences of 10 steps and 1 feature" in process.stdout
    assert "The GRU has 8,001 parameters, as in Keras. The LSTM has 10,651" in process.stdout
    assert "    python scripts/regression.py --keras\n" in process.stdout, "line breaks are kept"


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
def test_an_invalid_option_is_refused_before_any_work(run: RunScript, arguments: tuple[str, str]) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert arguments[0] in process.stderr
    assert "Traceback" not in process.stderr
