"""The cost of tokens that training never saw, and what it takes from the probability of the others.

Unseen tokens share the probability 1 / (training tokens + 1) equally; seen tokens share the rest in
proportion to their softmax probabilities. So every text has a finite loss, under a proper probability
distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from textgen.text.model_vocab import ModelVocab


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
