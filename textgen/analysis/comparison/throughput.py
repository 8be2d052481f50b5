"""How fast cells are beside each other: writing, and the two passes of training, ours and torch's own.

In turn, a little of each in every round: other work on the machine comes and goes, and slows all of them
alike. What counts are the ratios.
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

WRITTEN_TOKENS, WRITING_ROUNDS = 1000, 7
PASSES_SECONDS, FEWEST_ROUNDS, MOST_ROUNDS = 5.0, 5, 40


@dataclass(frozen=True)
class Passes:
    """Forward and backward together, by cell, round by round, all on batches of one shape."""

    shape: str  # in words
    textgen_seconds: dict[str, list[float]]
    torch_seconds: dict[str, list[float]]  # torch.nn.LSTM, GRU, RNN


def writing_speeds(runs: Mapping[str, Run]) -> dict[str, float]:
    """Characters a second that the runs write on the CPU, by cell: the bare NumPy engine and the draw.

    Characters are counted by how many a token has on average in the training text.
    """
    set_threads = numpy_threads()
    writers = {cell: _writer(run, set_threads) for cell, run in runs.items()}
    seconds = _in_turn(list(writers.values()), WRITING_ROUNDS)
    return {
        cell: WRITTEN_TOKENS * run.config.measured["characters_per_token"] / statistics.median(column)
        for (cell, run), column in zip(runs.items(), seconds, strict=True)
    }


def _writer(run: Run, set_threads: Callable[[int], None] | None) -> Callable[[], None]:
    weights, config = run.load_weights(), SampleConfig()
    if set_threads is None:
        engine = NumpyEngine(run.config.model, weights)
    else:
        engine = fast_engine(run.config.model, weights, set_threads)

    def write() -> None:
        logits = engine.start(np.zeros((1, 1), np.int64))
        for chance in np.random.default_rng(0).random((WRITTEN_TOKENS, 1)):
            logits = engine.step(choose(logits, config, chance))

    return write


def passes(cells: Sequence[str], model: ModelConfig, training: TrainingConfig) -> Passes:
    """Time the recurrent layers alone, forward and backward, in float32 on the CPU: the same shape for all.

    The shape, and the threads, are those of the run with this config.
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
    seconds = _in_turn([_both_ways(each, model, training) for each in layers], None)
    own, others = seconds[: len(cells)], seconds[len(cells) :]
    shape = (
        f"{model.num_layers} x {model.hidden_size} units, batches of {training.batch_size} x "
        f"{training.seq_len}, float32, {training.threads} CPU thread{'s' * (training.threads != 1)}"
    )
    return Passes(shape, dict(zip(cells, own, strict=True)), dict(zip(cells, others, strict=True)))


def _both_ways(
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


def _in_turn(actions: Sequence[Callable[[], None]], rounds: int | None) -> list[list[float]]:
    """Seconds of each action in each round, after one of each that is not counted; None: as time allows."""
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
    return done >= MOST_ROUNDS or (done >= FEWEST_ROUNDS and seconds >= PASSES_SECONDS)
