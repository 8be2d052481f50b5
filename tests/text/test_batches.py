import json
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from textgen.errors import CorpusError
from textgen.text.batches import SequenceBatches, fit_batches
from textgen.text.model_vocab import ModelVocab

sizes = st.tuples(st.integers(2, 60), st.integers(1, 6), st.integers(1, 12), st.integers(0, 5)).filter(
    lambda size: size[0] > size[1]
)


def epoch_of(batches):
    """All batches of the epoch that is about to start."""
    epoch = batches.place["epoch"]
    found = []
    while batches.place["epoch"] == epoch:
        found.append(next(batches))
    return found


def batches_of(size, vary_seq_len=False):
    """Token ids equal their positions, so that a batch shows where it was taken from."""
    num_tokens, batch_size, seq_len, seed = size
    tokens = np.arange(num_tokens, dtype=np.uint16)
    return SequenceBatches(tokens, None, batch_size, seq_len, seed, vary_seq_len=vary_seq_len)


@given(sizes, st.booleans())
def test_targets_are_the_tokens_after_their_inputs(size, vary):
    batches = batches_of(size, vary)
    for batch in epoch_of(batches) + epoch_of(batches):
        assert (batch.targets == batch.inputs + 1).all()
        assert batch.inputs.dtype == batch.targets.dtype == np.int64
        assert batch.inputs.shape == batch.targets.shape == (size[1], batch.inputs.shape[1])


@given(sizes, st.booleans())
def test_no_target_occurs_twice_in_an_epoch_and_fewer_than_batch_size_are_left_out(size, vary):
    num_tokens, batch_size, _, _ = size
    batches = batches_of(size, vary)
    for _ in range(3):
        targets = np.concatenate([batch.targets.ravel() for batch in epoch_of(batches)])
        assert len(set(targets.tolist())) == len(targets)
        assert 0 <= num_tokens - 1 - len(targets) < batch_size


@given(sizes, st.booleans())
def test_each_sequence_continues_around_the_ring_where_its_last_window_ended(size, vary):
    batches = batches_of(size, vary)
    sequences = np.concatenate([batch.inputs for batch in epoch_of(batches)], axis=1)
    assert sequences.shape == (size[1], (size[0] - 1) // size[1])
    along = sequences.ravel()
    assert ((along[1:] - along[:-1]) % (size[0] - 1) == 1 % (size[0] - 1)).all()


@given(sizes, st.booleans())
def test_no_window_crosses_the_wrap(size, vary):
    for batch in epoch_of(batches_of(size, vary)):
        assert (np.diff(batch.inputs, axis=1) == 1).all()


@given(sizes)
def test_windows_are_full_except_before_the_wrap_and_at_the_end(size):
    num_tokens, _, seq_len, _ = size
    found = epoch_of(batches_of(size))
    for batch, following in pairwise(found):
        if batch.inputs.shape[1] < seq_len:
            assert 0 in following.inputs[:, 0]
            assert num_tokens - 1 in batch.targets[:, -1]
    assert all(1 <= batch.inputs.shape[1] <= seq_len for batch in found)


@given(sizes, st.booleans())
def test_an_epoch_has_tokens_per_epoch_targets_and_marks_its_first_batch(size, vary):
    batches = batches_of(size, vary)
    for _ in range(3):
        found = epoch_of(batches)
        assert sum(batch.targets.size for batch in found) == batches.tokens_per_epoch
        assert [batch.starts_epoch for batch in found] == [True] + [False] * (len(found) - 1)


@given(sizes, st.integers(0, 40), st.booleans())
def test_a_restored_place_continues_exactly(size, steps, vary):
    batches = batches_of(size, vary)
    for _ in range(steps):
        next(batches)
    again = batches_of(size, vary)
    again.restore(json.loads(json.dumps(batches.place)))
    for _ in range(10):
        expected, found = next(batches), next(again)
        assert (found.inputs == expected.inputs).all()
        assert (found.targets == expected.targets).all()
        assert found.starts_epoch == expected.starts_epoch
    assert again.place == batches.place


def test_each_epoch_and_seed_has_its_own_offset():
    batches = batches_of((10_001, 4, 50, 1))
    starts = [int(epoch_of(batches)[0].inputs[0, 0]) for _ in range(5)]
    starts.append(int(next(batches_of((10_001, 4, 50, 2))).inputs[0, 0]))
    assert len(set(starts)) == 6
    assert int(next(batches_of((10_001, 4, 50, 1))).inputs[0, 0]) == starts[0]


def test_varied_windows_have_lengths_around_seq_len_and_a_few_around_half_of_it():
    lengths = np.array(
        [batch.inputs.shape[1] for batch in epoch_of(batches_of((60_001, 1, 70, 0), vary_seq_len=True))]
    )
    short = lengths < 52
    assert 0.02 < short.mean() < 0.08
    assert np.mean(lengths[~short]) == pytest.approx(70, abs=1)
    assert np.std(lengths[~short]) == pytest.approx(5, abs=0.6)
    assert np.median(lengths[short]) == pytest.approx(35, abs=3)
    assert lengths.max() <= 105


def test_each_epoch_draws_its_own_windows():
    batches = batches_of((10_001, 1, 70, 0), vary_seq_len=True)
    first, second = ([batch.inputs.shape[1] for batch in epoch_of(batches)] for _ in range(2))
    assert first != second


def test_each_epoch_leaves_out_different_targets():
    batches = batches_of((104, 5, 10, 0))
    left_out = [
        frozenset(range(1, 104)) - set(np.concatenate([batch.targets.ravel() for batch in epoch_of(batches)]))
        for _ in range(5)
    ]
    assert all(len(targets) == 3 for targets in left_out)
    assert len(set(left_out)) > 1


def test_token_ids_become_model_ids():
    tokens = np.array([5, 9, 5, 7, 9, 5], np.uint16)
    vocab = ModelVocab.from_counts(np.bincount(tokens))
    for seed in range(5):
        mapped, unmapped = (next(SequenceBatches(tokens, each, 1, 5, seed)) for each in (vocab, None))
        assert mapped.inputs.tolist() == vocab.to_model_ids(unmapped.inputs).tolist()
        assert mapped.targets.tolist() == vocab.to_model_ids(unmapped.targets).tolist()
        assert mapped.inputs.max() < vocab.size


def test_a_batch_is_read_in_far_less_time_than_it_is_trained_on(tmp_path):
    tokens = np.memmap(tmp_path / "tokens", np.uint16, "w+", shape=(1_000_000,))
    batches = SequenceBatches(tokens, ModelVocab.from_counts(np.ones(300, int)), 32, 64, 0)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 500e-6


def test_too_few_tokens_are_refused():
    with pytest.raises(CorpusError, match=r"4 tokens are too few for batch_size=4; at least 5"):
        SequenceBatches(np.arange(4), None, 4, 2, 0)
    with pytest.raises(CorpusError, match="1 tokens are too few"):
        fit_batches(1, 32, 64)


@given(st.integers(2, 10_000), st.integers(1, 200), st.integers(1, 500))
def test_fitted_batches_are_never_larger_and_give_some_steps(num_tokens, batch_size, seq_len):
    fitted_size, fitted_len = fit_batches(num_tokens, batch_size, seq_len)
    assert 1 <= fitted_size <= batch_size
    assert 1 <= fitted_len <= seq_len
    assume(num_tokens > 8)
    batches = SequenceBatches(np.arange(num_tokens), None, fitted_size, fitted_len, 0)
    assert len(epoch_of(batches)) >= 8


def test_a_corpus_that_is_large_enough_is_not_shrunk():
    assert fit_batches(32 * 64 * 8 + 1, 32, 64) == (32, 64)
    assert fit_batches(1800, 32, 64) == (8, 16)


@pytest.mark.parametrize("place", [(-1, 0), (0, -5), (0, 33), (2, 10**9)])
def test_a_place_outside_the_text_is_an_error(place: tuple[int, int]) -> None:
    batches = SequenceBatches(np.arange(100), None, batch_size=3, seq_len=8, seed=0)
    batches.restore({"epoch": 2, "position": 32})
    with pytest.raises(ValueError, match="not a place in the text"):
        batches.restore(dict(zip(("epoch", "position"), place, strict=True)))
