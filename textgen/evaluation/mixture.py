"""A mixture of predictors that is nearly as good as the best of them in every part of a text."""

from __future__ import annotations

import math

import numpy as np

# At every token, each predictor passes this share of its weight to all alike, so that the mixture can switch
# when another becomes the best one.
FIXED_SHARE = 0.01


class Mixture:
    """The average of some predictors' probabilities, weighted by how well each has predicted recently.

    The weights are updated by Bayes' rule and then partly equalized (fixed share), so that a predictor with
    almost no weight regains it within a few well-predicted tokens. Over any part of a text in which one of
    them is better than the others, the mixture costs at most a few nats more than that one.

    Herbster & Warmuth, "Tracking the best expert", 1998.
    """

    def __init__(self) -> None:
        self.weights: list[float] = []  # of the predictors; empty until there are some

    def total_nats(self, *predictors: np.ndarray) -> float:
        """The summed nats of the next tokens under the mixture, from each predictor's nats (T,).

        Updates the weights after each token.
        """
        count = len(predictors)
        weights = self.weights or [1 / count] * count
        total = 0.0
        for nats in zip(*(predictor.tolist() for predictor in predictors), strict=True):
            least = min(nats)
            likelihoods = [
                weight * math.exp(least - each) for weight, each in zip(weights, nats, strict=True)
            ]
            mixed = sum(likelihoods)
            total += least - math.log(mixed)
            weights = [
                likelihood / mixed * (1 - FIXED_SHARE) + FIXED_SHARE / count for likelihood in likelihoods
            ]
        self.weights = weights
        return total
