"""The mean of a few values with its 95% confidence interval.

With only a few seeds the standard deviation itself is uncertain; Student's t-distribution widens the interval
to account for that (Student, "The probable error of a mean", 1908).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# With two values the interval would be 12.7 standard errors wide on each side, too wide to be useful.
MIN_VALUES = 3


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95% confidence interval; None with fewer than MIN_VALUES values."""

    mean: float
    half_width: float | None

    @property
    def contains_zero(self) -> bool:
        """Whether the mean is compatible with 0; always true without an interval."""
        return self.half_width is None or abs(self.mean) <= self.half_width

    @property
    def largest_magnitude(self) -> float:
        """The largest absolute value that the interval contains; infinite without an interval."""
        return math.inf if self.half_width is None else abs(self.mean) + self.half_width


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of one or more values with its 95% confidence interval.

    >>> mean_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, half_width=2.484...)
    """
    mean = statistics.mean(values)
    if len(values) < MIN_VALUES:
        return Interval(mean, None)
    standard_error = statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, student_t(len(values) - 1) * standard_error)


def student_t(degrees_of_freedom: int) -> float:
    """The two-sided critical value of Student's t-distribution at level CONFIDENCE."""
    low, high = 0.0, 1.0
    while probability_within(high, degrees_of_freedom) < CONFIDENCE:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):  # until they are adjacent floats
        if probability_within(middle, degrees_of_freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def probability_within(t: float, degrees_of_freedom: int) -> float:
    """The probability that a t-distributed variable lies between -t and t.

    For integer degrees of freedom this is an exact finite sum: Abramowitz & Stegun, "Handbook of mathematical
    functions", 1964, 26.7.3 and 26.7.4.
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
