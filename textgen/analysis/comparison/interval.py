"""A mean and how sure it is: the confidence interval of a few repetitions, by Student's t.

Three seeds give a mean, but their spread is itself hardly known; t is how much wider the interval has to be
for that (Student, "The probable error of a mean", 1908).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# Of two values the 95 % interval is 12.7 standard errors wide to each side: it says nothing.
FEWEST_VALUES = 3


@dataclass(frozen=True)
class Interval:
    """The mean of some values, and half the width of its 95 % interval; None with fewer than three values."""

    mean: float
    half_width: float | None

    @property
    def contains_zero(self) -> bool:
        """Whether the values may be noise around 0; so they may without an interval."""
        return self.half_width is None or abs(self.mean) <= self.half_width

    @property
    def farthest(self) -> float:
        """The largest amount that the interval does not exclude. Infinite without an interval."""
        return math.inf if self.half_width is None else abs(self.mean) + self.half_width


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of at least one value with its 95 % confidence interval, none below three values.

    >>> mean_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, half_width=2.484...)
    """
    mean = statistics.mean(values)
    if len(values) < FEWEST_VALUES:
        return Interval(mean, None)
    standard_error = statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, student_t(len(values) - 1) * standard_error)


def student_t(degrees_of_freedom: int) -> float:
    """The t that a variable of Student's distribution exceeds in amount with probability 1 - CONFIDENCE."""
    low, high = 0.0, 1.0
    while probability_within(high, degrees_of_freedom) < CONFIDENCE:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):  # until no number lies between
        if probability_within(middle, degrees_of_freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def probability_within(t: float, degrees_of_freedom: int) -> float:
    """The probability that a variable of Student's distribution lies within -t..t.

    For whole degrees of freedom it is a finite sum (Abramowitz & Stegun, "Handbook of mathematical
    functions", 1964, 26.7.3 and 26.7.4), so neither a table nor an approximation is needed.
    """
    angle = math.atan(t / math.sqrt(degrees_of_freedom))
    squared = math.cos(angle) ** 2
    if degrees_of_freedom % 2:
        term, first = math.cos(angle), 3
    else:
        term, first = 1.0, 2
    total = term if degrees_of_freedom > 1 else 0.0
    for divisor in range(first, degrees_of_freedom - 1, 2):
        term *= squared * (divisor - 1) / divisor
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if degrees_of_freedom % 2 else total
