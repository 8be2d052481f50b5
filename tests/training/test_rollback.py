"""What counts as trouble: never the noise of ordinary text, always a loss that runs away."""

from __future__ import annotations

import math

import pytest

from textgen.training.safety import divergence


def judge(
    nats: float,
    *,
    tokens: int = 30_000,
    first: float | None = None,
    lowest: float | None = None,
    num_rows: int = 65,
    failed: int = 0,
) -> str | None:
    return divergence(nats, tokens=tokens, first=first, lowest=lowest, num_rows=num_rows, failed_steps=failed)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_trouble(loss: float) -> None:
    assert judge(loss) == "the loss was no longer a number"


def test_a_gradient_that_is_no_number_is_trouble_whatever_the_loss() -> None:
    assert judge(1.0, failed=1) == "a gradient was no longer a number"


def test_a_first_loss_is_measured_by_a_uniform_guess() -> None:
    assert judge(math.log(65) + 0.5) is None
    assert judge(math.log(65) + 1.5) is not None


def test_weights_that_expect_another_text_are_measured_by_what_they_begin_with() -> None:
    assert judge(7.0, first=6.5) is None
    assert judge(8.0, first=6.5) is not None
    assert judge(7.0, first=6.5, lowest=6.0) is None
    assert judge(7.5, first=6.5, lowest=6.0) is not None
    assert judge(math.log(65) + 0.5, first=0.1) is None, "a uniform guess is always allowed"


def test_a_loss_far_above_the_lowest_is_trouble_and_one_near_it_is_not() -> None:
    assert judge(1.5 + 1.0, lowest=1.5) is None
    assert judge(1.5 + 1.5, lowest=1.5) is not None


def test_a_corpus_of_one_character_is_never_in_trouble_by_its_noise() -> None:
    assert judge(1e-6, lowest=0.0, num_rows=1) is None
    assert judge(0.3, lowest=1e-9, num_rows=2) is None


def test_few_tokens_may_differ_more() -> None:
    assert judge(3.9, tokens=100, lowest=1.5) is None
    assert judge(3.9, tokens=10_000, lowest=1.5) is not None


def test_many_rows_have_a_wider_limit() -> None:
    assert judge(6.0, lowest=4.0, num_rows=16_000) is None
    assert judge(7.0, lowest=4.0, num_rows=16_000) is not None
