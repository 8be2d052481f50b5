"""Two predictors as one that is never much worse than the better of them, wherever in a text that is."""

from __future__ import annotations

import math

import numpy as np

# Of the trust in each predictor so much goes to the other one at every token: the better one may change.
FIXED_SHARE = 0.01


class Mixture:
    """The mean of two predictors' probabilities, weighted by how well each has done of late.

    The weights are those of Bayes' rule, of which a fixed share is evened out at every token, so that a
    predictor that has lost all trust wins it back in a few good tokens. Over any segment where one of the two
    is the better, the mixture costs at most a few nats more than that one.

    Herbster & Warmuth, "Tracking the best expert", 1998.
    """

    def __init__(self) -> None:
        self.trust = 0.5  # in the first of the two

    def total_nats(self, first: np.ndarray, second: np.ndarray) -> float:
        """The nats of the next tokens under the mixture, from their nats (T,) under either; trust follows."""
        total = 0.0
        for nats, other_nats in zip(first.tolist(), second.tolist(), strict=True):
            least = min(nats, other_nats)
            likelihood = self.trust * math.exp(least - nats)
            mixed = likelihood + (1 - self.trust) * math.exp(least - other_nats)
            total += least - math.log(mixed)
            self.trust = likelihood / mixed * (1 - FIXED_SHARE) + FIXED_SHARE / 2
        return total
