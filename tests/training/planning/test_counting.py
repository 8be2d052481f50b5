"""How much of a text is counted after training, and what is said of it before."""

from __future__ import annotations

import pytest

from textgen.ngram.reading import MOST_TOKENS
from textgen.training.planning.counting import (
    MOST_FRACTION,
    MOST_SECONDS,
    ORDER,
    ORDER_OF_CHARACTERS,
    PRUNE_FROM,
    SECONDS_PER_TOKEN,
    SMALL_TEXT,
    counting_plan,
    default_order,
    prune_from,
)

LONG = 40_000_000


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_characters_have_longer_n_grams_than_subwords_and_words(kind: str) -> None:
    assert default_order(kind) == ORDER_OF_CHARACTERS
    assert {default_order(other) for other in ("bpe", "word", "external")} == {ORDER}
    assert ORDER < ORDER_OF_CHARACTERS


def test_of_a_small_text_all_n_grams_are_kept() -> None:
    assert prune_from(SMALL_TEXT) is None
    assert prune_from(SMALL_TEXT + 1) == PRUNE_FROM < ORDER_OF_CHARACTERS


@pytest.mark.parametrize("minutes", [None, 0.01, 10])
def test_a_text_that_is_counted_in_no_time_is_counted_whole_and_nothing_is_said(
    minutes: float | None,
) -> None:
    plan = counting_plan(1_000_000, minutes)
    assert plan.tokens == 1_000_000
    assert not plan.is_shortened
    assert plan.notes() == []


def test_a_long_text_is_announced_with_the_seconds_that_it_takes() -> None:
    plan = counting_plan(LONG, None)
    seconds = LONG * SECONDS_PER_TOKEN
    assert plan.tokens == LONG
    (note,) = plan.notes()
    assert f"takes some {seconds:.0f} s after training" in note
    assert "--no-ngram" in note
    assert counting_plan(LONG, minutes=seconds / 60 / MOST_FRACTION).notes() == plan.notes()


def test_with_few_minutes_only_as_much_is_counted_as_takes_a_tenth_of_them_and_ten_seconds() -> None:
    plan = counting_plan(LONG, minutes=1)
    assert plan.is_shortened
    allowed = MOST_FRACTION * 60 + MOST_SECONDS
    assert plan.tokens * SECONDS_PER_TOKEN == pytest.approx(allowed)
    (note,) = plan.notes()
    assert f"{plan.tokens / LONG:.0%} of the text, evenly spread, is counted in {allowed:.0f} s" in note
    assert note.endswith("`textgen ngram RUN` counts all of it.")


def test_no_command_is_said_to_count_all_of_a_text_of_which_none_does() -> None:
    plan = counting_plan(3 * MOST_TOKENS, None)
    assert plan.tokens == MOST_TOKENS
    assert not plan.is_shortened
    (note,) = counting_plan(3 * MOST_TOKENS, minutes=1).notes()
    assert note.endswith("`textgen ngram RUN` counts more of it.")
