"""What a text costs under a run, token by token; in NumPy, while the text comes in.

    one text, the state carried  ── Scorer.read ─→ pieces with the cost of each token, as they come
    short texts, side by side    ── Scorer.each ─→ a Loss each

The figures are those of `evaluate`: the same first token, the same cost of tokens that training never saw.
Memory does not grow with the text, nor with a line of it.

Shapes: B texts side by side, T time, V model_ids.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textgen.errors import damaged_weights
from textgen.evaluation.cross_entropy import Loss, TokenCosts
from textgen.evaluation.report import BITS, Report
from textgen.generation.engine import Engine
from textgen.generation.generator import Generator
from textgen.run import Run
from textgen.text.documents import Meter, Separator
from textgen.text.model_vocab import start_id
from textgen.text.tokenizer import Tokenizer

# Logits at a time (B, T, V), in numbers: few enough to stay in the processor's cache.
LOGITS = 2**18
# Texts side by side; more gain nothing any more.
LANES = 32


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a text, or the place between two documents, with its tokens.

    For each token: its id, at which character of the piece it begins (several that only together make a
    character all begin there), its cost in nats, float64, and whether training saw it; (N,) each.
    """

    item: str | Separator
    token_ids: np.ndarray
    starts: np.ndarray
    nats: np.ndarray
    seen: np.ndarray

    def part(self, start: int, stop: int) -> Piece:
        """The characters start..stop with the tokens that begin among them."""
        assert isinstance(self.item, str)  # a separator has no parts
        first, last = np.searchsorted(self.starts, (start, stop)).tolist()
        arrays = (self.token_ids, self.starts, self.nats, self.seen)
        # Cut first: of a piece of many lines each would else go over all of it.
        ids, starts, nats, seen = (array[first:last] for array in arrays)
        return Piece(self.item[start:stop], ids, starts - start, nats, seen)

    def by_line(self) -> Iterator[tuple[Piece, bool]]:
        """The parts that lie in different lines, and whether each ends its line.

        Of a separator the first line end has the tokens; behind it are empty lines.
        """
        if isinstance(self.item, Separator):
            empty = max(self.item.line_ends - 1, 0)
            first = Separator(self.item.characters - empty, self.item.bytes - empty)
            yield dataclasses.replace(self, item=first), True
            for _ in range(empty):
                yield EMPTY_LINE, True
            return
        start = 0
        while stop := self.item.find("\n", start) + 1:
            yield self.part(start, stop), True
            start = stop
        if start < len(self.item):
            yield self.part(start, len(self.item)), False

    def by_character(self) -> Iterator[tuple[str, float]]:
        """The text in its shortest segments that whole tokens make, and the bits of each."""
        if isinstance(self.item, Separator):
            yield "\n", float(self.nats.sum()) * BITS
            return
        if not len(self.starts):
            yield self.item, 0.0
            return
        starts, firsts = np.unique(self.starts, return_index=True)
        starts[0] = 0  # what a tokenizer leaves out in front belongs to the first token
        bits = np.add.reduceat(self.nats, firsts) * BITS
        for start, stop, cost in zip(starts, [*starts[1:], None], bits.tolist(), strict=True):
            yield self.item[start:stop], cost


EMPTY_LINE = Piece(Separator(1, 1), *(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, bool)))
"""An empty line that is part of what stands between two documents."""


@dataclass(frozen=True)
class ScoredToken:
    """One token to be read: its text or name, its id, its bits, and whether training saw it."""

    token: str
    id: int
    bits: float
    seen: bool


class Tally:
    """What has been scored so far."""

    def __init__(self) -> None:
        self._nats, self._tokens, self._unseen = 0.0, 0, 0
        self._meter = Meter()

    def add(self, piece: Piece) -> None:
        """Count one more piece."""
        self._nats += float(piece.nats.sum())
        self._tokens += len(piece.nats)
        self._unseen += len(piece.seen) - int(np.count_nonzero(piece.seen))
        self._meter.add(piece.item)

    @property
    def report(self) -> Report:
        """The figures; those per token are not numbers while there is no token."""
        return Report(Loss(self._nats, self._tokens, self._unseen), self._meter.size)


class Scorer:
    """Reads texts with an engine and says what their tokens cost. Texts do not disturb each other."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._engine = engine
        self._vocab = engine.vocab
        self._costs = TokenCosts(engine.vocab, tokenizer.vocab_size - engine.vocab.size)
        self._start = start_id(engine.vocab, tokenizer)
        self._token_text = functools.cache(tokenizer.token_text)

    @classmethod
    def from_run(
        cls, run: Run, device: str | None = None, set_threads: Callable[[int], None] | None = None
    ) -> Scorer:
        """The scorer of a run's best weights; the arguments are those of Generator.from_run.

        On the CPU torch is not loaded. Raises RunError, ConfigError or TokenizerError.
        """
        generator = Generator.from_run(run, device, set_threads)
        return cls(generator.engine, generator.tokenizer)

    def read(self, stream: Iterable[str | Separator], *, at_once: bool = False) -> Iterator[Piece]:
        """Score one text, the state carried over all of it.

        at_once: a piece is given as soon as no more text can change its tokens, and not gathered with others.

        Raises TokenizerError for a text that cannot be encoded, RunError when a cost is no number.
        """
        engine = copy.copy(self._engine)
        engine.reset_state(1)
        before = self._start
        for item in self.tokenizer.chunks(stream, at_once=at_once):
            token_ids, starts = self._encode(item)
            model_ids = self._vocab.to_model_ids(token_ids)
            nats = np.zeros(0)
            if len(model_ids):
                nats = self._nats(engine, before, model_ids[None])[0]
                before = int(model_ids[-1])
            yield Piece(item, token_ids, starts, nats, model_ids < self._vocab.size)

    def tokens(self, piece: Piece) -> Iterator[ScoredToken]:
        """The tokens of a piece, one by one."""
        columns = (piece.token_ids, piece.nats * BITS, piece.seen)
        for token_id, bits, seen in zip(*(column.tolist() for column in columns), strict=True):
            yield ScoredToken(self._token_text(token_id), token_id, bits, seen)

    def each(self, texts: Sequence[Iterable[str | Separator]]) -> list[Loss]:
        """Score short texts, each by itself, several side by side; a text without a token costs nothing.

        A text's figure depends on it alone (but for rounding: products of another batch size may differ in
        their last bits).

        Raises what `read` raises.
        """
        model_ids = [self._model_ids_of(text) for text in texts]
        losses = [Loss(0.0, 0, 0)] * len(model_ids)
        for batch in _batches_of_like_length([len(each) for each in model_ids]):
            engine = copy.copy(self._engine)
            engine.reset_state(len(batch))
            padded = np.zeros((len(batch), max(len(model_ids[index]) for index in batch)), np.int64)  # (B, T)
            for lane, index in zip(padded, batch, strict=True):
                lane[: len(model_ids[index])] = model_ids[index]
            # What stands behind a text changes nothing of what was read before it.
            for costs, index in zip(self._nats(engine, self._start, padded), batch, strict=True):
                num_tokens = len(model_ids[index])
                unseen = int((model_ids[index] == self._vocab.size).sum())
                losses[index] = Loss(float(costs[:num_tokens].sum()), num_tokens, unseen)
        return losses

    def _encode(self, item: str | Separator) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(item, Separator):
            return np.array([self.tokenizer.end_of_text_id]), np.zeros(1, np.int64)
        return self.tokenizer.encode_with_starts(item)

    def _model_ids_of(self, text: Iterable[str | Separator]) -> np.ndarray:
        """(T,)"""
        parts = [
            self.tokenizer.encode(item) if isinstance(item, str) else [self.tokenizer.end_of_text_id]
            for item in self.tokenizer.chunks(text)
        ]
        return self._vocab.to_model_ids(np.concatenate([np.zeros(0, np.int64), *parts]))

    def _nats(self, engine: Engine, before: int | None, model_ids: np.ndarray) -> np.ndarray:
        """The cost of the next model_ids (B, T), T >= 1, of each text that an engine reads: (B, T) float64.

        before: the row that comes before them; None where a text begins that nothing stands before.
        """
        nats = np.empty(model_ids.shape)
        if before is None:
            nats[:, 0] = [self._costs.first_nats(row) for row in model_ids[:, 0].tolist()]
            inputs, targets, costs = model_ids[:, :-1], model_ids[:, 1:], nats[:, 1:]
        else:
            inputs = np.concatenate([np.full((len(model_ids), 1), before), model_ids[:, :-1]], axis=1)
            targets, costs = model_ids, nats
        window = max(1, LOGITS // (len(model_ids) * self._vocab.size))
        with np.errstate(invalid="ignore", over="ignore"):  # what comes of damaged weights is refused below
            for start in range(0, targets.shape[1], window):
                those = slice(start, start + window)
                costs[:, those] = token_nats(engine.read(inputs[:, those]), targets[:, those], self._costs)
        if not np.isfinite(nats).all():
            raise damaged_weights()
        return nats


def token_nats(logits: np.ndarray, targets: np.ndarray, costs: TokenCosts) -> np.ndarray:
    """The nats of each target row (B, T), float64, from logits (B, T, V), which are not kept."""
    logits -= logits.max(axis=2, keepdims=True)
    unseen = targets == logits.shape[2]
    chosen = np.take_along_axis(logits, np.where(unseen, 0, targets)[:, :, None], axis=2)[:, :, 0]
    sums = np.exp(logits, out=logits).sum(axis=2)  # (B, T)
    nats: np.ndarray = np.log(sums.astype(np.float64)) - chosen + costs.seen_nats
    nats[unseen] = costs.unseen_nats
    return nats


def _batches_of_like_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Which texts to read side by side, by their places; none is twice as long as another; empty ones not.

    >>> list(_batches_of_like_length([9, 1, 0, 8]))
    [[1], [3, 0]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == LANES or lengths[index] >= 2 * lengths[batch[0]]):
            yield batch
            batch = []
        if lengths[index]:
            batch.append(index)
    if batch:
        yield batch
