"""Confidence intervals: Student's t against published values, and when there is no interval."""

from __future__ import annotations

import math

import pytest

from textgen.analysis.comparison.interval import Interval, mean_interval, probability_within, student_t


# Two-sided 95% points from published tables; the last is near the normal distribution's 1.95996.
@pytest.mark.parametrize(
    ("degrees_of_freedom", "t"),
    [
        (1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (10, 2.2281), (29, 2.0452),
        (30, 2.0423), (60, 2.0003), (121, 1.9798), (10_000, 1.9602),
    ],
)  # fmt: skip
def test_t_agrees_with_published_tables(degrees_of_freedom: int, t: float) -> None:
    assert student_t(degrees_of_freedom) == pytest.approx(t, abs=6e-5)


def test_the_probability_agrees_with_the_closed_forms_for_1_and_2_degrees_of_freedom() -> None:
    assert probability_within(1.0, 1) == pytest.approx(0.5)  # Cauchy: 2 / pi * atan(t)
    assert probability_within(math.sqrt(2), 2) == pytest.approx(math.sqrt(0.5))  # t / sqrt(2 + t * t)


def test_the_half_width_is_t_standard_errors() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.half_width == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)


@pytest.mark.parametrize("values", [[1.5], [1.0, 2.0]])
def test_fewer_than_three_values_have_no_interval(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval == Interval(1.5, None)
    assert interval.contains_zero
    assert interval.largest_magnitude == math.inf


def test_an_interval_knows_whether_it_contains_zero_and_its_largest_magnitude() -> None:
    assert Interval(-0.1, 0.2).contains_zero
    assert not Interval(-0.3, 0.2).contains_zero
    assert Interval(-0.3, 0.2).largest_magnitude == pytest.approx(0.5)
