"""Validation during training: which text is read, and how a sample looks on the screen."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.training.validation import (
    MIN_SEGMENT,
    SAMPLE_COLUMNS,
    SAMPLE_LINES,
    sample_lines,
    spread_segments,
)


def test_segments_are_spread_evenly_from_the_start_to_the_end_of_the_text() -> None:
    segments = spread_segments(100_000, 8 * MIN_SEGMENT, max_segments=8)
    assert segments.length == MIN_SEGMENT
    assert segments.starts[0] == 0
    assert segments.starts[-1] == 100_000 - MIN_SEGMENT
    assert np.ptp(np.diff(segments.starts)) <= 1


@pytest.mark.parametrize(("num_tokens", "count"), [(10, 1), (3 * MIN_SEGMENT, 3)])
def test_of_a_short_text_all_is_read_in_segments_that_are_not_too_short(num_tokens: int, count: int) -> None:
    segments = spread_segments(num_tokens, 10**6, max_segments=32)
    assert (len(segments.starts), segments.length) == (count, num_tokens // count)


def test_a_sample_keeps_its_line_breaks_and_shows_control_characters_as_escapes() -> None:
    assert sample_lines("\nA:\tone\n\nB: \x1b[2J\u0085two\n") == ["A:  one", "", "B: \\x1b[2J\\x85two"]


def test_long_lines_are_wrapped_and_a_long_sample_is_cut_with_an_ellipsis() -> None:
    (first, second) = sample_lines("word " * 30)
    assert len(first) <= SAMPLE_COLUMNS
    assert f"{first} {second}" == "word " * 29 + "word"
    lines = sample_lines("\n".join("abcdefghi"))
    assert lines == ["a", "b", "c", "d", "e", "f ..."]
    assert len(lines) == SAMPLE_LINES


def test_text_without_spaces_is_wrapped_too_and_an_empty_sample_is_one_empty_line() -> None:
    assert max(map(len, sample_lines("x" * 200))) == SAMPLE_COLUMNS
    assert sample_lines("") == [""]
