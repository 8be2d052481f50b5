"""The distributions of contexts: however many are computed ahead, and one by one or together."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.ngram import distributions
from textgen.ngram.automaton import Automaton
from textgen.ngram.distributions import Distributions
from textgen.ngram.model import NGramModel

VOCAB_SIZE = 40


@pytest.fixture(scope="module")
def automaton() -> Automaton:
    """Contexts with one entry and with dozens, several steps from a wide one; some are pruned."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, VOCAB_SIZE, rng.integers(1, 7)) for _ in range(300)]
    text = np.concatenate([words[k] for k in (300 * rng.random(3000) ** 3).astype(int)])
    tables = NGramModel.train(text, VOCAB_SIZE, 7).tables
    return Automaton(tables.levels, tables.discounts, VOCAB_SIZE)


def computed_ahead(automaton: Automaton, count: int, monkeypatch: pytest.MonkeyPatch) -> Distributions:
    monkeypatch.setattr(distributions, "_AHEAD_BYTES", count * 4 * VOCAB_SIZE)
    return Distributions(automaton)


def all_contexts(automaton: Automaton) -> np.ndarray:
    return np.arange(automaton.level_begins[-1], dtype=np.int32)


@pytest.fixture(scope="module")
def defined(automaton: Automaton) -> np.ndarray:
    """The distributions (C, V) from the entries and suffixes alone, one context after another.

    What shorter contexts give is scaled so that it adds up to 1 with the entries.
    """
    rows = np.full((automaton.level_begins[-1], automaton.vocab_size), 1 / automaton.vocab_size)
    for context, row in enumerate(rows):
        entries = slice(automaton.first[context], automaton.first[context + 1])
        tokens = automaton.keys[entries] - context * automaton.vocab_size
        if context:
            row[:] = rows[automaton.suffix[context]]
        others = np.ones(len(row), bool)
        others[tokens] = False
        row[tokens] = np.exp(automaton.log_probs[entries].astype(np.float64))
        row[others] *= (1 - row[tokens].sum()) / max(row[others].sum(), 1e-300)
    return rows


@pytest.mark.parametrize("count", [0, 1, 30, 1000, 10**6])
def test_they_are_the_same_however_many_are_computed_ahead(
    automaton: Automaton, defined: np.ndarray, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = computed_ahead(automaton, count, monkeypatch)
    contexts = all_contexts(automaton)
    assert len(found._ahead) <= max(1, count)
    assert (len(found._ahead) == len(contexts)) == (count > len(contexts))
    np.testing.assert_allclose(np.exp(found.rows(contexts)), defined, atol=2e-6)


@pytest.mark.parametrize("few", [0, 3, 10**6])
def test_one_alone_is_the_same_but_for_a_constant(
    automaton: Automaton, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributions, "_FEW", few)
    found = computed_ahead(automaton, 30, monkeypatch)
    contexts = all_contexts(automaton)
    together = found.rows(contexts)
    for context in contexts[:: len(contexts) // 400].tolist():
        row, constant = found.row(context)
        assert np.allclose(row + constant, together[context], atol=1e-6)
        assert np.allclose(found.rows(np.array([context])), together[context], atol=1e-6)


def test_many_are_computed_in_pieces(automaton: Automaton, monkeypatch: pytest.MonkeyPatch) -> None:
    found = computed_ahead(automaton, 30, monkeypatch)
    contexts = all_contexts(automaton)
    at_once = found.rows(contexts)
    monkeypatch.setattr(distributions, "_AT_ONCE", 7 * VOCAB_SIZE)
    assert np.array_equal(found.rows(contexts), at_once)


def test_what_is_returned_belongs_to_the_caller(
    automaton: Automaton, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = computed_ahead(automaton, 30, monkeypatch)
    for contexts in (np.zeros(1, np.int32), np.zeros(2, np.int32), all_contexts(automaton)[-1:]):
        expected = found.rows(contexts)
        found.rows(contexts)[:] = 5
        assert np.array_equal(found.rows(contexts), expected)


def test_the_widest_contexts_are_computed_ahead(
    automaton: Automaton, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = computed_ahead(automaton, 30, monkeypatch)
    fan = np.diff(automaton.first)
    ahead = found._link < 0
    assert ahead[0]
    assert fan[ahead].min() > fan[~ahead].max()
    assert found.nbytes == found._ahead.nbytes + 4 * len(fan)
