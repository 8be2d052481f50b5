"""What is counted of a text: all of it, or evenly spread pieces that no n-gram reaches across."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.ngram.model import NGramModel
from textgen.ngram.reading import read_text

BREAK = 100
TEXT = np.arange(100_000) // 1000  # 100 different tokens, one after the other


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
def test_a_short_text_is_read_whole_whatever_its_type(dtype: type) -> None:
    for text in (TEXT.astype(dtype), iter(np.array_split(TEXT.astype(dtype), 13))):
        found = read_text(text, 300)
        assert np.array_equal(found.ids, TEXT)
        assert found.share == 1


def test_tokens_that_training_did_not_see_are_breaks() -> None:
    assert read_text(np.array([1, 200, 5, 100]), 100).ids.tolist() == [1, BREAK, 5, BREAK]


@pytest.mark.parametrize("as_array", [True, False])
def test_of_a_long_text_evenly_spread_pieces_are_read(as_array: bool) -> None:
    found = read_text(TEXT if as_array else iter(np.array_split(TEXT, 13)), 100, most_tokens=20_000)
    kept = found.ids[found.ids != BREAK]
    assert 10_000 <= len(kept) <= 20_000
    assert found.share == pytest.approx(len(kept) / len(TEXT))
    assert len(np.unique(kept)) >= 49  # of everywhere in the text
    # Where the text goes on elsewhere there is a break.
    pieces = np.split(found.ids.astype(int), np.flatnonzero(found.ids == BREAK))
    assert all(set(np.diff(piece[piece != BREAK])) <= {0, 1} for piece in pieces)


def test_of_a_text_with_too_much_of_one_token_less_is_read() -> None:
    text = np.where(np.arange(50_000) % 10 > 0, 7, TEXT[:50_000])
    found = read_text(text, 100, most_alike=10_000)
    assert 5_000 < (found.ids == 7).sum() <= 10_000
    assert found.share == pytest.approx(len(found.ids[found.ids != BREAK]) / len(text), rel=0.01)


def test_a_model_says_that_only_a_part_of_its_text_was_counted() -> None:
    model = NGramModel.train(TEXT, 100, 3, most_tokens=20_000)
    assert model.share == pytest.approx(0.2)
    assert model.remarks() == ["Only 20.0% of the training text, spread evenly over it, was counted."]
    assert NGramModel.train(TEXT, 100, 3).remarks() == []
