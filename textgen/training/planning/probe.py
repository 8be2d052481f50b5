"""Measures how fast a network trains and reads on this device, to convert minutes into tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from textgen.models.language_model import LanguageModel
from textgen.system.threads import available_processors
from textgen.training.loss import mean_loss

PROBE_SECONDS = 0.15  # for each measurement, or three calls if they take longer
# More threads must shorten a step to this fraction: they take processors away from whatever else runs.
WORTH_MORE_THREADS = 0.95
# If the machine happens to be busy, that must not cost the whole run its threads: more threads are rejected
# only after this many slow measurements, this many seconds apart.
MEASUREMENTS = 4
SECONDS_BETWEEN = 0.15


class Threads(NamedTuple):
    """A number of CPU threads, and how many tokens per second a model trains on with it."""

    number: int
    tokens_per_second: float


def training_speed(model: LanguageModel, batch_size: int, seq_len: int) -> float:
    """Tokens per second forward and backward, on batches of this shape. No weight changes."""
    tokens = _tokens(model, batch_size, seq_len)
    return tokens.numel() / _fastest(partial(_train, model, tokens), tokens.device)


def reading_speed(model: LanguageModel, batch_size: int, seq_len: int) -> float:
    """Tokens per second forward only, without a graph."""
    tokens = _tokens(model, batch_size, seq_len)

    def read() -> None:
        with torch.no_grad():
            model(tokens, model.zero_state(batch_size))

    return tokens.numel() / _fastest(read, tokens.device)


def fastest_threads(model: LanguageModel, batch_size: int, seq_len: int) -> Threads:
    """The number of CPU threads that trains the model fastest on such batches; torch is left set to it.

    Threads are doubled as long as that is faster, up to the number of processors: each waits for the others
    at every time step, so beyond a number that depends on network and machine more threads are slower.
    """
    tokens = _tokens(model, batch_size, seq_len)
    train = partial(_train, model, tokens)
    best, shortest = 1, math.inf
    for threads in _doubled(available_processors()):
        torch.set_num_threads(threads)
        seconds = _fastest(train, tokens.device)
        for _ in range(MEASUREMENTS - 1):
            if seconds <= shortest * WORTH_MORE_THREADS:
                break
            time.sleep(SECONDS_BETWEEN)
            seconds = min(seconds, _fastest(train, tokens.device))
        if seconds > shortest * WORTH_MORE_THREADS:
            break
        best, shortest = threads, seconds
    torch.set_num_threads(best)
    return Threads(best, tokens.numel() / shortest)


def _doubled(most: int) -> list[int]:
    """1, 2, 4, ... and most."""
    return [2**power for power in range(most.bit_length()) if 2**power < most] + [most]


def _tokens(model: LanguageModel, batch_size: int, seq_len: int) -> Tensor:
    return torch.zeros(batch_size, seq_len, dtype=torch.int64, device=next(model.parameters()).device)


def _train(model: LanguageModel, tokens: Tensor) -> None:
    """Forward and backward, without changing a weight."""
    logits, _ = model(tokens, model.zero_state(len(tokens)))
    mean_loss(logits, tokens).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of a few calls: the slower ones were disturbed by other programs."""
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < PROBE_SECONDS and len(seconds) < 50):
        started = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - started)
    return min(seconds)
