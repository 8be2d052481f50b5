"""Regression on sequences of numbers: a recurrent layer and a dense output, as in a textbook's first example.

1. The textbook example: 1000 random sequences of 10 steps and 1 feature with random targets, 50 units, one
   dense output, Adam, mean squared error; once with an LSTM and once with a GRU. There is nothing to learn in
   random targets: the example shows how such a network is built, its size and its speed.

   The GRU has 8,001 parameters, as in Keras. The LSTM has 10,651, where Keras counts 10,451: torch keeps two
   biases per gate, one for the input and one for the state, because cuDNN needs them. In an LSTM the two are
   simply added, so that 200 of the parameters are redundant. A GRU needs both, also in Keras, because its
   reset gate is applied between them.

2. The same two networks on a series that can be learned, a noisy sum of two sines: they predict the next
   value from the last 20. They are compared with predicting the mean and with repeating the last value, on
   the end of the series, which is not used in training.

3. With --keras, the textbook example in Keras too: on its torch backend, in the same process, on the same
   threads, with textgen and Keras timed in turn.

Examples:
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
from benchmarks.command import OutputFile, Script

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
    """Random sequences with random targets, all uniform between 0 and 1."""
    rng = np.random.default_rng(seed)
    X = rng.random((NUM_SEQUENCES, NUM_STEPS, 1), dtype=np.float32)
    return Sequences(X, rng.random((NUM_SEQUENCES, 1), dtype=np.float32))


def series_data(seed: int) -> tuple[Sequences, Sequences]:
    """Windows of a noisy sum of two sines, each with its next value: the first 80%, and the rest.

    SERIES_STEPS windows between the two parts are left out, so that they have no values in common.
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
    """The mean squared error between two arrays of the same shape."""
    return float(np.mean((forecast - truth) ** 2))


def seconds(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_textbook(epochs: int, repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Parameters, median training time and error of both networks on the textbook example."""
    X, y = textbook_data(seed)
    results = {}
    for cell in CELLS:
        model = SequenceRegressor(cell, input_size=1, hidden_size=HIDDEN_SIZE)
        fit = partial(model.fit, X, y, batch_size=BATCH_SIZE, seed=seed)
        fit(epochs=1)  # the first epoch includes one-time setup
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
    """Errors on the test part, of baselines too; the networks' forecasts and the true values, (N, 1)."""
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
    """Median times of the textbook example here and in Keras, measured in turn, and their ratio."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras  # imported only here: it is slow to load, and reads the variable above

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
            fit(epochs=1)  # the first epoch includes one-time setup
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
    """Plot the first steps of forecasts (N, 1) and of the true values (N, 1) into an image file."""
    from matplotlib.figure import Figure  # needed for --plot only

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(truth[:steps, 0], color="black", linewidth=1, label="truth")
    styles = {"lstm": "--", "gru": ":"}  # distinguishable in black and white too
    for cell, forecast in forecasts.items():
        axes.plot(forecast[:steps, 0], linewidth=1.4, linestyle=styles[cell], label=cell.upper())
    axes.set_xlabel("step after the end of training")
    axes.set_ylabel("value")
    axes.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=150)


def report_textbook(results: dict[str, Any]) -> list[str]:
    """The results of the textbook example as lines of text."""
    lines = [
        f"Textbook example: {NUM_SEQUENCES} random sequences of {NUM_STEPS} steps, {HIDDEN_SIZE} units,",
        f"{results['epochs']} epochs in batches of {BATCH_SIZE}, {results['threads']} CPU threads",
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
        f"The LSTM has {lstm['parameters'] - lstm['keras_parameters']} parameters more than in Keras because "
        f"torch has two biases for each of its 4 x {HIDDEN_SIZE} gate units.",
        f"The targets are random: an error below their variance, {1 / 12:.4f}, would be overfitting.",
    ]


def report_series(errors: dict[str, float]) -> list[str]:
    """The errors on the series as lines of text."""
    return [
        "Next value of a noisy sum of sines: mean squared error on the end, which is not used in training",
        *(f"{name.replace('_', ' '):12}{error:12.4f}" for name, error in errors.items()),
        f"The noise alone has a variance of {SERIES_NOISE**2:.4f}, which cannot be predicted.",
    ]


def report_keras(results: dict[str, Any]) -> list[str]:
    """The comparison with Keras as lines of text."""
    return [
        f"Against Keras {results['version']} on its {results['backend']} backend: median seconds",
        f"{'':12}{'textgen':>12}{'Keras':>12}{'ratio':>12}",
        *(
            f"{cell:12}{results[cell]['textgen_seconds']:12.3f}{results[cell]['seconds']:12.3f}"
            f"{results[cell]['ratio']:12.2f}"
            for cell in CELLS
        ),
    ]


def require(module: str, option: str) -> None:
    """Raise UsageError if the library that an option needs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise click.UsageError(f"{option} needs {module}, which is not installed: pip install {module}")


@click.command(cls=Script, help=__doc__)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the data."
)
@click.option(
    "--repeats", type=click.IntRange(min=3), default=3, show_default=True, help="Timings for each median."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Seed of data, weights.",
)
@click.option("--plot", type=OutputFile(), help="Plot the forecast into FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--keras", "with_keras", is_flag=True, help="Time the textbook example in Keras too.")
def main(epochs: int, repeats: int, seed: int, plot: Path | None, as_json: bool, with_keras: bool) -> None:
    """Run the examples and print their results."""
    if plot is not None:
        require("matplotlib", "--plot")
    if with_keras:
        require("keras", "--keras")
    results: dict[str, Any] = {"epochs": epochs, "repeats": repeats, "seed": seed}
    # One thread: with such small networks a second one costs more than it saves, in Keras too.
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
        except (OSError, ValueError) as error:  # not writable, or a suffix that is no image format
            raise click.ClickException(f"{plot}: {error}") from error
        click.echo(f"The plot is in {plot}", err=True)


if __name__ == "__main__":
    main()
