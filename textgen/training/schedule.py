"""How much of the budget is used, and the learning rate that belongs to it.

    learning rate
      peak |   /\\__
           |  /    \\_
           | /       \\__
    final  |/            \\____
           +-------------------- progress, 0 to 1
            warm-up   cosine

Progress is a share of whichever budget was given: steps, epochs or minutes, or of the one of the two last
that will be spent first. Everything that happens at a certain time (warm-up, decay, evaluations) is stated in
progress, so that it needs no second rule for clocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train: optimizer steps, tokens, seconds of wall-clock; at least one, until one is spent."""

    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def progress(self, step: int, tokens: int, seconds: float) -> float:
        """The share of the budget that is used after so much; 1 or more when it is spent."""
        used = ((step, self.steps), (tokens, self.tokens), (seconds, self.seconds))
        return max(amount / budget for amount, budget in used if budget is not None)


def learning_rate_factor(progress: float, *, warmup_fraction: float, final_fraction: float) -> float:
    """The learning rate at this progress as a share of its peak: linear warm-up, then half a cosine.

    (Loshchilov & Hutter 2017, "SGDR", without restarts.)

    >>> learning_rate_factor(0.5, warmup_fraction=0.0, final_fraction=0.0)
    0.5
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup_fraction:
        # Not from zero: the first step should count.
        return max(progress / warmup_fraction, 0.01)
    decayed = (progress - warmup_fraction) / (1 - warmup_fraction)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * decayed))


def describe_reading(times: float) -> str:
    """How often a text is read."""
    return f"{times:,.{0 if times >= 10 else 1}f} times through the text"
