"""A mixture of two predictors that is nearly as good as the better of the two in every part of a text."""

from __future__ import annotations

import math

import numpy as np

# At every token, each predictor passes this share of its weight to the other, so that the mixture can switch
# when the other becomes the better one.
FIXED_SHARE = 0.01


class Mixture:
    """The average of two predictors' probabilities, weighted by how well each has predicted recently.

    The weights are updated by Bayes' rule and then partly equalized (fixed share), so that a predictor with
    almost no weight regains it within a few well-predicted tokens. Over any part of a text in which one of
    the two is better, the mixture costs at most a few nats more than that one.

    Herbster & Warmuth, "Tracking the best expert", 1998.
    """

    def __init__(self) -> None:
        self.weight = 0.5  # of the first predictor

    def total_nats(self, first: np.ndarray, second: np.ndarray) -> float:
        """The summed nats of the next tokens under the mixture, from each predictor's nats (T,).

        Updates the weight after each token.
        """
        total = 0.0
        for nats, other_nats in zip(first.tolist(), second.tolist(), strict=True):
            least = min(nats, other_nats)
            likelihood = self.weight * math.exp(least - nats)
            mixed = likelihood + (1 - self.weight) * math.exp(least - other_nats)
            total += least - math.log(mixed)
            self.weight = likelihood / mixed * (1 - FIXED_SHARE) + FIXED_SHARE / 2
        return total
