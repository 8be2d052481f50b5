"""Measures sampling speed and the time of a forward and backward pass for each compared cell.

The cells are timed alternately, one call each per round, so that other load on the machine slows all of them
alike. Only the ratios between cells are meaningful, not the absolute times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.thread_tuner import fast_engine
from textgen.generation.sampling import choose
from textgen.run import Run
from textgen.settings.config import ModelConfig, SampleConfig, TrainingConfig
from textgen.system.memory import keep_memory
from textgen.system.threads import numpy_threads

SAMPLED_TOKENS, SAMPLING_ROUNDS = 1000, 7
LAYER_SECONDS, MIN_ROUNDS, MAX_ROUNDS = 5.0, 5, 40


@dataclass(frozen=True)
class Throughput:
    """Seconds of one forward and backward pass of the recurrent layers, by cell, one entry per round."""

    shape: str  # what was timed, for a person to read
    textgen_seconds: dict[str, list[float]]
    torch_seconds: dict[str, list[float]]  # torch.nn.LSTM, GRU, RNN


def sampling_speeds(runs: Mapping[str, Run]) -> dict[str, float]:
    """Characters per second that the NumPy engine samples on the CPU, by cell.

    Characters are estimated from the number of tokens and the average token length in the training text.
    """
    set_threads = numpy_threads()
    samplers = {cell: _sampler(run, set_threads) for cell, run in runs.items()}
    seconds = _time_rounds(list(samplers.values()), SAMPLING_ROUNDS)
    return {
        cell: SAMPLED_TOKENS * run.config.measured["characters_per_token"] / statistics.median(column)
        for (cell, run), column in zip(runs.items(), seconds, strict=True)
    }


def _sampler(run: Run, set_threads: Callable[[int], None] | None) -> Callable[[], None]:
    weights, config = run.load_weights(), SampleConfig()
    if set_threads is None:
        engine = NumpyEngine(run.config.model, weights)
    else:
        engine = fast_engine(run.config.model, weights, set_threads)

    def sample() -> None:
        logits = engine.start(np.zeros((1, 1), np.int64))
        for uniforms in np.random.default_rng(0).random((SAMPLED_TOKENS, 1)):
            logits = engine.step(choose(logits, config, uniforms))

    return sample


def measure_throughput(cells: Sequence[str], model: ModelConfig, training: TrainingConfig) -> Throughput:
    """Time forward and backward passes of the recurrent layers alone, in float32 on the CPU.

    All cells get the same input shape, layer sizes and number of threads, taken from model and training.
    """
    import torch

    from textgen.models.recurrent import Recurrent

    assert training.threads is not None  # resolved
    torch.set_num_threads(training.threads)
    keep_memory()
    sizes = model.embedding_dim, model.hidden_size, model.num_layers
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
    layers = [Recurrent(cell, *sizes) for cell in cells]
    layers += [kinds[cell](*sizes, batch_first=True) for cell in cells]
    seconds = _time_rounds([_training_pass(each, model, training) for each in layers], None)
    ours, theirs = seconds[: len(cells)], seconds[len(cells) :]
    shape = (
        f"{model.num_layers} x {model.hidden_size} units, batches of {training.batch_size} x "
        f"{training.seq_len}, float32, {training.threads} CPU thread{'s' * (training.threads != 1)}"
    )
    return Throughput(shape, dict(zip(cells, ours, strict=True)), dict(zip(cells, theirs, strict=True)))


def _training_pass(
    layers: Callable[..., Any], model: ModelConfig, training: TrainingConfig
) -> Callable[[], None]:
    import torch

    x = torch.randn(
        training.batch_size, training.seq_len, model.embedding_dim, requires_grad=True
    )  # (B, T, E)
    gradient = torch.ones(training.batch_size, training.seq_len, model.hidden_size)  # (B, T, H)

    def forward_and_backward() -> None:
        x.grad = None
        outputs, _ = layers(x)
        outputs.backward(gradient)

    return forward_and_backward


def _time_rounds(actions: Sequence[Callable[[], None]], rounds: int | None) -> list[list[float]]:
    """Seconds of each action in each round, after one warm-up call each.

    rounds None: as many as fit into LAYER_SECONDS, between MIN_ROUNDS and MAX_ROUNDS.
    """
    for action in actions:
        action()
    columns: list[list[float]] = [[] for _ in actions]
    started = time.perf_counter()
    while not _is_enough(len(columns[0]), rounds, time.perf_counter() - started):
        for action, column in zip(actions, columns, strict=True):
            begun = time.perf_counter()
            action()
            column.append(time.perf_counter() - begun)
    return columns


def _is_enough(done: int, rounds: int | None, seconds: float) -> bool:
    if rounds is not None:
        return done >= rounds
    return done >= MAX_ROUNDS or (done >= MIN_ROUNDS and seconds >= LAYER_SECONDS)
