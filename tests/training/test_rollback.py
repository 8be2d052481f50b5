"""The divergence check: never the noise of ordinary text, always a loss that runs away."""

from __future__ import annotations

import math

import pytest

from textgen.training.rollback import divergence_reason


def check(
    nats: float,
    *,
    tokens: int = 30_000,
    first: float | None = None,
    lowest: float | None = None,
    model_vocab_size: int = 65,
    failed: int = 0,
    extra: float = 0.0,
) -> str | None:
    return divergence_reason(
        nats,
        tokens=tokens,
        first=first,
        lowest=lowest,
        model_vocab_size=model_vocab_size,
        failed_steps=failed,
        extra_tolerance=extra,
    )


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_divergence(loss: float) -> None:
    assert check(loss) == "the loss was no longer a number"


def test_a_gradient_that_is_not_finite_is_divergence_whatever_the_loss() -> None:
    assert check(1.0, failed=1) == "a gradient was no longer a number"


def test_at_the_start_the_limit_is_the_loss_of_a_uniform_guess() -> None:
    assert check(math.log(65) + 0.5) is None
    assert check(math.log(65) + 1.5) is not None


def test_weights_from_another_text_may_have_the_loss_that_they_start_with() -> None:
    assert check(7.0, first=6.5) is None
    assert check(8.0, first=6.5) is not None
    assert check(7.0, first=6.5, lowest=6.0) is None
    assert check(7.5, first=6.5, lowest=6.0) is not None
    assert check(math.log(65) + 0.5, first=0.1) is None, "a uniform guess is always allowed"


def test_a_loss_far_above_the_lowest_is_divergence_and_one_near_it_is_not() -> None:
    assert check(1.5 + 1.0, lowest=1.5) is None
    assert check(1.5 + 1.5, lowest=1.5) is not None


def test_noise_on_a_corpus_of_one_character_is_no_divergence() -> None:
    assert check(1e-6, lowest=0.0, model_vocab_size=1) is None
    assert check(0.3, lowest=1e-9, model_vocab_size=2) is None


def test_the_mean_of_few_tokens_may_differ_more() -> None:
    assert check(3.9, tokens=100, lowest=1.5) is None
    assert check(3.9, tokens=10_000, lowest=1.5) is not None


def test_a_large_vocabulary_has_a_wider_limit() -> None:
    assert check(6.0, lowest=4.0, model_vocab_size=16_000) is None
    assert check(7.0, lowest=4.0, model_vocab_size=16_000) is not None


def test_a_limit_that_was_raised_still_catches_a_loss_that_runs_away() -> None:
    assert check(4.5, lowest=1.5, extra=3.0) is None
    assert check(6.0, lowest=1.5, extra=3.0) is not None
    assert check(math.inf, lowest=1.5, extra=3.0) is not None
