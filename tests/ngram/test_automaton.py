"""The links between contexts."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.ngram.automaton import Automaton
from textgen.ngram.model import NGramModel

VOCAB_SIZE = 9


@pytest.fixture(scope="module")
def automaton() -> Automaton:
    rng = np.random.default_rng(1)
    words = [rng.integers(0, VOCAB_SIZE, rng.integers(1, 9)) for _ in range(60)]
    text = np.concatenate([words[k] for k in rng.integers(0, 60, 3000)])
    tables = NGramModel.train(text, VOCAB_SIZE, 6).tables
    return Automaton(tables.levels, tables.discounts, VOCAB_SIZE)


def tokens_of(automaton: Automaton, context: int) -> set[int]:
    return set(automaton.tokens[automaton.first[context] : automaton.first[context + 1]].tolist())


def test_the_tokens_of_entries_are_those_of_their_keys(automaton: Automaton) -> None:
    assert np.array_equal(automaton.tokens, automaton.keys % VOCAB_SIZE)


def test_a_wider_context_is_the_first_with_other_entries(automaton: Automaton) -> None:
    num_skipped = 0
    for context in range(1, int(automaton.level_begins[-1])):
        shorter = int(automaton.suffix[context])
        while shorter and tokens_of(automaton, shorter) == tokens_of(automaton, context):
            shorter = int(automaton.suffix[shorter])
            num_skipped += 1
        assert automaton.wider[context] == shorter
        assert tokens_of(automaton, shorter) >= tokens_of(automaton, context)
    assert num_skipped > 10


def test_one_text_is_walked_as_many_are(automaton: Automaton) -> None:
    contexts = np.arange(automaton.level_begins[-1], dtype=np.int32)
    for token in range(VOCAB_SIZE + 2):
        together = automaton.advance(contexts, np.full(len(contexts), token))
        assert together.tolist() == [automaton.next(context, token) for context in contexts.tolist()]
        assert np.array_equal(automaton.walk(contexts, np.full((len(contexts), 1), token))[:, 0], together)
