"""Scoring a text under a run: the cross-entropy of each token, computed in NumPy while the text is read.

    one text, the state carried  ── Scorer.read ────────→ ScoredPiece by ScoredPiece
    a batch of short texts       ── Scorer.score_texts ─→ a Loss for each

The figures equal those of `evaluate`: the same start token, the same cost of tokens that training never saw.
Memory does not grow with the text, nor with the length of a line.

Shapes: B texts in a batch, T time, V model vocabulary.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textgen.errors import damaged_weights
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import BITS, Report
from textgen.generation.engine import Engine, label_id
from textgen.generation.generator import Generator
from textgen.generation.mixed_engine import MixedEngine
from textgen.run import Run
from textgen.text.documents import Meter, Separator
from textgen.text.model_vocab import start_id
from textgen.text.token_costs import TokenCosts
from textgen.text.tokenizer import Tokenizer

# How many logits (B, T, V) are computed per call: few enough to stay in the processor's cache.
LOGITS = 2**18
MAX_BATCH_SIZE = 32  # texts; larger batches are no faster


@dataclass(frozen=True, eq=False)
class ScoredPiece:
    """A piece of a text, or a separator between two documents, with its tokens and their cost.

    token_ids (N,) int64. starts (N,) int64: the character of the piece at which each token begins; tokens
    that together form one character all begin there. nats (N,) float64: the cross-entropy of each token.
    seen (N,) bool: whether training saw the token.
    """

    item: str | Separator
    token_ids: np.ndarray
    starts: np.ndarray
    nats: np.ndarray
    seen: np.ndarray

    def part(self, start: int, stop: int) -> ScoredPiece:
        """The characters start..stop, with the tokens that begin in them."""
        assert isinstance(self.item, str)  # a separator has no parts
        first, last = np.searchsorted(self.starts, (start, stop)).tolist()
        arrays = (self.token_ids, self.starts, self.nats, self.seen)
        # Slice before subtracting: else each line of a piece would process the whole piece.
        ids, starts, nats, seen = (array[first:last] for array in arrays)
        return ScoredPiece(self.item[start:stop], ids, starts - start, nats, seen)

    def by_line(self) -> Iterator[tuple[ScoredPiece, bool]]:
        """The piece divided into lines, each with whether it ends its line.

        Of a separator, the first line end has the tokens; the others are empty lines.
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
        """The text in the shortest pieces that consist of whole tokens, and the bits of each."""
        if isinstance(self.item, Separator):
            yield "\n", float(self.nats.sum()) * BITS
            return
        if not len(self.starts):
            yield self.item, 0.0
            return
        starts, firsts = np.unique(self.starts, return_index=True)
        starts[0] = 0  # characters that the tokenizer skipped at the start belong to the first token
        bits = np.add.reduceat(self.nats, firsts) * BITS
        for start, stop, cost in zip(starts, [*starts[1:], None], bits.tolist(), strict=True):
            yield self.item[start:stop], cost


EMPTY_LINE = ScoredPiece(
    Separator(1, 1), *(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, bool))
)
"""An empty line between two documents."""


@dataclass(frozen=True)
class ScoredToken:
    """One token to print: its text or name, its id, its bits, and whether training saw it."""

    token: str
    id: int
    bits: float
    seen: bool


class Tally:
    """Running totals of the pieces scored so far."""

    def __init__(self) -> None:
        self._nats, self._tokens, self._unseen = 0.0, 0, 0
        self._meter = Meter()

    def add(self, piece: ScoredPiece) -> None:
        """Add a piece to the totals."""
        self._nats += float(piece.nats.sum())
        self._tokens += len(piece.nats)
        self._unseen += len(piece.seen) - int(np.count_nonzero(piece.seen))
        self._meter.add(piece.item)

    @property
    def report(self) -> Report:
        """The report of the pieces so far; the figures per token are NaN while there is no token."""
        return Report(Loss(self._nats, self._tokens, self._unseen), self._meter.size)


class Scorer:
    """Scores texts with an engine. Several texts may be read at the same time, each with its own state.

    label: the label that every document is read with; None: none. Raises ConfigError for an unknown label.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, label: str | None = None) -> None:
        self.tokenizer = tokenizer
        self._engine = engine
        self._vocab = engine.vocab
        self._costs = TokenCosts(engine.vocab, tokenizer.vocab_size - engine.vocab.size)
        self._start = self._unlabelled_start = start_id(engine.vocab, tokenizer)
        if label is not None:
            self._start = label_id(engine, label)
        self._token_text = functools.cache(tokenizer.token_text)

    @classmethod
    def from_run(
        cls,
        run: Run,
        device: str | None = None,
        set_threads: Callable[[int], None] | None = None,
        label: str | None = None,
        *,
        ngram: bool = True,
    ) -> Scorer:
        """A scorer for the best weights of a run; the other arguments are those of Generator.from_run.

        On the CPU, torch is not loaded. Raises RunError, ConfigError or TokenizerError.
        """
        generator = Generator.from_run(run, device, set_threads, ngram=ngram)
        return cls(generator.engine, generator.tokenizer, label)

    @property
    def network_weight(self) -> float | None:
        """The weight of the network in its mixture with n-grams; None where there are none."""
        return self._engine.weight if isinstance(self._engine, MixedEngine) else None

    def read(self, stream: Iterable[str | Separator], *, unbuffered: bool = False) -> Iterator[ScoredPiece]:
        """Score one text stream piece by piece, carrying the state over all of it.

        unbuffered: yield a piece as soon as no further text can change its tokens, instead of collecting
        longer pieces.

        Raises TokenizerError for a text that cannot be encoded, RunError when a cross-entropy is not finite.
        """
        engine = copy.copy(self._engine)
        engine.reset_state(1)
        before = self._start
        for item in self.tokenizer.chunks(stream, unbuffered=unbuffered):
            token_ids, starts = self._encode(item)
            model_ids = self._vocab.to_model_ids(token_ids)
            nats = np.zeros(0)
            if len(model_ids):
                nats = self._nats(engine, before, model_ids[None])[0]
                before = int(model_ids[-1])
            yield ScoredPiece(item, token_ids, starts, nats, model_ids < self._vocab.size)

    def tokens(self, piece: ScoredPiece) -> Iterator[ScoredToken]:
        """The tokens of a piece, to print."""
        columns = (piece.token_ids, piece.nats * BITS, piece.seen)
        for token_id, bits, seen in zip(*(column.tolist() for column in columns), strict=True):
            yield ScoredToken(self._token_text(token_id), token_id, bits, seen)

    def score_texts(self, texts: Sequence[Iterable[str | Separator]]) -> list[Loss]:
        """Score short texts in batches, each from a zero state; the loss of a text without tokens is 0.

        A text's loss does not depend on the others, except for rounding: matrix products of a different batch
        size may differ in their last bits.

        Raises what `read` raises.
        """
        model_ids = [self._model_ids_of(text) for text in texts]
        losses = [Loss(0.0, 0, 0)] * len(model_ids)
        for batch in _batches_of_similar_length([len(ids) for ids in model_ids]):
            engine = copy.copy(self._engine)
            engine.reset_state(len(batch))
            padded = np.zeros((len(batch), max(len(model_ids[index]) for index in batch)), np.int64)  # (B, T)
            for row, index in zip(padded, batch, strict=True):
                row[: len(model_ids[index])] = model_ids[index]
            # The padding after a text does not change the costs of the text.
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
        """The model ids of a text stream, (T,) int64."""
        parts = [
            self.tokenizer.encode(item) if isinstance(item, str) else [self.tokenizer.end_of_text_id]
            for item in self.tokenizer.chunks(text)
        ]
        return self._vocab.to_model_ids(np.concatenate([np.zeros(0, np.int64), *parts]))

    def _nats(self, engine: Engine, before: int | None, model_ids: np.ndarray) -> np.ndarray:
        """The nats (B, T), float64, of the next model ids (B, T), T >= 1, of the texts that an engine reads.

        before: the model id that precedes them; None at the beginning of a text without a start token.
        """
        nats = np.empty(model_ids.shape)
        if before is None:
            nats[:, 0] = [self._costs.first_nats(first) for first in model_ids[:, 0].tolist()]
            inputs, targets, costs = model_ids[:, :-1], model_ids[:, 1:], nats[:, 1:]
        else:
            inputs = np.concatenate([np.full((len(model_ids), 1), before), model_ids[:, :-1]], axis=1)
            targets, costs = model_ids, nats
        if self._start is not None and self._start != self._unlabelled_start:
            # Each document begins with the label.
            inputs = np.where(inputs == self._unlabelled_start, self._start, inputs)
        window = max(1, LOGITS // (len(model_ids) * self._vocab.size))
        with np.errstate(invalid="ignore", over="ignore"):  # damaged weights are reported below
            for start in range(0, targets.shape[1], window):
                part = slice(start, start + window)
                costs[:, part] = token_nats(engine.read(inputs[:, part]), targets[:, part], self._costs)
        if not np.isfinite(nats).all():
            raise damaged_weights()
        return nats


def token_nats(logits: np.ndarray, targets: np.ndarray, costs: TokenCosts) -> np.ndarray:
    """The nats (B, T), float64, of target model ids (B, T) under logits (B, T, V), which are overwritten."""
    logits -= logits.max(axis=2, keepdims=True)
    unseen = targets == logits.shape[2]
    chosen = np.take_along_axis(logits, np.where(unseen, 0, targets)[:, :, None], axis=2)[:, :, 0]
    sums = np.exp(logits, out=logits).sum(axis=2)  # (B, T)
    nats: np.ndarray = np.log(sums.astype(np.float64)) - chosen + costs.seen_nats
    nats[unseen] = costs.unseen_nats
    return nats


def _batches_of_similar_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group texts, given by length, into batches of indices in which none is twice as long as another.

    Empty texts are left out.

    >>> list(_batches_of_similar_length([9, 1, 0, 8]))
    [[1], [3, 0]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == MAX_BATCH_SIZE or lengths[index] >= 2 * lengths[batch[0]]):
            yield batch
            batch = []
        if lengths[index]:
            batch.append(index)
    if batch:
        yield batch
