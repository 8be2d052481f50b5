"""LSTM and GRU as regressors: the textbook's example, a series that can be learnt, and a race with Keras.

1. The textbook's example: 1000 random sequences of 10 steps and 1 feature, random targets, 50 units, one
   dense output, Adam, mean squared error. There is nothing to learn in it; it shows sizes and speed.
2. The same two networks on a noisy sum of sines: from the last 20 values to the next one, against predicting
   the mean and repeating the last value, on the end of the series, which training did not see.
3. With --keras, the textbook's example also in Keras, which the textbook uses: on its torch backend, in the
   same process and on the same threads, ours and theirs in turn.

Run as:

    python scripts/regression.py
    python scripts/regression.py --plot forecast.png
    python scripts/regression.py --keras
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from benchmarks.results import OutputFile

from textgen.models.regressor import SequenceRegressor
from textgen.system.threads import resolve_threads

CELLS = ("lstm", "gru")
NUM_SEQUENCES, NUM_STEPS, HIDDEN_SIZE, BATCH_SIZE = 1000, 10, 50, 32
SERIES_LENGTH, SERIES_STEPS, SERIES_NOISE = 1500, 20, 0.1
SERIES_LEARNING_RATE = 0.01


class Sequences(NamedTuple):
    """Inputs (N, T, 1) and the target of each (N, 1)."""

    X: np.ndarray
    y: np.ndarray


def textbook_data(seed: int) -> Sequences:
    """Random sequences with random targets, all uniform in 0..1."""
    rng = np.random.default_rng(seed)
    X = rng.random((NUM_SEQUENCES, NUM_STEPS, 1), dtype=np.float32)
    return Sequences(X, rng.random((NUM_SEQUENCES, 1), dtype=np.float32))


def series_data(seed: int) -> tuple[Sequences, Sequences]:
    """Windows of a noisy sum of two sines, each with the value that follows it: the first 80% and the rest.

    Training stops SERIES_STEPS before the test begins, so that the two share no value.
    """
    t = np.arange(SERIES_LENGTH)
    clean = 0.6 * np.sin(2 * np.pi * t / 25) + 0.4 * np.sin(2 * np.pi * t / 11)
    series = clean + SERIES_NOISE * np.random.default_rng(seed).standard_normal(SERIES_LENGTH)
    windows = np.lib.stride_tricks.sliding_window_view(series, SERIES_STEPS + 1)
    sequences = Sequences(windows[:, :-1, None], windows[:, -1:])
    cut = int(0.8 * len(windows))
    train, test = slice(cut - SERIES_STEPS), slice(cut, None)
    return Sequences(sequences.X[train], sequences.y[train]), Sequences(sequences.X[test], sequences.y[test])


def mean_squared_error(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Of two arrays of the same shape."""
    return float(np.mean((forecast - truth) ** 2))


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_textbook(epochs: int, repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Parameters, median training time and error of both networks on the textbook's example."""
    X, y = textbook_data(seed)
    results = {}
    for cell in CELLS:
        model = SequenceRegressor(cell, input_size=1, hidden_size=HIDDEN_SIZE)
        fit = partial(model.fit, X, y, batch_size=BATCH_SIZE, seed=seed)
        fit(epochs=1)  # the first epoch also pays for setting up
        times = [seconds(partial(fit, epochs=epochs)) for _ in range(repeats)]
        second_bias = model.layers.layer_weights(0).bias_hh.numel() if cell == "lstm" else 0
        results[cell] = {
            "parameters": model.num_parameters,
            "keras_parameters": model.num_parameters - second_bias,
            "seconds": statistics.median(times),
            "mean_squared_error": mean_squared_error(model.predict(X), y),
        }
    return results


def run_series(epochs: int, seed: int) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """Errors on the test part by name, baselines included; the networks' forecasts and the truth, (N, 1)."""
    train, test = series_data(seed)
    forecasts = {}
    for cell in CELLS:
        model = SequenceRegressor(cell, input_size=1, hidden_size=HIDDEN_SIZE)
        model.fit(*train, epochs=epochs, batch_size=BATCH_SIZE, learning_rate=SERIES_LEARNING_RATE, seed=seed)
        forecasts[cell] = model.predict(test.X)
    baselines = {"mean": np.full_like(test.y, train.y.mean()), "last_value": test.X[:, -1]}
    errors = {
        name: mean_squared_error(forecast, test.y) for name, forecast in (forecasts | baselines).items()
    }
    return errors, forecasts, test.y


def run_keras(epochs: int, repeats: int, seed: int) -> dict[str, Any]:
    """Median times of the textbook's example here and in Keras, measured in turn, and their ratio."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras  # slow to import, needed for this comparison only, and reads the variable above

    X, y = textbook_data(seed)
    results: dict[str, Any] = {"version": keras.__version__, "backend": keras.backend.backend()}
    for cell, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
        ours = SequenceRegressor(cell, input_size=1, hidden_size=HIDDEN_SIZE)
        theirs = keras.Sequential(
            [keras.layers.Input((NUM_STEPS, 1)), layer(HIDDEN_SIZE), keras.layers.Dense(1)]
        )
        theirs.compile(optimizer="adam", loss="mean_squared_error")
        fit_ours = partial(ours.fit, X, y, batch_size=BATCH_SIZE, seed=seed)
        fit_theirs = partial(theirs.fit, X, y, batch_size=BATCH_SIZE, verbose=0)
        for fit in (fit_ours, fit_theirs):
            fit(epochs=1)  # the first epoch also pays for setting up
        times = [
            [seconds(partial(fit, epochs=epochs)) for fit in (fit_ours, fit_theirs)] for _ in range(repeats)
        ]
        our_seconds, their_seconds = (statistics.median(column) for column in zip(*times, strict=True))
        results[cell] = {
            "parameters": theirs.count_params(),
            "seconds": their_seconds,
            "textgen_seconds": our_seconds,
            "ratio": our_seconds / their_seconds,
        }
    return results


def draw_forecast(path: Path, forecasts: dict[str, np.ndarray], truth: np.ndarray, steps: int = 120) -> None:
    """Draw the first steps of forecasts (N, 1) against the truth (N, 1) into an image file."""
    from matplotlib.figure import Figure  # needed for --plot only

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(truth[:steps, 0], color="black", linewidth=1, label="truth")
    styles = {"lstm": "--", "gru": ":"}  # told apart in black and white too
    for cell, forecast in forecasts.items():
        axes.plot(forecast[:steps, 0], linewidth=1.4, linestyle=styles[cell], label=cell.upper())
    axes.set_xlabel("step after the end of training")
    axes.set_ylabel("value")
    axes.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=150)


def report_textbook(results: dict[str, Any]) -> list[str]:
    """The textbook's example as lines of text."""
    lines = [
        f"The textbook's example: {NUM_SEQUENCES} random sequences of {NUM_STEPS} steps,",
        f"{HIDDEN_SIZE} units, {results['epochs']} epochs in batches of {BATCH_SIZE}; "
        f"{results['threads']} CPU threads",
        f"{'':12}{'parameters':>12}{'in Keras':>12}{'seconds':>12}{'mean squared error':>22}",
    ]
    for cell, row in results["textbook"].items():
        lines.append(
            f"{cell:12}{row['parameters']:12,}{row['keras_parameters']:12,}{row['seconds']:12.3f}"
            f"{row['mean_squared_error']:22.4f}"
        )
    lstm = results["textbook"]["lstm"]
    return [
        *lines,
        f"The LSTM's {lstm['parameters'] - lstm['keras_parameters']} more: torch, for cuDNN's sake, adds two",
        f"biases in each of the 4 x {HIDDEN_SIZE} gate units, Keras one. A GRU needs both, in Keras too.",
        f"The targets are random: an error below {1 / 12:.4f}, their variance, would be learnt by heart.",
    ]


def report_series(errors: dict[str, float]) -> list[str]:
    """The errors on the series as lines of text."""
    return [
        "A noisy sum of sines, the next value: mean squared error on the end that training did not see",
        *(f"{name.replace('_', ' '):12}{error:12.4f}" for name, error in errors.items()),
        f"The noise alone makes {SERIES_NOISE**2:.4f}, which nobody can foretell.",
    ]


def report_keras(results: dict[str, Any]) -> list[str]:
    """The race as lines of text."""
    return [
        f"Against Keras {results['version']} on its {results['backend']} backend: median seconds in turn",
        f"{'':12}{'textgen':>12}{'Keras':>12}{'ratio':>12}",
        *(
            f"{cell:12}{results[cell]['textgen_seconds']:12.3f}{results[cell]['seconds']:12.3f}"
            f"{results[cell]['ratio']:12.2f}"
            for cell in CELLS
        ),
    ]


def require(module: str, option: str) -> None:
    """Raise a one-line error when the library that an option needs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise click.UsageError(f"{option} needs {module}, which is not installed: pip install {module}")


@click.command()
@click.option(
    "--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the data."
)
@click.option(
    "--repeats", type=click.IntRange(min=3), default=3, show_default=True, help="Timings per median."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Of data and weights."
)
@click.option("--plot", type=OutputFile(), help="Draw the forecast into FILE.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output instead of a table."
)
@click.option("--keras", "with_keras", is_flag=True, help="Time the textbook's example in Keras too.")
def main(epochs: int, repeats: int, seed: int, plot: Path | None, as_json: bool, with_keras: bool) -> None:
    """LSTM and GRU as regressors on sequences of numbers."""
    if plot is not None:
        require("matplotlib", "--plot")
    if with_keras:
        require("keras", "--keras")
    results: dict[str, Any] = {"epochs": epochs, "repeats": repeats, "seed": seed}
    # What helps small networks: a second thread costs ours and Keras' more than it saves.
    torch.set_num_threads(resolve_threads(None, hidden_size=HIDDEN_SIZE))
    results["threads"] = torch.get_num_threads()
    results["textbook"] = run_textbook(epochs, repeats, seed)
    results["series"], forecasts, truth = run_series(epochs, seed)
    lines = [*report_textbook(results), "", *report_series(results["series"])]
    if with_keras:
        results["keras"] = run_keras(epochs, repeats, seed)
        lines += ["", *report_keras(results["keras"])]
    click.echo(json.dumps(results, indent=2) if as_json else "\n".join(lines))
    if plot is not None:
        try:
            draw_forecast(plot, forecasts, truth)
        except (OSError, ValueError) as error:  # not allowed to write, or an ending that is no image format
            raise click.ClickException(f"{plot}: {error}") from error
        click.echo(f"The forecast is drawn in {plot}", err=True)


if __name__ == "__main__":
    main()
