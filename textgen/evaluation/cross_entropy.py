"""Cross-entropy of a text, including tokens that training never saw.

Unseen tokens share the probability 1 / (training tokens + 1) equally; seen tokens share the rest in
proportion to their softmax probabilities. So every text has a finite loss, under a proper probability
distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from textgen.errors import damaged_weights
from textgen.text.model_vocab import ModelVocab


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


@dataclass(frozen=True)
class TokenCosts:
    """The terms of a token's cross-entropy that do not come from its logits.

    num_unseen: how many tokens the tokenizer has that training never saw.
    """

    vocab: ModelVocab
    num_unseen: int

    @property
    def seen_nats(self) -> float:
        """Nats added to every seen token, for the probability that is reserved for unseen tokens."""
        return -math.log1p(-1 / (self.vocab.total + 1)) if self.num_unseen else 0.0

    @property
    def unseen_nats(self) -> float:
        """The cross-entropy of an unseen token, in nats."""
        return math.log(self.vocab.total + 1) + math.log(self.num_unseen) if self.num_unseen else math.inf

    def first_nats(self, model_id: int) -> float:
        """The cross-entropy, by training frequency, of a first token that no start token precedes."""
        if model_id == self.vocab.size:
            return self.unseen_nats
        return -math.log(self.vocab.frequencies[model_id]) + self.seen_nats
