"""What a text's tokens cost: their sum, and what no softmax says of them.

Tokens that training never saw share the probability 1 / (training tokens + 1) equally; the seen ones share
the rest in the proportions that the softmax gives. So every text has a finite loss, and an honest one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from textgen.errors import damaged_weights
from textgen.text.model_vocab import ModelVocab


@dataclass(frozen=True)
class Loss:
    """The summed cross-entropy of some tokens, in nats."""

    total_nats: float
    tokens: int
    unseen_tokens: int

    def __add__(self, other: Loss) -> Loss:
        """That of both texts."""
        return Loss(
            self.total_nats + other.total_nats,
            self.tokens + other.tokens,
            self.unseen_tokens + other.unseen_tokens,
        )

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy of a token; not a number where there is none."""
        return self.total_nats / self.tokens if self.tokens else math.nan

    def of_sound_weights(self) -> Loss:
        """The same loss, of a run's own weights. Raises RunError where it is no number."""
        if not math.isfinite(self.total_nats):
            raise damaged_weights()
        return self


@dataclass(frozen=True)
class TokenCosts:
    """What tokens cost beside the softmax of their logits, with the shared probability of unseen tokens.

    num_unseen is how many tokens the tokenizer has that training never saw.
    """

    vocab: ModelVocab
    num_unseen: int

    @property
    def seen_nats(self) -> float:
        """What every seen token pays for the probability that unseen ones hold."""
        return -math.log1p(-1 / (self.vocab.total + 1)) if self.num_unseen else 0.0

    @property
    def unseen_nats(self) -> float:
        """The cost of one unseen token."""
        return math.log(self.vocab.total + 1) + math.log(self.num_unseen) if self.num_unseen else math.inf

    def first_nats(self, row: int) -> float:
        """The cost of a text's first token where there is no token to start after: by training frequency."""
        if row == self.vocab.size:
            return self.unseen_nats
        return -math.log(self.vocab.frequencies[row]) + self.seen_nats
