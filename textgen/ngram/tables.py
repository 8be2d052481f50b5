"""The n-grams of a model as arrays, level by level, and what is computed from them alone.

Level k holds the n-grams of k tokens in lexicographic order, so that those that continue a shorter one, its
children, are adjacent:

    level 1   a          b                   tokens a b          children 2 1
    level 2   a a   a b  b a                 tokens a b a

Chen and Goodman, "An empirical study of smoothing techniques for language modeling", TR-10-98, 1998.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DISCOUNTS = 3  # of counts of 1, of 2, and of 3 or more
# Where counts of counts give none: too few n-grams, or none that is as rare.
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Level:
    """All n-grams of one length: their last tokens, and their counts as Kneser-Ney counts.

    children: how many n-grams of the next level continue each. dropped: the sum of the counts of those that
    would continue it and were pruned, 0 where none is left. Both are None in the last level.
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
    small: np.ndarray = array.astype(smallest(int(array.max(initial=0))))
    return small


def ranges(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of ranges that begin there and have so many, and which range each belongs to.

    >>> [array.tolist() for array in ranges(np.array([5, 9]), np.array([2, 1]))]
    [[5, 6, 9], [0, 0, 1]]
    """
    which = np.repeat(np.arange(len(count)), count)
    return (begin - np.cumsum(count) + count)[which] + np.arange(len(which)), which


def discounts_of(counts_of_counts: np.ndarray) -> np.ndarray:
    """What is subtracted from counts of 1, of 2 and of 3 or more, (3,), as Chen and Goodman estimate it.

    counts_of_counts: how many n-grams have a count of 1, 2, 3 and 4. Each discount is above 0 and at most the
    count that it is subtracted from. Where the estimates are not, or cannot be made, all three are constants.
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
    rest: np.ndarray = counts - table[np.minimum(counts, NUM_DISCOUNTS)]
    return rest


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
    """The levels without their rarest n-grams, so that they have at most max_bytes; single tokens stay.

    Of equally rare n-grams the longest go first. Those shorter than prune_from may be rarer than the others:
    by one occurrence for each token that they are shorter.
    """
    prunable = any(len(level.tokens) for level in levels[1:])
    if not prunable or sum(level.nbytes for level in levels) <= max_bytes:
        return list(levels)
    ascending = [np.sort(array) for array in frequencies]

    def is_small(least: Sequence[int]) -> bool:
        kept = [len(a) - np.searchsorted(a, limit) for a, limit in zip(ascending, least, strict=True)]
        widths = [level.nbytes / max(1, len(level.tokens)) for level in levels]
        return bool(sum(n * width for n, width in zip(kept, widths, strict=True)) <= max_bytes)

    steps = _stricter(len(levels), prune_from, 1 + max(int(a.max(initial=0)) for a in frequencies[1:]))
    first = bisect_left(steps, True, key=is_small)
    for least in steps[first:]:
        smaller, _ = pruned(levels, frequencies, least)
        if sum(level.nbytes for level in smaller) <= max_bytes:  # counts of what is dropped can be wider
            return smaller
    return pruned(levels, frequencies, steps[-1])[0]


def _stricter(order: int, prune_from: int, most: int) -> list[list[int]]:
    """How often n-grams of each length must occur: ever more often, until only single tokens are left."""
    least, steps, limit = [1] * order, [], 1
    while least[1] < most:
        limit += 1 + limit // 16
        for k in range(order - 1, 0, -1):
            least[k] = max(1, limit - max(0, prune_from - (k + 1)))
            steps.append(least.copy())
    return steps
