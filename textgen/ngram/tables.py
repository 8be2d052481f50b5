"""The n-grams of a model as arrays, level by level, and what is computed from them alone.

Level k holds the n-grams of k tokens in lexicographic order, so that those that continue a shorter one, its
children, are adjacent:

    level 1   a          b                   tokens a b          children 2 1
    level 2   a a   a b  b a                 tokens a b a

Chen and Goodman, "An empirical study of smoothing techniques for language modeling", TR-10-98, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DISCOUNTS = 3  # of counts of 1, of 2, and of 3 or more
# Where counts of counts give none: too few n-grams, or none that is as rare.
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Level:
    """All n-grams of one length: their last tokens, and their counts as Kneser-Ney counts.

    children: how many n-grams continue each, one token longer; None in the last level. dropped: the sum of the
    counts of those that would continue it and were pruned, 0 where nothing continues it; None in the last level.
    """

    tokens: np.ndarray
    counts: np.ndarray
    children: np.ndarray | None = None
    dropped: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.tokens, self.counts, self.children, self.dropped)
        return sum(array.nbytes for array in arrays if array is not None)


def smallest(largest: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned type for numbers up to `largest`."""
    return np.dtype(np.min_scalar_type(max(0, largest)))


def compact(array: np.ndarray) -> np.ndarray:
    """Numbers of 0 or more in the smallest unsigned type that holds them."""
    return array.astype(smallest(int(array.max(initial=0))))


def discounts_of(counts_of_counts: np.ndarray) -> np.ndarray:
    """What is subtracted from counts of 1, of 2 and of 3 or more (3,): equation 26 of Chen and Goodman.

    counts_of_counts: how many n-grams have a count of 1, 2, 3 and 4. Each discount is above 0 and at most as large
    as a count that it is subtracted from; where the equation gives others, all three are fixed.
    """
    n1, n2, n3, n4 = (int(number) for number in counts_of_counts)
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found > 0).all():
            return found
    return np.array(_USUAL_DISCOUNTS)


def discounted(counts: np.ndarray, discounts: np.ndarray) -> np.ndarray:
    """Counts less their discounts, float64."""
    table = np.concatenate([[0.0], discounts])
    return counts - table[np.minimum(counts, NUM_DISCOUNTS)]


def pruned(
    levels: Sequence[Level], frequencies: Sequence[np.ndarray], least: Sequence[int]
) -> tuple[list[Level], list[np.ndarray]]:
    """The levels without n-grams that occur less often than `least` says of their length.

    `least` must not fall with length: then no n-gram is kept whose beginning or end is not.
    """
    keeps = [frequency >= limit for frequency, limit in zip(frequencies, least, strict=True)]
    found = []
    for k, (level, keep) in enumerate(zip(levels, keeps, strict=True)):
        children = dropped = None
        if level.children is not None and level.dropped is not None:
            below, kept = levels[k + 1], keeps[k + 1]
            parent = np.repeat(np.arange(len(level.tokens), dtype=np.int32), level.children)
            size = len(level.tokens)
            children = np.bincount(parent[kept], minlength=size)[keep]
            lost = np.bincount(parent[~kept], below.counts[~kept], size).astype(np.int64) + level.dropped
            dropped = compact(np.where(children > 0, lost[keep], 0))
            children = compact(children)
        found.append(Level(level.tokens[keep], compact(level.counts[keep]), children, dropped))
    return found, [frequency[keep] for frequency, keep in zip(frequencies, keeps, strict=True)]


def fitted(
    levels: Sequence[Level], frequencies: Sequence[np.ndarray], max_bytes: int, prune_from: int
) -> list[Level]:
    """The levels with the rarest n-grams pruned, longest first, so that the arrays have at most max_bytes."""
    current, occurring = list(levels), list(frequencies)
    size = sum(level.nbytes for level in current)
    limit = 1
    while size > max_bytes and any(len(level.tokens) for level in current[1:]):
        limit += 1 + limit // 8
        # A token shorter, an occurrence fewer is enough.
        least = [1, *(max(1, limit - max(0, prune_from - length)) for length in range(2, len(levels) + 1))]
        current, occurring = pruned(current, occurring, least)
        size = sum(level.nbytes for level in current)
    return current
