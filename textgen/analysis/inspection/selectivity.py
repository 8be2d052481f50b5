"""Which feature of the text each unit tracks best, and where in the text the unit is most active.

Shapes: N tokens, L layers, H hidden_size, F features, K columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MIN_TOKENS = 500  # with fewer, some unit correlates with some feature by chance
MAX_PEAKS = 5
_MIN_DISTANCE = 12  # in tokens, between two peaks of a unit


@dataclass(frozen=True, eq=False)
class Selectivity:
    """The feature that each unit tracks best, (L, H) each; names has F features, none if nothing varies.

    share: the share of the variance of the unit's state that a linear fit to the feature explains, 0 to 1.
    feature: the index of the feature in names, -1 for none. rises: whether the correlation is positive.
    """

    names: tuple[str, ...]
    share: np.ndarray
    feature: np.ndarray
    rises: np.ndarray

    @property
    def ranking(self) -> list[tuple[int, int]]:
        """All units as (layer, unit), most selective first."""
        order = np.argsort(-self.share, axis=None, kind="stable")
        return [divmod(int(place), self.share.shape[1]) for place in order]

    def name(self, layer: int, unit: int) -> str:
        """The name of the feature that a unit tracks, with ", inverted" if the correlation is negative."""
        feature = int(self.feature[layer, unit])
        if feature < 0:
            return "nothing"
        return self.names[feature] + ("" if self.rises[layer, unit] else ", inverted")


def measure_selectivity(state: np.ndarray, features: Mapping[str, np.ndarray]) -> Selectivity:
    """Find for each unit of state (L, N, H) the feature (N,) that explains most of its variance.

    The share is the squared correlation, adjusted for the length of the text because chance explains more of
    a short one: 1 - (1 - r^2)(N - 1)/(N - 2).
    """
    num_layers, length, hidden_size = state.shape
    shape = num_layers, hidden_size
    if not features or length < 3:
        return Selectivity((), np.zeros(shape), np.full(shape, -1), np.ones(shape, bool))
    units = _standardised(state.transpose(1, 0, 2).reshape(length, -1).astype(np.float64))  # (N, L * H)
    table = _standardised(np.stack(list(features.values()), axis=1).astype(np.float64))  # (N, F)
    correlation = table.T @ units / length  # (F, L * H)
    shares = 1 - (1 - correlation**2) * (length - 1) / (length - 2)
    best = shares.argmax(axis=0)  # (L * H,)
    share = np.take_along_axis(shares, best[None], axis=0)[0].clip(0, 1)
    rises = np.take_along_axis(correlation, best[None], axis=0)[0] >= 0
    feature = np.where(share > 0, best, -1)
    return Selectivity(tuple(features), share.reshape(shape), feature.reshape(shape), rises.reshape(shape))


def _standardised(columns: np.ndarray) -> np.ndarray:
    """Columns (N, K) scaled to mean 0 and variance 1; constant ones become 0."""
    centred = columns - columns.mean(axis=0)
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    constant = deviation <= 1e-7 * np.abs(columns).max(axis=0)  # up to rounding in float32
    quotient: np.ndarray = centred / np.where(constant, np.inf, deviation)
    return quotient


def peaks(series: np.ndarray) -> list[int]:
    """The indices of up to MAX_PEAKS maxima of a series (N,), highest first and some tokens apart."""
    remaining, found = series.astype(np.float64), list[int]()
    while len(found) < MAX_PEAKS and remaining.max() > -np.inf:
        index = int(remaining.argmax())
        found.append(index)
        remaining[max(index - _MIN_DISTANCE, 0) : index + _MIN_DISTANCE + 1] = -np.inf
    return found
