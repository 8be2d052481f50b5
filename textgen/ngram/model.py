"""NGramModel: an n-gram language model with interpolated modified Kneser-Ney smoothing.

    model = NGramModel.train(tokens, vocab_size=65, order=9)
    state = model.start(1)
    for token in text:
        state = model.advance(state, np.array([token]))
        model.log_probs(state)                              # (1, V) of the token after it

The probability of a token is its discounted count in the longest context that was counted, as a share of all
counts there, plus the share that was taken off times its probability in the context without its first token,
and so on down to the uniform distribution.

The count of the longest n-grams is their frequency. That of a shorter one is the number of different tokens
that precede it in the text; the beginning of the text and a break count as one more. Chen and Goodman pad the
beginning of a sentence with as many start tokens as a context has. Here, as in most implementations, there is
one: nothing precedes n-grams that begin with it, and they keep their frequency.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling", TR-10-98, 1998.
Kneser and Ney, "Improved backing-off for m-gram language modeling", 1995.

Shapes: B batch (number of texts), T time, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.errors import ConfigError
from textgen.ngram.arrays import MAX_ORDER, Tables, checked_tables, damaged, tables_to_arrays
from textgen.ngram.automaton import Automaton
from textgen.ngram.counting import count
from textgen.ngram.distributions import Distributions
from textgen.ngram.reading import MOST_TOKENS, read_text
from textgen.ngram.tables import fitted
from textgen.settings.config import MAX_VOCAB_SIZE

PRUNE_FROM = 6  # most long n-grams occur once: they take most of the space, and predict little


@dataclass(frozen=True)
class State:
    """The longest counted context that each of B texts ends with, (B,) int32; never changed in place."""

    contexts: np.ndarray

    def __len__(self) -> int:
        return len(self.contexts)

    def select(self, places: Sequence[int] | np.ndarray) -> State:
        """The texts at these places, in this order; one may be taken several times."""
        return State(self.contexts[np.asarray(places, np.int64)])

    @staticmethod
    def concatenate(states: Sequence[State]) -> State:
        """The texts of all states, one state after the other."""
        return State(np.concatenate([state.contexts for state in states]))


class NGramModel:
    """Gives the distribution of the next token after the last order - 1 tokens of a text.

    Ids 0..V-1 are tokens. Any larger id is an unseen token, which no context reaches across.

    The model is never changed, and may be used from several threads.
    """

    def __init__(self, tables: Tables) -> None:
        """A model of counted n-grams; see train and from_arrays. Raises ValueError for inconsistent ones."""
        self._tables = tables
        self._automaton = Automaton(tables.levels, tables.discounts, tables.vocab_size)
        self._distributions = Distributions(self._automaton)

    @classmethod
    def train(
        cls,
        tokens: Any,
        vocab_size: int,
        order: int,
        *,
        start_id: int | None = None,
        max_bytes: int | None = None,
        prune_from: int | None = PRUNE_FROM,
        most_tokens: int = MOST_TOKENS,
    ) -> NGramModel:
        """Count the n-grams of a text.

        tokens: model ids, an array (N,), which may be memory-mapped, or an iterable of arrays, one after
        another. start_id: the token that documents begin after; contexts do not reach back across it. A text
        that does not begin with it is counted as if it did. None: the text is one document. max_bytes: the
        largest nbytes; the rarest n-grams of two tokens or more are pruned until they fit. None: no limit.
        prune_from: n-grams of this many tokens or more that occur only once are pruned; None keeps them.
        most_tokens: of a longer text, evenly spread pieces are counted, of about as many tokens together.

        Raises ConfigError for an argument out of range, IndexError for an id below 0, TypeError for ids that
        are not integers.
        """
        _require("order", order, 1, MAX_ORDER)
        _require("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
        if start_id is not None:
            _require("start_id", start_id, 0, vocab_size - 1)
        if prune_from is not None:
            _require("prune_from", prune_from, 2, MAX_ORDER + 1)
        _require("most_tokens", most_tokens, 1000, 2**31 - 1)
        text = read_text(tokens, vocab_size, most_tokens)
        counts = count(text, order, start_id=start_id, prune_from=prune_from)
        levels = counts.levels
        if max_bytes is not None:
            others = Tables(vocab_size, start_id, text.share, [], counts.discounts).nbytes
            levels = fitted(levels, counts.frequencies, max_bytes - others, prune_from or PRUNE_FROM)
        return cls(Tables(vocab_size, start_id, text.share, levels, counts.discounts))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], where: str = "n-gram model") -> NGramModel:
        """The model that these arrays are of, which may come from a stranger. `where` names their source.

        Raises RunError for arrays that are not those of a model.
        """
        tables = checked_tables(arrays, where)
        try:
            return cls(tables)
        except ValueError as error:
            raise damaged(where, str(error)) from None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The counts of the model by name; from_arrays makes an equal model of them."""
        return tables_to_arrays(self._tables)

    @property
    def tables(self) -> Tables:
        """The counted n-grams, which must not be changed."""
        return self._tables

    @property
    def vocab_size(self) -> int:
        """V."""
        return self._tables.vocab_size

    @property
    def order(self) -> int:
        """The length of the longest n-grams in tokens: contexts have up to order - 1."""
        return len(self._tables.levels)

    @property
    def start_id(self) -> int | None:
        """The token that documents begin after."""
        return self._tables.start_id

    @property
    def share(self) -> float:
        """How much of the training text was counted, from 0 to 1."""
        return self._tables.share

    @property
    def num_entries(self) -> int:
        """How many n-grams of all lengths the model has."""
        return sum(len(level.tokens) for level in self._tables.levels)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays of to_arrays; in memory it takes several times as many."""
        return self._tables.nbytes

    def remarks(self) -> list[str]:
        """Sentences about what limits the model; none when the whole text was counted."""
        if self.share == 1:
            return []
        return [f"Only {self.share:.1%} of the training text, spread evenly over it, was counted."]

    def start(self, batch_size: int) -> State:
        """Texts of which nothing is read yet. Read the start token first where there is one."""
        return State(np.zeros(batch_size, np.int32))

    def advance(self, state: State, ids: np.ndarray) -> State:
        """The state after one more token of each text. ids (B,) 0 or more."""
        return State(self._automaton.advance(state.contexts, self._checked(ids, (len(state),))))

    def log_probs(self, state: State) -> np.ndarray:
        """The natural logarithm of the probability of each token to come next, (B, V) float32."""
        return self._distributions.rows(state.contexts)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Read one more token of each text (B,): logits after it (B, V) float32, and the state.

        They are log_probs less a constant of each text.
        """
        token = ids.item() if ids.shape == state.contexts.shape == (1,) else None
        if type(token) is not int or token < 0:  # several texts, or ids that are refused
            state = self.advance(state, ids)
            return self.log_probs(state), state
        # The same for one text, which waits for each of its tokens: with as few arrays as possible.
        context = self._automaton.next(state.contexts.item(), token)
        row, _ = self._distributions.row(context)
        return row[None], State(np.array([context], np.int32))

    def read(self, ids: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Read more of each text (B, T): log_probs after each token (B, T, V), and the state after the last.

        state: None begins new texts. All results are in memory at once: read a long text in several calls.
        """
        ids = np.asarray(ids)
        state = self.start(len(ids)) if state is None else state
        ids = self._checked(ids, (len(state), *ids.shape[1:2]))
        contexts = self._automaton.walk(state.contexts, ids)  # (B, T)
        rows = self._distributions.rows(contexts.reshape(-1))
        after = contexts[:, -1] if ids.shape[1] else state.contexts
        return rows.reshape(*ids.shape, self.vocab_size), State(after.copy())

    def _checked(self, ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        ids = np.asarray(ids)
        if ids.shape != shape or ids.dtype.kind not in "iu":
            raise TypeError(f"ids are an array of {ids.dtype} {ids.shape}; they must be integers {shape}")
        least = ids.item() if ids.size == 1 else ids.min(initial=0)
        if least < 0:
            raise IndexError(f"id {least}: ids are 0 or more")
        return ids.astype(np.int64, copy=False)


def _require(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}; it must be at least {least} and at most {most:,}")
