"""The distributions of the next token in the contexts of an n-gram model, as logarithms.

The distribution of a context is that of the context without its first token, times gamma, except for the
tokens that the context has entries for. Those of the shortest contexts are computed ahead.

Shapes: B contexts of a batch, D contexts that are computed ahead, V vocab_size.
"""

from __future__ import annotations

import numpy as np

from textgen.ngram.automaton import Automaton

_AHEAD_BYTES = (
    4 * 2**20
)  # of distributions that are computed ahead, unless that of the empty context is larger
_AT_ONCE = 2**20  # logarithms that are computed at a time
_FEW = 10  # entries that are faster to write one by one than together


class Distributions:
    """Computes distributions from the contexts and entries of an automaton.

    No other distributions are kept than those that are computed ahead: a text seldom comes to one of the
    longer contexts again.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._ahead = self._first_levels()
        # Single numbers are read from memory views in a fraction of the time.
        self._first, self._suffix = automaton.first.data, automaton.suffix.data
        self._tokens, self._log_probs = automaton.tokens.data, automaton.log_probs.data
        self._log_gamma = automaton.log_gamma.data

    def _first_levels(self) -> np.ndarray:
        """The distributions of the shortest contexts, as many levels as fit, (D, V)."""
        automaton, size = self._automaton, self._automaton.vocab_size
        limit = max(1, _AHEAD_BYTES // (4 * size))
        ends = [int(end) for end in automaton.level_begins[1:] if end <= limit]
        rows = np.full((ends[-1], size), -np.log(size), np.float32)
        for begin, end in zip([0, *ends], ends, strict=False):
            if begin:
                rows[begin:end] = rows[automaton.suffix[begin:end]]
            rows[begin:end] += automaton.log_gamma[begin:end, None]
            entries = slice(automaton.first[begin], automaton.first[end])
            rows.reshape(-1)[automaton.keys[entries]] = automaton.log_probs[entries]
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of the distributions that were computed ahead."""
        return self._ahead.nbytes

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The distribution in each context (B,): (B, V) float32, which belongs to the caller."""
        if len(contexts) == 1:
            return self._row(contexts.item())[None]
        rows = np.empty((len(contexts), self._automaton.vocab_size), np.float32)
        step = max(1, _AT_ONCE // self._automaton.vocab_size)
        for begin in range(0, len(contexts), step):
            self._fill(rows[begin : begin + step], contexts[begin : begin + step])
        return rows

    def _row(self, context: int) -> np.ndarray:
        """What _fill computes, to the last bit, and faster for one context: (V,)."""
        longer, log_weight = [], 0.0
        while context >= len(self._ahead):
            longer.append((context, log_weight))
            log_weight += self._log_gamma[context]
            context = self._suffix[context]
        if not longer:
            return self._ahead[context].copy()
        row: np.ndarray = self._ahead[context] + np.float32(log_weight)
        values, tokens, log_probs = row.data, self._tokens, self._log_probs
        for context, log_weight in reversed(longer):
            begin, end = self._first[context], self._first[context + 1]
            if end - begin <= _FEW:
                for entry in range(begin, end):
                    values[tokens[entry]] = log_probs[entry] + log_weight
            else:
                entries = slice(begin, end)
                added = self._automaton.log_probs[entries] + np.float64(log_weight)
                row.put(self._automaton.tokens[entries], added)
        return row

    def _fill(self, rows: np.ndarray, contexts: np.ndarray) -> None:
        """Write the distributions in contexts (B,) to rows (B, V)."""
        automaton, size = self._automaton, self._automaton.vocab_size
        log_weight = np.zeros(len(contexts))  # of the distribution in what `contexts` has come to
        contexts, texts, owners, log_weights = contexts.copy(), [], [], []
        while len(longer := np.flatnonzero(contexts >= len(self._ahead))):
            chosen = contexts[longer]
            texts.append(longer)
            owners.append(chosen)
            log_weights.append(log_weight[longer])
            log_weight[longer] += automaton.log_gamma[chosen]
            contexts[longer] = automaton.suffix[chosen]
        np.add(self._ahead[contexts], log_weight.astype(np.float32)[:, None], out=rows)
        if not texts:
            return
        # The shortest first: of several numbers that are written to one place, the last stays.
        text, owner, log_weight = (np.concatenate(each[::-1]) for each in (texts, owners, log_weights))
        begin = automaton.first[owner]
        count = automaton.first[owner + 1] - begin
        entry = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
        place = automaton.tokens[entry] + np.repeat(text * size, count)
        rows.reshape(-1)[place] = automaton.log_probs[entry] + np.repeat(log_weight, count)
