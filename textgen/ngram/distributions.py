"""The distributions of the next token in the contexts of an n-gram model.

The distribution of a context is what its entries add, plus gamma times the distribution of the context
without its first token. Those of the shortest contexts are computed ahead.

Shapes: B contexts of a batch, D contexts that are computed ahead, V vocab_size.
"""

from __future__ import annotations

import numpy as np

from textgen.ngram.automaton import Automaton

_AHEAD_BYTES = (
    4 * 2**20
)  # of distributions that are computed ahead, unless that of the empty context is larger
_AT_ONCE = 2**20  # probabilities that are computed at a time


class Distributions:
    """Computes distributions from the contexts and entries of an automaton."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._ahead = self._first_levels()
        self._first, self._suffix = automaton.first.data, automaton.suffix.data

    def _first_levels(self) -> np.ndarray:
        """The distributions of the shortest contexts, as many levels as fit, (D, V)."""
        automaton, size = self._automaton, self._automaton.vocab_size
        limit = max(1, _AHEAD_BYTES // (4 * size))
        ends = [int(end) for end in automaton.level_begins[1:] if end <= limit]
        rows = np.full((ends[-1], size), 1 / size, np.float32)
        for begin, end in zip([0, *ends], ends, strict=False):
            if begin:
                rows[begin:end] = rows[automaton.suffix[begin:end]]
            rows[begin:end] *= automaton.gamma[begin:end, None]
            entries = slice(automaton.first[begin], automaton.first[end])
            rows.reshape(-1)[automaton.keys[entries]] += automaton.probabilities[entries]
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of the distributions that were computed ahead."""
        return self._ahead.nbytes

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The distribution in each context (B,): (B, V) float32, which belongs to the caller."""
        if len(contexts) == 1:
            return self._row(int(contexts[0]))[None]
        rows = np.empty((len(contexts), self._automaton.vocab_size), np.float32)
        step = max(1, _AT_ONCE // self._automaton.vocab_size)
        for begin in range(0, len(contexts), step):
            self._fill(rows[begin : begin + step], contexts[begin : begin + step])
        return rows

    def _row(self, context: int) -> np.ndarray:
        """What _fill computes, faster for one context: (V,)."""
        automaton = self._automaton
        longer = []
        while context >= len(self._ahead):
            longer.append(context)
            context = self._suffix[context]
        row: np.ndarray = self._ahead[context].copy()
        for context in reversed(longer):
            entries = slice(self._first[context], self._first[context + 1])
            row *= automaton.gamma[context]
            row[automaton.keys[entries] - context * automaton.vocab_size] += automaton.probabilities[entries]
        return row

    def _fill(self, rows: np.ndarray, contexts: np.ndarray) -> None:
        """Write the distributions in contexts (B,) to rows (B, V)."""
        automaton, size = self._automaton, self._automaton.vocab_size
        weight = np.ones(len(contexts), np.float32)  # of the distribution in what `contexts` has come to
        contexts, texts, owners, weights = contexts.copy(), [], [], []
        while len(longer := np.flatnonzero(contexts >= len(self._ahead))):
            chosen = contexts[longer]
            texts.append(longer)
            owners.append(chosen)
            weights.append(weight[longer])
            weight[longer] *= automaton.gamma[chosen]
            contexts[longer] = automaton.suffix[chosen]
        np.multiply(self._ahead[contexts], weight[:, None], out=rows)
        if not texts:
            return
        text, owner = np.concatenate(texts), np.concatenate(owners).astype(np.int64)
        begin = automaton.first[owner]
        count = automaton.first[owner + 1] - begin
        entry = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
        place = automaton.keys[entry] + np.repeat((text - owner) * size, count)
        added = automaton.probabilities[entry] * np.repeat(np.concatenate(weights), count)
        rows += np.bincount(place, added, rows.size).reshape(rows.shape)
