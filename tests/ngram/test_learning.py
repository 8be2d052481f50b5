"""LearningNGrams against models that count the same text at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.ngram.learning import LearningNGrams
from textgen.ngram.model import NGramModel

rng = np.random.default_rng(0)
TEXT = np.concatenate([rng.integers(0, 7, 30)[rng.integers(0, 30, 6) // 2] for _ in range(300)])


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    """Two texts and arguments of train: ids of vocab_size and more are unseen tokens."""
    vocab_size = draw(st.integers(1, 5))
    ids = st.lists(st.integers(0, vocab_size + draw(st.integers(-1, 1))), max_size=60)
    start_id = draw(st.none() | st.integers(0, vocab_size - 1))
    start = [] if start_id is None else [start_id]
    return {
        "first": start + draw(ids),
        "second": start + draw(ids),
        "vocab_size": vocab_size,
        "order": draw(st.integers(1, 5)),
        "start_id": start_id,
    }


def counted(ids: list[int], text: dict[str, Any], prune_from: int | None = None) -> NGramModel:
    return NGramModel.train(
        np.array(ids, np.int64), text["vocab_size"], text["order"], start_id=text["start_id"],
        prune_from=prune_from,
    )  # fmt: skip


def learn(learning: LearningNGrams, ids: list[int], window: int) -> np.ndarray:
    """Read and learn a text window by window; what was predicted after each token, before it was learnt."""
    rows = [np.zeros((0, learning.vocab_size), np.float32)]
    for begin in range(0, len(ids), window):
        now, before = np.array(ids[begin : begin + window]), ids[:begin][-learning.order :]
        rows.append(learning.read(now, before))
        learning.learn(now, before)
    return np.concatenate(rows)


@settings(max_examples=60)
@given(texts(), st.integers(1, 9))
def test_what_is_learnt_equals_a_model_counted_from_both_texts(text: dict[str, Any], window: int) -> None:
    first = counted(text["first"], text)
    both = counted([*text["first"], text["vocab_size"], *text["second"]], text)
    both = NGramModel(replace(both.tables, discounts=first.tables.discounts))
    learning = LearningNGrams(first)
    learn(learning, text["second"], window)
    expected, found = both.to_arrays(), learning.frozen().to_arrays()
    for name in expected.keys() - {"share"}:
        assert np.array_equal(found[name], expected[name]), name
    history = np.array(text["second"] + text["first"], np.int64)
    assert np.allclose(np.exp(learning.read(history)), np.exp(both.read(history[None])[0][0]), atol=1e-6)


@settings(max_examples=60)
@given(texts(), st.integers(2, 4), st.integers(0, 40))
def test_the_probabilities_add_up_to_1_with_pruning_and_when_it_has_to_forget(
    text: dict[str, Any], prune_from: int, most_learnt: int
) -> None:
    learning = LearningNGrams(counted(text["first"], text, prune_from), most_learnt)
    rows = learn(learning, text["second"], 3)
    history = np.array(text["second"] + text["first"], np.int64)
    rows = np.concatenate([rows, learning.read(history)]).astype(np.float64)
    assert np.abs(np.exp(rows).sum(1) - 1).max(initial=0) < 1e-6
    assert np.allclose(
        np.exp(learning.frozen().read(history[None])[0][0]), np.exp(learning.read(history)), atol=1e-6
    )


@pytest.mark.parametrize("prune_from", [None, 4])
def test_before_it_learns_it_is_the_model(prune_from: int | None) -> None:
    model = NGramModel.train(TEXT, 7, 6, prune_from=prune_from)
    learning = LearningNGrams(model)
    ids = np.random.default_rng(1).integers(0, 9, 400)
    assert np.allclose(learning.read(ids), model.read(ids[None])[0][0], atol=1e-5)
    expected, found = model.to_arrays(), learning.frozen().to_arrays()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_it_learns_a_text_that_is_unlike_that_of_the_model() -> None:
    other = np.tile(np.random.default_rng(2).integers(0, 7, 20), 20)
    learning = LearningNGrams(NGramModel.train(TEXT, 7, 6))
    rows = learn(learning, other.tolist(), 10)[:-1]
    nats = -rows[np.arange(len(rows)), other[1:]]
    assert nats[-100:].mean() < 0.3 < 1.5 < nats[:20].mean()


def test_the_model_is_not_changed_and_may_be_shared() -> None:
    model = NGramModel.train(TEXT, 7, 6)
    before = {name: array.copy() for name, array in model.to_arrays().items()}
    first, second = LearningNGrams(model), LearningNGrams(model)
    learn(first, [1, 2, 3] * 30, 7)
    assert all(np.array_equal(array, before[name]) for name, array in model.to_arrays().items())
    ids = np.array([1, 2, 3, 1, 2])
    assert np.array_equal(second.read(ids), LearningNGrams(model).read(ids))
    assert not np.array_equal(first.read(ids), second.read(ids))


def test_documents_are_kept_apart() -> None:
    """After the start token, nothing depends on the document before."""
    learning = LearningNGrams(NGramModel.train(TEXT, 7, 6, start_id=6))
    learn(learning, [6, 1, 2, 3, 6, 3, 2, 1] * 5, 4)
    before, alone = learning.read(np.array([3, 6, 1, 2])), learning.read(np.array([6, 1, 2]))
    assert np.array_equal(before[1:], alone)
    assert not np.array_equal(learning.read(np.array([1, 2])), alone[1:])


def test_an_unseen_token_ends_all_contexts() -> None:
    learning = LearningNGrams(NGramModel.train(TEXT, 7, 6))
    learn(learning, [1, 2, 7, 3, 2**40, 1] * 5, 4)
    for unseen in (7, 8, 2**40):
        assert np.array_equal(
            learning.read(np.array([1, 2, unseen]))[-1], learning.read(np.array([unseen]))[0]
        )


def test_what_it_learns_is_bounded() -> None:
    learning = LearningNGrams(NGramModel.train(TEXT, 7, 6), most_learnt=500)
    ids = np.random.default_rng(3).integers(0, 7, 2000).tolist()
    learnt = []
    for begin in range(0, 2000, 10):
        learning.learn(np.array(ids[begin : begin + 10]), ids[:begin][-6:])
        learnt.append(learning.num_learnt)
    assert 450 < max(learnt) <= 500
    assert min(learnt[100:]) < 100  # it began again
