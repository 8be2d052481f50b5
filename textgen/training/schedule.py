"""The training budget, and the learning rate as a function of the progress through it.

    learning rate
      peak |   /\\__
           |  /    \\_
           | /       \\__
    final  |/            \\____
           +-------------------- progress, 0 to 1
            warm-up   cosine

Progress is the fraction of the budget that is used, whether that is in steps, epochs or minutes; with epochs
and minutes, that of the one nearer its end. Warm-up, decay and evaluations are all defined in terms of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train, in optimizer steps, tokens or wall-clock seconds; None is no limit.

    At least one is given; training ends when the first of them is spent.
    """

    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def progress(self, step: int, tokens: int, seconds: float) -> float:
        """The fraction of the budget that is used; 1 or more when it is spent."""
        used = ((step, self.steps), (tokens, self.tokens), (seconds, self.seconds))
        return max(amount / budget for amount, budget in used if budget is not None)


def learning_rate_factor(progress: float, *, warmup_fraction: float, final_fraction: float) -> float:
    """The learning rate at a progress from 0 to 1, as a fraction of its peak.

    Linear warm-up, then half a cosine down to final_fraction (Loshchilov & Hutter, "SGDR", 2017, without
    restarts).

    >>> learning_rate_factor(0.5, warmup_fraction=0.0, final_fraction=0.0)
    0.5
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup_fraction:
        # Not zero, so that the first step has an effect.
        return max(progress / warmup_fraction, 0.01)
    decayed = (progress - warmup_fraction) / (1 - warmup_fraction)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * decayed))


def describe_passes(times: float) -> str:
    """The number of passes over the text, in words for a message."""
    return f"{times:,.{0 if times >= 10 else 1}f} times through the text"
