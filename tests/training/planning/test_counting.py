"""How much of a text is counted after training, and what is said of it before."""

from __future__ import annotations

import pytest

from textgen.ngram.reading import MOST_TOKENS
from textgen.training.planning.counting import (
    MOST_FRACTION,
    MOST_SECONDS,
    ORDER,
    ORDER_OF_CHARACTERS,
    SECONDS_PER_TOKEN_AND_ORDER,
    counting_plan,
    default_order,
)

LONG = 40_000_000


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_characters_have_longer_n_grams_than_subwords_and_words(kind: str) -> None:
    assert default_order(kind) == ORDER_OF_CHARACTERS
    assert {default_order(other) for other in ("bpe", "word", "external")} == {ORDER}
    assert ORDER < ORDER_OF_CHARACTERS


@pytest.mark.parametrize("minutes", [None, 0.01, 10])
def test_a_text_that_is_counted_in_no_time_is_counted_whole_and_nothing_is_said(
    minutes: float | None,
) -> None:
    plan = counting_plan(1_000_000, 9, minutes)
    assert plan.tokens == 1_000_000
    assert not plan.is_shortened
    assert plan.notes() == []


def test_a_long_text_is_announced_with_the_seconds_that_it_takes() -> None:
    plan = counting_plan(LONG, 9, None)
    seconds = LONG * 9 * SECONDS_PER_TOKEN_AND_ORDER
    assert plan.tokens == LONG
    (note,) = plan.notes()
    assert f"takes some {seconds:.0f} s after training" in note
    assert "--no-ngram" in note
    assert counting_plan(LONG, 9, minutes=seconds / 60 / MOST_FRACTION).notes() == plan.notes()


def test_with_few_minutes_only_as_much_is_counted_as_takes_a_tenth_of_them_and_ten_seconds() -> None:
    plan = counting_plan(LONG, 9, minutes=1)
    assert plan.is_shortened
    allowed = MOST_FRACTION * 60 + MOST_SECONDS
    assert plan.tokens * 9 * SECONDS_PER_TOKEN_AND_ORDER == pytest.approx(allowed)
    (note,) = plan.notes()
    assert f"{plan.tokens / LONG:.0%} of the text, evenly spread, is counted in {allowed:.0f} s" in note
    assert note.endswith("`textgen ngram RUN` counts all of it.")
    assert counting_plan(LONG, 5, minutes=1).tokens == pytest.approx(plan.tokens * 9 / 5)


def test_no_command_is_said_to_count_all_of_a_text_of_which_none_does() -> None:
    plan = counting_plan(3 * MOST_TOKENS, 9, None)
    assert plan.tokens == MOST_TOKENS
    assert not plan.is_shortened
    (note,) = counting_plan(3 * MOST_TOKENS, 9, minutes=1).notes()
    assert note.endswith("`textgen ngram RUN` counts more of it.")
