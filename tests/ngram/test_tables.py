"""Discounts, and pruning to a number of bytes."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.ngram.counting import count
from textgen.ngram.model import NGramModel
from textgen.ngram.reading import read_text
from textgen.ngram.tables import compact, discounted, discounts_of, pruned, smallest


def test_discounts_are_those_of_the_paper() -> None:
    """Worked out by hand: Y = 100 / (100 + 2 x 50) = 1/2."""
    assert discounts_of(np.array([100, 50, 25, 10])) == pytest.approx([0.5, 1.25, 2.2])


@pytest.mark.parametrize(
    "counts_of_counts", [[0, 0, 0, 0], [5, 0, 3, 1], [5, 2, 0, 1], [0, 4, 3, 1], [1, 1, 30, 1], [9, 1, 1, 90]]
)
def test_discounts_of_unusual_counts_are_in_range(counts_of_counts: list[int]) -> None:
    found = discounts_of(np.array(counts_of_counts))
    assert ((found > 0) & (found <= [1, 2, 3])).all()
    rest = discounted(np.arange(1, 6, dtype=np.uint8), found)
    assert (rest > 0).all()
    assert rest.dtype == np.float64


@pytest.mark.parametrize(("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65536, "u4")])
def test_the_smallest_type_holds_the_largest_number(largest: int, dtype: str) -> None:
    assert smallest(largest) == np.dtype(dtype)
    assert compact(np.array([largest])).tolist() == [largest]


def test_pruning_keeps_what_is_frequent_and_fits() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 7, 20_000) * rng.integers(0, 2, 20_000)
    whole = NGramModel.train(tokens, 7, 8, prune_from=None)
    for share in (0.9, 0.5, 0.1):
        limit = int(whole.nbytes * share)
        model = NGramModel.train(tokens, 7, 8, prune_from=None, max_bytes=limit)
        assert limit * 0.7 < model.nbytes <= limit
        assert model.to_arrays()["tokens.2"].size == 49  # far more frequent than all others
    assert NGramModel.train(tokens, 7, 8, max_bytes=0).num_entries == 7


def test_what_is_pruned_counts_for_the_shorter_contexts() -> None:
    """Of 0 1 2 and 0 1 3, which occur once, only the discount and the shorter contexts are left."""
    tokens = np.array([0, 1, 2, 0, 1, 3, 0, 1, 4, 0, 1, 4])
    model = NGramModel.train(tokens, 5, 3, prune_from=3)
    d = model.to_arrays()["discounts"]
    assert d[2].tolist() == [0.5, 1.0, 1.5]
    _, one = model.read(np.array([[2, 1]]))
    after_one = np.exp(model.log_probs(one)[0])
    _, zero_one = model.read(np.array([[0, 1]]))
    # 0 1 was followed 4 times, twice by 4, of which 2 - 1 are kept.
    assert np.exp(model.log_probs(zero_one)[0]) == pytest.approx(
        np.array([0, 0, 0, 0, 0.25]) + 0.75 * after_one, abs=1e-6
    )


def test_pruning_later_equals_pruning_while_counting() -> None:
    rng = np.random.default_rng(0)
    text = read_text(rng.integers(0, 7, 5000) * rng.integers(0, 2, 5000), 7)
    whole = count(text, 7, start_id=5, prune_from=None)
    found, frequencies = pruned(whole.levels, whole.frequencies, [1, 1, 1, 2, 2, 2, 2])
    expected = count(text, 7, start_id=5, prune_from=4)
    for k, level in enumerate(expected.levels):
        assert np.array_equal(found[k].tokens, level.tokens)
        assert np.array_equal(found[k].counts, level.counts)
        assert np.array_equal(frequencies[k], expected.frequencies[k])
        if k < 6:
            assert np.array_equal(found[k].children, level.children)
            assert np.array_equal(found[k].dropped, level.dropped)
    assert sum(level.dropped.sum() for level in expected.levels[:-1]) > 100
