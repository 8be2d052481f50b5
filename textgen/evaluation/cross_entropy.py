"""Cross-entropy of a text, including tokens that training never saw (text/token_costs.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from textgen.errors import damaged_weights


@dataclass(frozen=True)
class Loss:
    """The summed cross-entropy of some tokens, in nats, and how many of them training never saw."""

    total_nats: float
    tokens: int
    unseen_tokens: int

    def __add__(self, other: Loss) -> Loss:
        """The loss of both texts together."""
        return Loss(
            self.total_nats + other.total_nats,
            self.tokens + other.tokens,
            self.unseen_tokens + other.unseen_tokens,
        )

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy per token; NaN if there are no tokens."""
        return self.total_nats / self.tokens if self.tokens else math.nan

    def require_finite(self) -> Loss:
        """Return the loss itself. Raises RunError (damaged weights) if it is infinite or NaN."""
        if not math.isfinite(self.total_nats):
            raise damaged_weights()
        return self
