"""The distributions of the next token in the contexts of an n-gram model, as logarithms.

The distribution of a context is that of a shorter, wider one times a weight, except for the tokens that the
context has entries for. Those of the widest contexts are computed ahead. No others are kept: a text seldom
comes to one of the longer contexts again.

Shapes: B contexts of a batch, C contexts, D of them that are computed ahead, V vocab_size.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from textgen.ngram.automaton import Automaton
from textgen.ngram.tables import ranges

_AHEAD_BYTES = (
    4 * 2**20
)  # of distributions that are computed ahead, unless that of the empty context is larger
_AT_ONCE = 2**20  # logarithms that are computed at a time
_FEW = 20  # entries that are faster to write one by one than together


class Distributions:
    """Computes distributions from the contexts and entries of an automaton."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        ahead = _widest(np.diff(automaton.first), max(1, _AHEAD_BYTES // (4 * automaton.vocab_size)))
        # (C,) a wider context; of those that are computed ahead -1 - the number of their distribution.
        self._link = automaton.wider.copy()
        self._link[ahead] = -1 - np.arange(len(ahead))
        self._ahead = self._computed(ahead)
        # Single numbers are read from memory views in a fraction of the time.
        self._links, self._log_weights = self._link.data, automaton.log_weight.data
        self._first, self._tokens = automaton.first.data, automaton.tokens.data
        self._log_probs = automaton.log_probs.data

    def _computed(self, contexts: np.ndarray) -> np.ndarray:
        """The distributions of ascending contexts, among which are all that are wider: (D, V)."""
        automaton, size = self._automaton, self._automaton.vocab_size
        rows = np.full((len(contexts), size), -np.log(size), np.float32)
        for begin, end in pairwise(np.searchsorted(contexts, automaton.level_begins).tolist()):
            level = contexts[begin:end]
            if begin:
                rows[begin:end] = rows[-1 - self._link[automaton.wider[level]]]
            rows[begin:end] += automaton.log_weight[level, None]
            entry, text = self._entries(level)
            rows[begin + text, automaton.tokens[entry]] = automaton.log_probs[entry]
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of the distributions that were computed ahead, and of the links to them."""
        return self._ahead.nbytes + self._link.nbytes

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The distribution in each context (B,): (B, V) float32, which belongs to the caller."""
        if len(contexts) == 1:
            row, constant = self.row(contexts.item())
            return (row + np.float32(constant))[None]
        rows = np.empty((len(contexts), self._automaton.vocab_size), np.float32)
        step = max(1, _AT_ONCE // self._automaton.vocab_size)
        for begin in range(0, len(contexts), step):
            self._fill(rows[begin : begin + step], contexts[begin : begin + step])
        return rows

    def row(self, context: int) -> tuple[np.ndarray, float]:
        """The distribution in one context (V,) less a constant, and that constant: faster than `rows`."""
        links, log_weights = self._links, self._log_weights
        longer, constant, link = [], 0.0, links[context]
        while link >= 0:
            longer.append((context, constant))
            constant += log_weights[context]
            context = link
            link = links[context]
        row: np.ndarray = self._ahead[-1 - link].copy()
        first, tokens, log_probs = self._first, self._tokens, self._log_probs
        values: Any = row.data
        for context, log_weight in reversed(longer):
            begin, end = first[context], first[context + 1]
            log_weight -= constant
            if end - begin <= _FEW:
                for entry in range(begin, end):
                    values[tokens[entry]] = log_probs[entry] + log_weight
            else:
                automaton, entries = self._automaton, slice(begin, end)
                row[automaton.tokens[entries]] = automaton.log_probs[entries] + np.float64(log_weight)
        return row, constant

    def _fill(self, rows: np.ndarray, contexts: np.ndarray) -> None:
        """Write the distributions in contexts (B,) to rows (B, V)."""
        automaton = self._automaton
        log_weight = np.zeros(len(contexts))  # of the distribution in what `contexts` has come to
        links = self._link[contexts]
        contexts, texts, owners, log_weights = contexts.copy(), [], [], []
        while len(longer := np.flatnonzero(links >= 0)):
            chosen = contexts[longer]
            texts.append(longer)
            owners.append(chosen)
            log_weights.append(log_weight[longer])
            log_weight[longer] += automaton.log_weight[chosen]
            contexts[longer] = links[longer]
            links[longer] = self._link[contexts[longer]]
        np.add(self._ahead[-1 - links], log_weight.astype(np.float32)[:, None], out=rows)
        if not texts:
            return
        # The shortest first: of several numbers that are written to one place, the last stays.
        text, owner, log_weight = (np.concatenate(each[::-1]) for each in (texts, owners, log_weights))
        entry, of = self._entries(owner)
        place = text[of] * automaton.vocab_size + automaton.tokens[entry]
        rows.reshape(-1)[place] = automaton.log_probs[entry] + log_weight[of]

    def _entries(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All entries of these contexts, and the place in `contexts` of the one that each belongs to."""
        begin = self._automaton.first[contexts]
        return ranges(begin, self._automaton.first[contexts + 1] - begin)


def _widest(fan: np.ndarray, most: int) -> np.ndarray:
    """At most so many contexts, ascending: those with more entries than all others, and the empty one.

    fan: (C,) how many entries each has; none has more than the empty one.
    """
    fewer = len(fan) - np.cumsum(np.bincount(fan))  # how many have more than 0, 1, ... entries
    chosen = np.flatnonzero(fan > np.argmax(fewer <= most))
    return chosen if len(chosen) else np.zeros(1, np.int64)
