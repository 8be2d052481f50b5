"""Portions of the text of a source, as they make up the parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from textgen.text.documents import Meter, Separator, between_documents, stream_ranges
from textgen.text.sources import Source


class Portion(Protocol):
    """Part of the text of a source."""

    def stream(self) -> Iterator[str | Separator]:
        """The text as a stream, without a separator at either end."""
        ...

    def labels(self) -> Iterator[str | None]:
        """The label of each document of the stream; None: it has none."""
        ...


@dataclass(frozen=True)
class Ranges:
    """Ranges of characters of a source, ascending, separators not counted; a stop of None is the end."""

    source: Source
    ranges: tuple[tuple[int, int | None], ...]

    def stream(self) -> Iterator[str | Separator]:
        """The text of all ranges."""
        if len(self.ranges) == 1:
            return self.source.slice(*self.ranges[0])  # which skips files before it
        return stream_ranges(self.source.stream(), self.ranges)

    def labels(self) -> Iterator[str | None]:
        """The labels of the documents that have text in a range."""
        position = 0
        for characters, label in self.source.labels():
            end = position + characters
            if any(
                start < end and (stop is None or stop > max(position, start)) for start, stop in self.ranges
            ):
                yield label
            position = end


@dataclass(frozen=True)
class HashRule:
    """Which side a document is on, by the hash of its content.

    limit: the first hash that is not held out. last: of those held out, the highest rank that is read, where
    a hash h has the rank h * RANKS // limit.
    """

    limit: int
    last: int

    def is_held_out(self, value: int) -> bool:
        """Whether a document with this hash is held out."""
        return value < self.limit

    def is_read(self, value: int) -> bool:
        """Whether it is held out, and among those that are read."""
        return value < self.limit and value * RANKS // self.limit <= self.last


RANKS = 2**16  # hashes of held-out documents are told apart to this precision


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some whole documents of a source, in order: those whose bit is set in `blocks` of packed bits.

    rule: that chose them; None: something else did.
    """

    source: Source
    blocks: Sequence[np.ndarray]
    rule: HashRule | None = None

    def stream(self) -> Iterator[str | Separator]:
        """The text of the chosen documents, with the separator that precedes each in the source."""
        chosen = self._flags()
        is_chosen = next(chosen, 0)
        started = False
        pending: Separator | None = None
        for item in self.source.stream():
            if isinstance(item, Separator):
                is_chosen, pending = next(chosen, 0), item
            elif is_chosen:
                if pending is not None and started:
                    yield pending
                started, pending = True, None
                yield item

    def labels(self) -> Iterator[str | None]:
        """The labels of the chosen documents."""
        for flag, (_, label) in zip(self._flags(), self.source.labels(), strict=False):
            if flag:
                yield label

    def _flags(self) -> Iterator[int]:
        return (flag for block in self.blocks for flag in np.unpackbits(block).tolist())


@dataclass(frozen=True, eq=False)
class Interleaved:
    """The documents that `train` and `val` choose from the same sources, for reading them only once."""

    train: Sequence[Chosen]
    val: Sequence[Chosen]

    def stream(self, meters: Sequence[Meter]) -> Iterator[str | Separator]:
        """The text of both, in the order of the sources, measured by a meter for each."""
        return between_documents(
            self._measured(*pair, meters) for pair in zip(self.train, self.val, strict=True)
        )

    def _measured(self, train: Chosen, val: Chosen, meters: Sequence[Meter]) -> Iterator[str | Separator]:
        """The documents of one source. Each part counts its separators as though it were read alone."""
        numbers = (number for block in _part_numbers(train, val) for number in block.tolist())
        blocks = [one | other for one, other in zip(train.blocks, val.blocks, strict=True)]
        begun = [False, False]
        pending: Separator | None = None
        number = -1
        for item in Chosen(train.source, blocks).stream():
            yield item
            if isinstance(item, Separator):
                pending = item
                continue
            if pending is not None or number < 0:
                number = next(numbers)
                separator = pending if begun[number] else Separator(0, 0, line_ends=0)
                if separator is not None and meters[number].size.documents:
                    meters[number].add(separator)
                begun[number], pending = True, None
            meters[number].add(item)

    def part_numbers(self) -> Iterator[np.ndarray]:
        """0 for each document of the stream that is in `train`, 1 in `val`; in blocks of uint8."""
        for pair in zip(self.train, self.val, strict=True):
            yield from _part_numbers(*pair)


def _part_numbers(train: Chosen, val: Chosen) -> Iterator[np.ndarray]:
    for in_train, in_val in zip(train.blocks, val.blocks, strict=True):
        yield np.unpackbits(in_val)[np.unpackbits(in_train | in_val).astype(bool)]
