"""Validation during training: which text is read."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.training.validation import MIN_SEGMENT, spread_segments


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
