import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.text.model_vocab import ModelVocab

counts = st.lists(st.integers(0, 3), min_size=1, max_size=20).map(np.array)


@given(counts)
def test_rows_are_the_seen_tokens_and_all_others_share_one(counts):
    rows = ModelVocab.from_counts(counts)
    seen = np.flatnonzero(counts)
    assert rows.size == len(seen)
    assert rows.to_model_ids(seen).tolist() == list(range(rows.size))
    assert rows.to_token_ids(np.arange(rows.size)).tolist() == seen.tolist()
    unseen = [*np.flatnonzero(counts == 0), len(counts), 10**6]
    assert set(rows.to_model_ids(np.array(unseen)).tolist()) == {rows.size}
    assert rows.total == counts.sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_ids_of_any_shape_and_type_become_int64_rows(dtype):
    found = ModelVocab.from_counts(np.array([0, 5, 0, 1])).to_model_ids(np.array([[1, 3], [200, 0]], dtype))
    assert found.tolist() == [[0, 1], [2, 2]]
    assert found.dtype == np.int64


def test_frequencies_are_shares_of_the_training_text():
    assert ModelVocab.from_counts(np.array([3, 0, 1])).frequencies.tolist() == [0.75, 0.25]


@given(counts.filter(np.any), counts)
def test_extending_keeps_old_rows_in_place_and_adds_counts(first, second):
    old = ModelVocab.from_counts(first)
    new = old.extended(second)
    assert new.token_ids[: old.size].tolist() == old.token_ids.tolist()
    both = np.zeros(20, np.int64)
    both[: len(first)] += first
    both[: len(second)] += second
    assert new.size == np.count_nonzero(both)
    assert new.counts.tolist() == both[new.token_ids].tolist()
    assert new.to_model_ids(new.token_ids).tolist() == list(range(new.size))
    assert set(new.to_model_ids(np.flatnonzero(both == 0)).tolist()) <= {new.size}
    assert old.counts.tolist() == first[old.token_ids].tolist()
