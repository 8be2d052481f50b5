"""LearningNGrams: an n-gram model whose counts grow with a text while it is read.

    learning = LearningNGrams(model)
    for window in windows:                      # arrays of ids
        learning.read(window, before)           # (T, V): log-probabilities, from what was learnt until now
        learning.learn(window, before)          # now the window counts too

Kneser-Ney smoothing as in NGramModel, with the discounts of the model that it begins with. A counted n-gram
raises the count of the one without its first token only when it is new, because that count is the number of
different tokens before it.

The n-grams are a trie: n-gram 0 is the empty one, and the others are numbered so that those of the model come
first, level by level, each after the one that it continues; then those that are new, as they are learnt.

    model   a  b  aa  ab  ba       first child of each: 3 5 ...
    new     bab ...                linked: from the one that they continue to the newest, and on to older ones

Shapes: T tokens of a window, V vocab_size, C contexts of all tokens, E n-grams that continue them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from textgen.ngram.arrays import Tables
from textgen.ngram.model import NGramModel
from textgen.ngram.tables import NUM_DISCOUNTS, Level, compact, ranges

MOST_LEARNT = 4_000_000  # n-grams, which take about half a gigabyte: those of a million characters
_ROOT, _NONE = 0, -1


@dataclass(frozen=True)
class _Place:
    """What a text ends with: its last n tokens as an n-gram of the trie, for n from 0 to at most order - 1.

    ngrams: _NONE where they are not in the trie. There are fewer of them after the beginning of a text, a
    break or the start token. from_start: whether it was the start token.
    """

    ngrams: tuple[int, ...] = (_ROOT,)
    from_start: bool = False


class LearningNGrams:
    """An n-gram model of one text that is read in order: predicts, and then counts, a window at a time.

    The model that it begins with is not changed. Of n-grams that were pruned from it, only what is learnt
    counts. When most_learnt new n-grams are reached, all that was learnt is forgotten.

    `before` of the methods are the ids before: the last order - 1 of them or more, or all of the text.
    """

    def __init__(self, model: NGramModel, most_learnt: int = MOST_LEARNT) -> None:
        self._tables = model.tables
        self._most_learnt = most_learnt
        self.vocab_size, self.order, self._start_id = model.vocab_size, model.order, model.start_id
        levels = self._tables.levels
        self._ends = np.cumsum([1, *(len(level.tokens) for level in levels)])  # of the levels from 0 on
        fan = [np.array([len(levels[0].tokens)]), *(level.children for level in levels[:-1])]
        rest = np.zeros(len(levels[-1].tokens), np.int32)
        self._first = array("i", _int32(1 + np.cumsum(np.concatenate([[0], *fan, rest])[:-1])))
        self._base = int(self._ends[-1])  # how many n-grams the model has; new ones are numbered from there
        self._first.append(self._base)
        dropped = [np.zeros(1), *(level.dropped for level in levels[:-1]), rest]
        self._dropped = np.concatenate(dropped).astype(np.int32)  # type: ignore[arg-type]
        self._forget()

    def _forget(self) -> None:
        levels = self._tables.levels
        self._tokens = array("i", _int32(np.concatenate([[0], *(level.tokens for level in levels)])))
        self._counts = array("i", _int32(np.concatenate([[0], *(level.counts for level in levels)])))
        self._newest = array("i", _int32(np.full(len(self._tokens), _NONE)))  # new n-gram that continues each
        self._older = array("i")  # of each new n-gram, the one that was linked before it
        self._new: dict[int, int] = {}  # by the n-gram that it continues x V + token
        self._after_break: set[int] = set()  # n-grams that a break or the beginning of a text precedes

    @property
    def num_learnt(self) -> int:
        """How many n-grams there are that the model did not have."""
        return len(self._new)

    def read(self, ids: np.ndarray, before: Iterable[int] = ()) -> np.ndarray:
        """The logarithms of the probabilities of the token after each of the ids (T,): (T, V) float32."""
        place = self._walk(before)
        positions: list[int] = []
        lengths: list[int] = []
        contexts: list[int] = []
        for position, token in enumerate(ids.tolist()):
            place = self._advanced(place, token)
            for length, ngram in enumerate(place.ngrams[1:], 1):
                if ngram == _NONE:
                    break
                if self._is_continued(ngram):
                    positions.append(position)
                    lengths.append(length)
                    contexts.append(ngram)
        _, tokens, shares, gamma = self._shares([_ROOT], [0])
        shortest = np.full(self.vocab_size, gamma[0] / self.vocab_size)
        shortest[tokens] += shares
        owner, tokens, shares, gamma = self._shares(contexts, lengths)
        gammas = np.ones((len(ids), self.order + 1))
        at = np.array(positions, np.int64), np.array(lengths, np.int64)
        gammas[at] = gamma
        # What is left of the probability when it comes to the contexts of each length, the longest first.
        left = np.cumprod(gammas[:, ::-1], axis=1)[:, ::-1]
        added = shares * left[at[0], at[1] + 1][owner]
        rows = np.bincount(at[0][owner] * self.vocab_size + tokens, added, len(ids) * self.vocab_size)
        rows = rows.reshape(len(ids), self.vocab_size) + left[:, 1:2] * shortest
        logs: np.ndarray = np.log(np.maximum(rows, np.finfo(np.float32).tiny)).astype(np.float32)
        return logs

    def _shares(
        self, contexts: list[int], lengths: list[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the n-grams that continue contexts of these lengths add to the probabilities there.

        Returns the place of the context, the token and the share of each n-gram, (E,) each; and gamma (C,),
        what is left for shorter contexts.
        """
        base = self._base
        owner: list[int] = []
        new: list[int] = []
        for k, context in enumerate(contexts):
            ngram = self._newest[context]
            while ngram != _NONE:
                owner.append(k)
                new.append(ngram)
                ngram = self._older[ngram - base]
        number, length = np.array(contexts, np.int64), np.array(lengths, np.int64)
        of_base = np.flatnonzero(number < base)
        first = np.frombuffer(self._first, np.int32)
        begin = first[number[of_base]]
        entries, which = ranges(begin, first[number[of_base] + 1] - begin)
        entries = np.concatenate([entries, np.array(new, np.int64)])
        owners = np.concatenate([of_base[which], np.array(owner, np.int64)])
        counts = np.frombuffer(self._counts, np.int32)[entries]
        table = np.pad(self._tables.discounts, ((0, 0), (1, 0)))  # (order, 1 + NUM_DISCOUNTS)
        mass = counts - table[length[owners], np.minimum(counts, NUM_DISCOUNTS)]
        total = np.bincount(owners, counts, len(contexts))
        total[of_base] += self._dropped[number[of_base]]
        total = np.maximum(total, 1)  # 0 only where no text was counted
        gamma = np.where(np.bincount(owners, minlength=len(contexts)) > 0,
                         1 - np.bincount(owners, mass, len(contexts)) / total, 1.0)  # fmt: skip
        return owners, np.frombuffer(self._tokens, np.int32)[entries], mass / total[owners], gamma

    def learn(self, ids: np.ndarray, before: Iterable[int] = ()) -> None:
        """Count the n-grams that end with one of the ids (T,). What is before should be learnt already."""
        place = self._walk(before)
        for token in ids.tolist():
            if len(self._new) + self.order > self._most_learnt:
                self._forget()
                place = _Place()
            if token < self.vocab_size:
                self._count(place, token)
            place = self._advanced(place, token)

    def _count(self, place: _Place, token: int) -> None:
        """Count the n-grams that end with a token after a text, the longest first."""
        longest = len(place.ngrams)
        after_break = longest < self.order and not place.from_start
        grows = True
        for length in range(longest, 0, -1):
            context = place.ngrams[length - 1]
            if context == _NONE:  # it was forgotten, or not learnt
                grows = False
                continue
            ngram = self._child(context, token)
            is_new = ngram == _NONE
            if is_new:
                ngram = self._add(context, token)
            if length == longest and after_break:
                grows = self._is_first_after_break(ngram)
            if grows or is_new:
                self._counts[ngram] += 1
            grows = is_new

    def _add(self, context: int, token: int) -> int:
        ngram = len(self._tokens)
        self._new[context * self.vocab_size + token] = ngram
        self._tokens.append(token)
        self._counts.append(0)
        self._newest.append(_NONE)
        self._older.append(self._newest[context])
        self._newest[context] = ngram
        return ngram

    def _is_first_after_break(self, ngram: int) -> bool:
        """Whether an n-gram is after a break for the first time, as from now it no longer is."""
        if ngram in self._after_break:
            return False
        self._after_break.add(ngram)
        if ngram >= self._base:
            return True
        # Of tokens that precede it one more was counted than there are: the break.
        return bool(self._base_counts[ngram] <= self._preceding[ngram])

    @cached_property
    def _base_counts(self) -> np.ndarray:
        return np.concatenate([[0], *(level.counts for level in self._tables.levels)])

    @cached_property
    def _preceding(self) -> np.ndarray:
        """How many different tokens precede each n-gram of the model, as far as they were kept."""
        first, tokens = np.frombuffer(self._first, np.int32), np.frombuffer(self._tokens, np.int32)
        base = self._base
        parent = np.repeat(np.arange(base), np.diff(first))  # of n-grams 1, 2, ...
        keys = parent * self.vocab_size + tokens[1:base]
        suffix = np.zeros(base, np.int64)  # each n-gram without its first token
        for begin, end in zip(self._ends[1:-1].tolist(), self._ends[2:].tolist(), strict=True):
            wanted = suffix[parent[begin - 1 : end - 1]] * self.vocab_size + tokens[begin:end]
            suffix[begin:end] = 1 + np.searchsorted(keys, wanted)
        return np.bincount(suffix[suffix > 0], minlength=base)

    def _child(self, ngram: int, token: int) -> int:
        """The n-gram with one more token; _NONE if there is none."""
        if ngram == _NONE:
            return _NONE
        if ngram < self._base:
            end = self._first[ngram + 1]
            found = bisect_left(self._tokens, token, self._first[ngram], end)
            if found < end and self._tokens[found] == token:
                return found
        return self._new.get(ngram * self.vocab_size + token, _NONE)

    def _is_continued(self, ngram: int) -> bool:
        if self._newest[ngram] != _NONE:
            return True
        return ngram < self._base and self._first[ngram] < self._first[ngram + 1]

    def _walk(self, ids: Iterable[int]) -> _Place:
        place = _Place()
        for token in ids:
            place = self._advanced(place, int(token))
        return place

    def _advanced(self, place: _Place, token: int) -> _Place:
        """What a text ends with after one more token."""
        if token >= self.vocab_size:
            return _Place()
        if token == self._start_id:
            return _Place((_ROOT, self._child(_ROOT, token))[: self.order], from_start=True)
        longer = (self._child(ngram, token) for ngram in place.ngrams[: self.order - 1])
        return _Place((_ROOT, *longer), place.from_start)

    def frozen(self) -> NGramModel:
        """A model of what is counted now, that learns no more."""
        base, size = self._base, len(self._tokens)
        first, tokens = np.frombuffer(self._first, np.int32), np.frombuffer(self._tokens, np.int32)
        counts = np.frombuffer(self._counts, np.int32)
        new_parents = np.fromiter(self._new, np.int64, len(self._new)) // self.vocab_size
        parents = np.concatenate([[_NONE], np.repeat(np.arange(base), np.diff(first)), new_parents])
        length = np.zeros(size, np.int64)
        length[1:base] = np.repeat(np.arange(1, self.order + 1), np.diff(self._ends))
        for _ in range(self.order):  # what new n-grams continue may be new too
            length[base:] = length[new_parents] + 1
        dropped = np.pad(self._dropped, (0, size - base))
        rank = np.zeros(size, np.int64)
        above = np.zeros(1, np.int64)
        levels: list[Level] = []
        for k in range(1, self.order + 1):
            grams = np.flatnonzero(length == k)
            grams = grams[np.argsort(rank[parents[grams]] * self.vocab_size + tokens[grams])]
            rank[grams] = np.arange(len(grams))
            if levels:
                children = compact(np.bincount(rank[parents[grams]], minlength=len(above)))
                levels[-1] = replace(levels[-1], children=children, dropped=compact(dropped[above]))
            levels.append(Level(compact(tokens[grams]), compact(counts[grams])))
            above = grams
        tables = self._tables
        return NGramModel(Tables(self.vocab_size, self._start_id, tables.share, levels, tables.discounts))


def _int32(values: np.ndarray) -> bytes:
    return values.astype(np.int32).tobytes()
