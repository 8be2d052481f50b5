"""NGramModel against the paper: a slow model of dictionaries, written from Chen and Goodman."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import textgen
from textgen.errors import ConfigError
from textgen.ngram import distributions
from textgen.ngram.model import NGramModel, State

Gram = tuple[int, ...]


class Paper:
    """Interpolated modified Kneser-Ney smoothing with dictionaries, an n-gram at a time."""

    def __init__(
        self, tokens: Sequence[int], vocab_size: int, order: int, start_id: int | None, prune_from: int | None
    ) -> None:
        self.vocab_size, self.order, self.start_id = vocab_size, order, start_id
        if start_id is not None and len(tokens) and tokens[0] != start_id:
            tokens = [start_id, *tokens]
        self.frequency: Counter[Gram] = Counter()
        self.preceding: dict[Gram, set[int | None]] = defaultdict(set)
        for length in range(1, order + 1):
            for begin in range(len(tokens) - length + 1):
                gram = tuple(tokens[begin : begin + length])
                if max(gram) >= vocab_size or start_id in gram[1:-1]:
                    continue
                before = tokens[begin - 1] if begin else None
                self.frequency[gram] += 1
                self.preceding[gram].add(before if before is not None and before < vocab_size else None)
        self.continuations: dict[Gram, list[Gram]] = defaultdict(list)
        for gram in self.frequency:
            self.continuations[gram[:-1]].append(gram)
        self.discounts = [self.estimate(length) for length in range(1, order + 1)]
        self.kept = {
            gram
            for gram, frequency in self.frequency.items()
            if prune_from is None or len(gram) < prune_from or frequency > 1
        }

    def count(self, gram: Gram) -> int:
        if len(gram) == self.order or (len(gram) > 1 and gram[0] == self.start_id):
            return self.frequency[gram]
        return len(self.preceding[gram])

    def estimate(self, length: int) -> list[float]:
        n = Counter(self.count(gram) for gram in self.frequency if len(gram) == length)
        if not (n[1] and n[2] and n[3]):
            return [0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return found if min(found) > 0 else [0.5, 1.0, 1.5]

    def discounted(self, gram: Gram) -> float:
        count = self.count(gram)
        return count - self.discounts[len(gram) - 1][min(count, 3) - 1]

    def probability(self, token: int, context: Gram) -> float:
        shorter = self.probability(token, context[1:]) if context else 1 / self.vocab_size
        every = self.continuations.get(context, [])
        kept = [gram for gram in every if gram in self.kept]
        if not kept:
            return shorter
        total = sum(self.count(gram) for gram in every)
        gram = (*context, token)
        own = self.discounted(gram) / total if gram in self.kept else 0.0
        return own + (1 - sum(self.discounted(gram) for gram in kept) / total) * shorter

    def after(self, history: Sequence[int]) -> list[float]:
        context: list[int] = []
        for token in history:
            context = [token] if token == self.start_id else [*context, token]
            if token >= self.vocab_size:
                context = []
        context = context[max(0, len(context) - self.order + 1) :]
        return [self.probability(token, tuple(context)) for token in range(self.vocab_size)]


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of train, with a history to predict after: ids of vocab_size and more are unseen tokens."""
    vocab_size = draw(st.integers(1, 6))
    ids = st.integers(0, vocab_size + 1) if draw(st.booleans()) else st.integers(0, vocab_size - 1)
    tokens = draw(st.lists(ids, max_size=80))
    return {
        "tokens": tokens * draw(st.integers(1, 2)),
        "vocab_size": vocab_size,
        "order": draw(st.integers(1, 5)),
        "start_id": draw(st.none() | st.integers(0, vocab_size - 1)),
        "prune_from": draw(st.none() | st.integers(2, 5)),
        "history": draw(st.lists(ids, max_size=12)) + tokens[:9],
    }


def trained(text: dict[str, Any], **changed: Any) -> NGramModel:
    arguments = {key: value for key, value in text.items() if key != "history"} | changed
    return NGramModel.train(np.array(arguments.pop("tokens"), np.int64), **arguments)


def all_states(model: NGramModel) -> State:
    return State(np.arange(model._automaton.level_begins[-1], dtype=np.int32))


def read_one_by_one(model: NGramModel, ids: Sequence[int]) -> Iterator[np.ndarray]:
    state = model.start(1)
    for token in ids:
        state = model.advance(state, np.array([token]))
        yield np.exp(model.log_probs(state)[0].astype(np.float64))


def random_text(vocab_size: int = 7, size: int = 3000, seed: int = 0) -> np.ndarray:
    """Tokens with repetitions, so that there are n-grams of every frequency."""
    rng = np.random.default_rng(seed)
    pieces = [rng.integers(0, vocab_size, rng.integers(2, 9)) for _ in range(40)]
    return np.concatenate([pieces[k] for k in rng.integers(0, 40, size // 5) ** 2 // 40])[:size]


@given(texts())
def test_it_equals_the_paper(text: dict[str, Any]) -> None:
    names = ("tokens", "vocab_size", "order", "start_id", "prune_from")
    paper = Paper(*(text[name] for name in names))
    model = trained(text)
    assert np.allclose(np.exp(model.log_probs(model.start(1))), paper.after([]), atol=1e-6)
    for end, found in enumerate(read_one_by_one(model, text["history"]), 1):
        assert np.allclose(found, paper.after(text["history"][:end]), atol=1e-6)


@pytest.mark.parametrize("start_id", [None, 3])
@pytest.mark.parametrize("prune_from", [None, 4])
def test_it_equals_the_paper_on_a_longer_text(start_id: int | None, prune_from: int | None) -> None:
    tokens = random_text()
    paper = Paper(tokens.tolist(), 7, 6, start_id, prune_from)
    model = NGramModel.train(tokens, 7, 6, start_id=start_id, prune_from=prune_from)
    assert np.allclose(model._tables.discounts, paper.discounts)
    assert sum(discounts != [0.5, 1.0, 1.5] for discounts in paper.discounts) >= 3  # estimated, not constants
    history = random_text(seed=1)[:60].tolist()
    for end, found in enumerate(read_one_by_one(model, history), 1):
        expected = np.array(paper.after(history[:end]))
        assert np.abs(found / expected - 1).max() < 1e-5


@given(texts(), st.none() | st.integers(0, 2000))
def test_the_probabilities_add_up_to_1_in_every_context(text: dict[str, Any], max_bytes: int | None) -> None:
    model = trained(text, max_bytes=max_bytes)
    sums = np.exp(model.log_probs(all_states(model)).astype(np.float64)).sum(1)
    assert np.abs(sums - 1).max() < 1e-6


@given(texts())
def test_reading_at_once_equals_reading_token_by_token(text: dict[str, Any]) -> None:
    model = trained(text)
    history = np.array(text["history"], np.int64)
    logs, state = model.read(history[None])
    assert logs.shape == (1, len(history), model.vocab_size)
    assert np.allclose(np.exp(logs[0]), list(read_one_by_one(model, history)) or logs[0], atol=1e-6)
    for cut in range(len(history)):
        _, before = model.read(history[None, :cut])
        rest, after = model.read(history[None, cut:], before)
        assert np.array_equal(rest[0], logs[0, cut:])
        assert np.array_equal(after.contexts, state.contexts)


@pytest.mark.parametrize("batch_size", [2, 40])
def test_a_batch_equals_its_texts_alone(batch_size: int) -> None:
    model = NGramModel.train(random_text(), 7, 6, prune_from=None)
    ids = np.random.default_rng(2).integers(0, 8, (batch_size, 50))
    together = model.start(batch_size)
    alone = [model.start(1) for _ in range(batch_size)]
    for column in ids.T:
        together = model.advance(together, column)
        alone = [
            model.advance(state, token) for state, token in zip(alone, column.reshape(-1, 1), strict=True)
        ]
        assert np.array_equal(together.contexts, State.concatenate(alone).contexts)
        rows = np.concatenate([model.log_probs(state) for state in alone])
        assert np.allclose(model.log_probs(together), rows, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_step_advances_and_gives_logits(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "_AHEAD_BYTES", 0)
    model = NGramModel.train(random_text(), 7, 6)
    ids = np.random.default_rng(3).integers(0, 8, (batch_size, 30))
    state = expected = model.start(batch_size)
    for column in ids.T:
        logits, state = model.step(column, state)
        expected = model.advance(expected, column)
        assert np.array_equal(state.contexts, expected.contexts)
        assert state.contexts.dtype == np.int32
        assert logits.dtype == np.float32
        constants = np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
        assert np.allclose(logits - constants, model.log_probs(expected), atol=1e-6)


def test_texts_join_and_leave_a_batch() -> None:
    model = NGramModel.train(random_text(), 7, 4)
    a, b = (model.read(np.array([ids]))[1] for ids in ([1, 2, 3], [4, 5]))
    joined = State.concatenate([a, b])
    assert len(joined) == 2
    assert np.array_equal(model.log_probs(joined.select([1])), model.log_probs(b))
    assert np.array_equal(joined.select([0, 0, 1]).contexts, np.concatenate([a.contexts, joined.contexts]))


def test_a_state_is_not_changed_by_advancing() -> None:
    model = NGramModel.train(random_text(), 7, 4)
    state = model.start(2)
    model.advance(state, np.array([1, 2]))
    model.read(np.array([[1, 2], [3, 4]]), state)
    assert not state.contexts.any()


def test_documents_are_kept_apart() -> None:
    """After the start token, nothing depends on the document before."""
    start, documents = 3, [[0, 1, 2], [1, 1, 0, 2], [2, 0]]
    text = [token for document in documents for token in (start, *document)]
    model = NGramModel.train(np.array(text), 4, 5, start_id=start, prune_from=None)
    after_one, _ = model.read(np.array([[0, 1, 2, start, 1]]))
    after_none, _ = model.read(np.array([[start, 1]]))
    assert np.array_equal(after_one[0, -2:], after_none[0])
    across = NGramModel.train(np.array(text), 4, 5, prune_from=None)
    assert across.num_entries > model.num_entries


def test_an_unseen_token_ends_all_contexts() -> None:
    model = NGramModel.train(random_text(), 7, 6)
    for unseen in (7, 8, 2**40):
        state = model.read(np.array([[1, 2, 3, unseen]]))[1]
        assert np.array_equal(model.log_probs(state), model.log_probs(model.start(1)))


def test_a_text_in_pieces_equals_the_whole() -> None:
    tokens = random_text().astype(np.uint16)
    whole = NGramModel.train(tokens, 7, 5).to_arrays()
    pieces = NGramModel.train((tokens[k : k + 97] for k in range(0, len(tokens), 97)), 7, 5).to_arrays()
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)


def test_a_large_vocabulary_equals_the_paper() -> None:
    """So large that the n-grams do not fit into one number of 64 bits."""
    tokens = random_text() * 100_000
    paper = Paper(tokens.tolist(), 700_000, 6, None, None)
    model = NGramModel.train(tokens, 700_000, 6, prune_from=None)
    history = tokens[:12].tolist()
    *_, found = read_one_by_one(model, history)
    context = tuple(history[-5:])
    for token in range(0, 700_000, 100_000):
        assert found[token] == pytest.approx(paper.probability(token, context), rel=1e-5)


def test_a_text_of_nothing_gives_the_uniform_distribution() -> None:
    model = NGramModel.train(np.zeros(0, np.int64), 5, 3)
    assert model.num_entries == 0
    assert np.allclose(np.exp(model.read(np.array([[1, 7, 2]]))[0]), 0.2)


def test_it_can_be_had_from_textgen() -> None:
    assert textgen.NGramModel is NGramModel


@pytest.mark.parametrize(
    "changed",
    [{"order": 0}, {"order": 1000}, {"vocab_size": 0}, {"start_id": 7}, {"start_id": -1}, {"prune_from": 1}],
)
def test_arguments_out_of_range_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changed))):
        NGramModel.train(random_text(), **{"vocab_size": 7, "order": 3} | changed)


def test_ids_that_are_none_are_refused() -> None:
    model = NGramModel.train(random_text(), 7, 3)
    with pytest.raises(IndexError, match="-1"):
        NGramModel.train(np.array([-1]), 7, 3)
    with pytest.raises(TypeError, match="float64"):
        NGramModel.train(np.array([0.5]), 7, 3)
    with pytest.raises(IndexError, match="-1"):
        model.advance(model.start(1), np.array([-1]))
    with pytest.raises(IndexError, match="-1"):
        model.step(np.array([-1]), model.start(1))
    for ids in ([1, 2], [[1]], [True], [1.0], []):
        with pytest.raises(TypeError, match="integers"):
            model.advance(model.start(1), np.array(ids))
        with pytest.raises(TypeError, match="integers"):
            model.step(np.array(ids), model.start(1))
