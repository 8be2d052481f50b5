"""What each unit follows: the one feature of the text that its memory copies best, and where it fires most.

Shapes: N tokens, L layers, H hidden_size, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ENOUGH_TOKENS = 500  # of fewer, chance explains much of some unit by some feature
CONTEXTS = 5  # how many places are kept where a unit is highest, and where it is lowest
_APART = 12  # tokens between two of them, so that they are places and not one place five times


@dataclass(frozen=True, eq=False)
class Selectivity:
    """What each unit follows, (L, H) each; names of F features, none where the text is alike throughout.

    share: how much of the variance of the unit's memory a straight line through its feature explains, 0 to
    1. feature: the index of that feature among names; -1 where there is none. rises: whether the memory is
    higher where the feature is.
    """

    names: tuple[str, ...]
    share: np.ndarray
    feature: np.ndarray
    rises: np.ndarray

    @property
    def ranking(self) -> list[tuple[int, int]]:
        """All units as (layer, unit), the most selective first."""
        order = np.argsort(-self.share, axis=None, kind="stable")
        return [divmod(int(place), self.share.shape[1]) for place in order]

    def name(self, layer: int, unit: int) -> str:
        """The feature that a unit follows; "inverted" where the unit is low where the feature is high."""
        feature = int(self.feature[layer, unit])
        if feature < 0:
            return "nothing"
        return self.names[feature] + ("" if self.rises[layer, unit] else ", inverted")


def select(memory: np.ndarray, features: Mapping[str, np.ndarray]) -> Selectivity:
    """Compare each unit's memory (L, N, H) with each feature (N,).

    The share is the squared correlation, adjusted for the length of the text (1 - (1 - r^2)(N - 1)/(N - 2)),
    as chance alone explains more of a short one.
    """
    num_layers, length, hidden_size = memory.shape
    shape = num_layers, hidden_size
    if not features or length < 3:
        return Selectivity((), np.zeros(shape), np.full(shape, -1), np.ones(shape, bool))
    units = _standardised(memory.transpose(1, 0, 2).reshape(length, -1).astype(np.float64))  # (N, L * H)
    table = _standardised(np.stack(list(features.values()), axis=1).astype(np.float64))  # (N, F)
    correlation = table.T @ units / length  # (F, L * H)
    shares = 1 - (1 - correlation**2) * (length - 1) / (length - 2)
    best = shares.argmax(axis=0)  # (L * H,)
    share = np.take_along_axis(shares, best[None], axis=0)[0].clip(0, 1)
    rises = np.take_along_axis(correlation, best[None], axis=0)[0] >= 0
    feature = np.where(share > 0, best, -1)
    return Selectivity(tuple(features), share.reshape(shape), feature.reshape(shape), rises.reshape(shape))


def _standardised(columns: np.ndarray) -> np.ndarray:
    """Columns (N, K) with mean 0 and variance 1; one that does not vary is 0 throughout."""
    centred = columns - columns.mean(axis=0)
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    still = deviation <= 1e-7 * np.abs(columns).max(axis=0)  # float32's rounding is no variation
    quotient: np.ndarray = centred / np.where(still, np.inf, deviation)
    return quotient


def strongest(series: np.ndarray) -> list[int]:
    """Up to CONTEXTS places at which a series (N,) is highest, some tokens apart, the highest first."""
    free, places = series.astype(np.float64), list[int]()
    while len(places) < CONTEXTS and free.max() > -np.inf:
        place = int(free.argmax())
        places.append(place)
        free[max(place - _APART, 0) : place + _APART + 1] = -np.inf
    return places
