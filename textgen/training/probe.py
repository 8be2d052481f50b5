"""How fast a network trains and reads on the device at hand: what a budget in minutes is worth in tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from textgen.models.language_model import LanguageModel

PROBE_SECONDS = 0.3  # for each of the two


class Speed(NamedTuple):
    """Tokens per second in training (forward and backward) and in reading (forward only, no graph)."""

    training: float
    reading: float


def measure_speed(model: LanguageModel, batch_size: int, seq_len: int) -> Speed:
    """The speed of a model on batches of this shape, where it is and in its arithmetic. No weight changes."""
    tokens = torch.zeros(batch_size, seq_len, dtype=torch.int64, device=next(model.parameters()).device)

    def read() -> None:
        with torch.no_grad():
            model(tokens, model.zero_state(batch_size))

    def train() -> None:
        logits, _ = model(tokens, model.zero_state(batch_size))
        cross_entropy(logits.float().flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    num_tokens = batch_size * seq_len
    return Speed(num_tokens / _fastest(train, tokens.device), num_tokens / _fastest(read, tokens.device))


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of a few calls: a busy moment says nothing of the machine."""
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < PROBE_SECONDS and len(seconds) < 50):
        started = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - started)
    return min(seconds)
