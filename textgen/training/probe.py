"""How fast a network trains on the device at hand: what a budget in minutes is worth in tokens."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from textgen.config import TrainingConfig
from textgen.models.language_model import LanguageModel

PROBE_SECONDS = 0.3


def expected_tokens(
    training: TrainingConfig, model: LanguageModel, train_tokens: int, measured: dict[str, Any]
) -> float:
    """How many tokens the budget will train on; for minutes that takes a look at the speed."""
    window = training.batch_size * training.seq_len
    if training.steps is not None:
        return training.steps * window
    if training.epochs is not None:
        return training.epochs * train_tokens
    speed = _probe(model, training.batch_size, training.seq_len)
    measured["probed_tokens_per_second"] = round(speed)
    assert training.minutes is not None
    return speed * training.minutes * 60


def _probe(model: LanguageModel, batch_size: int, seq_len: int) -> float:
    """Tokens per second of forward and backward on this device, from a few windows. No weight changes."""
    tokens = torch.zeros(batch_size, seq_len, dtype=torch.int64, device=next(model.parameters()).device)
    seconds: list[float] = []
    while len(seconds) < 2 or (sum(seconds) < PROBE_SECONDS and len(seconds) < 50):
        started = time.monotonic()
        logits, _ = model(tokens, model.zero_state(batch_size))
        cross_entropy(logits.float().flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        if tokens.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - started)
    return batch_size * seq_len / min(seconds)  # the fastest: a busy moment says nothing of the machine
