import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.text.model_vocab import ModelVocab

counts = st.lists(st.integers(0, 3), min_size=1, max_size=20).map(np.array)


@given(counts)
def test_model_ids_are_those_of_seen_tokens_and_all_others_share_one(counts):
    vocab = ModelVocab.from_counts(counts)
    seen = np.flatnonzero(counts)
    assert vocab.size == len(seen)
    assert vocab.to_model_ids(seen).tolist() == list(range(vocab.size))
    assert vocab.to_token_ids(np.arange(vocab.size)).tolist() == seen.tolist()
    unseen = [*np.flatnonzero(counts == 0), len(counts), 10**6]
    assert set(vocab.to_model_ids(np.array(unseen)).tolist()) == {vocab.size}
    assert vocab.total == counts.sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_token_ids_of_any_shape_and_integer_type_become_int64_model_ids(dtype):
    found = ModelVocab.from_counts(np.array([0, 5, 0, 1])).to_model_ids(np.array([[1, 3], [200, 0]], dtype))
    assert found.tolist() == [[0, 1], [2, 2]]
    assert found.dtype == np.int64


@pytest.mark.parametrize("ids", [[0.0, 1.0], [True, False], ["a"]])
def test_token_ids_that_are_no_integers_are_a_type_error(ids):
    with pytest.raises(TypeError, match=r"token ids are an array of .*; they must be integers"):
        ModelVocab.from_counts(np.array([0, 5])).to_model_ids(np.array(ids))


def test_a_negative_token_id_is_an_index_error_and_none_is_no_id():
    vocab = ModelVocab.from_counts(np.array([0, 5]))
    with pytest.raises(IndexError, match=r"token id -2: a tokenizer's ids are 0 or more"):
        vocab.to_model_ids(np.array([1, -2]))
    assert vocab.to_model_ids(np.zeros((2, 0), np.int64)).shape == (2, 0)
    with pytest.raises(IndexError):
        vocab.to_token_ids(np.array([vocab.size]))


def test_frequencies_are_shares_of_the_training_text():
    assert ModelVocab.from_counts(np.array([3, 0, 1])).frequencies.tolist() == [0.75, 0.25]


@given(counts.filter(np.any), counts)
def test_extending_keeps_old_ids_in_place_and_adds_counts(first, second):
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


def test_labels_are_replaced_by_the_start_token_and_unseen_tokens_stay():
    vocab = ModelVocab.from_counts(np.array([2, 1, 4]))
    read = vocab.with_labels(np.array([1, 0, 3, 1]), np.array([2, 0, 0, 1]))
    assert read.tolist() == [5, 0, 3, 4]
    assert vocab.without_labels(read, 1).tolist() == [1, 0, 3, 1]
    assert vocab.without_labels(read, None) is read
