"""LearningNGrams against models that count the same text at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.ngram.learning import LearningNGrams
from textgen.ngram.model import NGramModel


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    """Two texts and arguments of train: ids of vocab_size and more are unseen tokens, start_id is among them."""
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
