"""The learning rate over the progress, and progress through each kind of budget."""

from __future__ import annotations

import math

import pytest

from textgen.training.schedule import Budget, learning_rate_factor


def factor(progress: float) -> float:
    return learning_rate_factor(progress, warmup_fraction=0.1, final_fraction=0.01)


def test_the_learning_rate_rises_linearly_to_its_peak() -> None:
    assert factor(0.05) == pytest.approx(0.5)
    assert factor(0.1) == pytest.approx(1.0)


def test_the_learning_rate_falls_as_half_a_cosine_to_its_final_fraction() -> None:
    assert factor(0.55) == pytest.approx(0.01 + 0.99 / 2)
    assert factor(0.325) == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert factor(1.0) == pytest.approx(0.01)


def test_the_first_step_has_a_learning_rate_above_zero_and_a_late_one_the_final_rate() -> None:
    assert factor(0.0) > 0
    assert factor(1.3) == factor(1.0)


def test_a_budget_in_steps_ignores_the_clock() -> None:
    assert Budget(steps=200).progress(50, tokens=10**9, seconds=1e6) == 0.25


def test_a_budget_in_tokens_counts_tokens_alone() -> None:
    assert Budget(tokens=1000).progress(10**6, tokens=250, seconds=1e6) == 0.25


def test_a_budget_in_seconds_ignores_the_steps() -> None:
    assert Budget(seconds=120).progress(10**6, tokens=10**9, seconds=30) == 0.25


@pytest.mark.parametrize(("tokens", "seconds"), [(500, 30), (250, 60)])
def test_with_two_budgets_progress_is_that_of_the_one_nearer_its_end(tokens: int, seconds: int) -> None:
    assert Budget(tokens=1000, seconds=120).progress(10**6, tokens=tokens, seconds=seconds) == 0.5
