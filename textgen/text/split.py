"""How a corpus is divided into training and validation text.

    end     a.txt    ██████████████████████████████████░▒▒░▒▒░▒▒    █ training   ░ validation
    hash    a.csv    █ █ ░ █ █ █ █ ▒ █ █ █ █ █ ░ █ █ █ █ █ █ █ █    ▒ held out, but not read

`end` holds out the last part of each source: for a text that has an order, so that no window of training
reads what comes later. `hash` holds out whole documents, chosen by a hash of their content alone: documents
that are added move no other one across, equal documents stay on one side, and every run that holds out the
same fraction holds out the same documents. Of a large text, validation reads only part of what is held out,
spread over it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textgen.text.documents import Separator, document_lengths
from textgen.text.portions import RANKS, Chosen, HashRule, Interleaved, Portion, Ranges
from textgen.text.records import RecordCount
from textgen.text.sources import Source

# A source with at least this many documents is cut between two of them, one with fewer at any character.
_MIN_DOCUMENTS_TO_CUT_BETWEEN = 20
# Validation reads long slices: the first tokens of each have no context.
_SLICE_CHARACTERS, _MAX_SLICES = 20_000, 64
_HASHES = 2**64
_DOCUMENTS_PER_BLOCK = 2**16


@dataclass(frozen=True)
class Division:
    """A corpus in two: the portions for training and validation, and the characters of each side.

    held_out_characters: of those, validation may read only part. Separators are not counted.
    interleaved: both sides in one; None where they are not made of whole documents.
    """

    train: Sequence[Portion]
    val: Sequence[Portion]
    train_characters: int
    val_characters: int
    held_out_characters: int
    interleaved: Interleaved | None = None


@dataclass(frozen=True)
class Extent:
    """The size of a source: characters, separators not counted, and documents."""

    characters: int
    documents: int


def measure_extent(source: Source, count: RecordCount) -> Extent:
    """Read a source to its end; its records are added to the count."""
    characters = documents = 0
    for length in document_lengths(source.stream(count)):
        characters += length
        documents += 1
    return Extent(characters, documents)


def spread(start: int, stop: int, characters: int) -> tuple[tuple[int, int], ...]:
    """Slices of the range start..stop that hold about so many characters, spread evenly over it.

    >>> spread(100, 130, 60)
    ((100, 130),)
    """
    if stop - start <= characters:
        return ((start, stop),)
    count = max(1, min(characters // _SLICE_CHARACTERS, _MAX_SLICES))
    length = characters // count
    starts = np.linspace(start, stop - length, count).astype(np.int64).tolist()
    return tuple((at, at + length) for at in starts)


def divide_by_end(
    sources: Iterable[Source], fraction: float, max_val: int | None, count: RecordCount
) -> Division:
    """Hold out the last fraction of each source, from character int(characters * (1 - fraction)) on.

    A source of many documents is cut at the nearest document boundary. max_val: the most characters that
    validation reads, shared among the sources by their size; None: all that are held out. Records are added
    to the count. Raises CorpusError.
    """
    cuts = list[tuple[Source, int, int]]()
    for source in sources:
        extent = measure_extent(source, count)
        cut = int(extent.characters * (1 - fraction))
        if extent.documents >= _MIN_DOCUMENTS_TO_CUT_BETWEEN:
            cut = source.boundary_near(cut)
        cuts.append((source, cut, extent.characters))
    held_out = sum(total - cut for _, cut, total in cuts)
    share = 1.0 if max_val is None or held_out <= max_val else max_val / held_out
    val = [
        Ranges(source, ((cut, None),) if share == 1 else spread(cut, total, int((total - cut) * share)))
        for source, cut, total in cuts
    ]
    train = [Ranges(source, ((0, cut),)) for source, cut, _ in cuts]
    return Division(train, val, sum(cut for _, cut, _ in cuts), int(held_out * share), held_out)


def divide_by_hash(
    sources: Sequence[Source], fraction: float, max_val: int | None, count: RecordCount
) -> Division | None:
    """Hold out the documents with the smallest hashes: about this fraction, and at least one a side.

    max_val: validation reads the documents with the smallest hashes among them, about so many characters;
    None: all that are held out. Records are added to the count. None when all documents are equal, or there
    is only one. Memory: three bits a document. Raises CorpusError.
    """
    limit = int(fraction * _HASHES)
    survey = _Survey(sources, limit, count)
    if survey.smallest >= survey.largest:
        return None
    if survey.smallest >= limit or survey.largest < limit:
        # A few documents: the one with the smallest hash is held out, or all but the one with the largest.
        limit = survey.smallest + 1 if survey.smallest >= limit else survey.largest
        survey = _Survey(sources, limit, RecordCount())
    train = survey.others()
    val, val_characters = survey.kept(max_val)
    train_characters = survey.characters - survey.held_out
    return Division(train, val, train_characters, val_characters, survey.held_out, Interleaved(train, val))


def choose_by_hash(sources: Sequence[Source], characters: int) -> list[Chosen]:
    """The documents with the smallest hashes, about so many characters. Raises CorpusError."""
    return _Survey(sources, _HASHES, RecordCount()).kept(characters)[0]


class _Survey:
    """One reading of all sources: which documents have a hash below a limit, and how long they are.

    smallest, largest: of all hashes. characters: of all documents. held_out: of those below the limit.
    blocks: for each source, packed bits of its documents, set for those below the limit.
    """

    def __init__(self, sources: Iterable[Source], limit: int, count: RecordCount) -> None:
        self._limit = limit
        self.smallest, self.largest = _HASHES, -1
        self.characters = 0
        self.blocks = list[tuple[Source, list[np.ndarray]]]()
        self._documents = list[int]()  # of each source
        self._ranks = list[list[np.ndarray]]()
        self._characters_by_rank = np.zeros(RANKS, np.int64)
        for source in sources:
            self._read(source, limit, count)
        self.held_out = int(self._characters_by_rank.sum())

    def _read(self, source: Source, limit: int, count: RecordCount) -> None:
        flags, ranks = bytearray(), list[int]()
        blocks, block_ranks = list[np.ndarray](), list[np.ndarray]()
        self.blocks.append((source, blocks))
        self._ranks.append(block_ranks)

        def end_block() -> None:
            blocks.append(np.packbits(np.frombuffer(flags, np.uint8)))
            block_ranks.append(np.array(ranks, np.uint16))
            flags.clear()
            ranks.clear()

        for value, characters in hashed_documents(source.stream(count)):
            self.smallest, self.largest = min(self.smallest, value), max(self.largest, value)
            self.characters += characters
            flags.append(value < limit)
            if value < limit:
                ranks.append(value * RANKS // limit)
                self._characters_by_rank[ranks[-1]] += characters
            if len(flags) == _DOCUMENTS_PER_BLOCK:
                end_block()
        self._documents.append(len(blocks) * _DOCUMENTS_PER_BLOCK + len(flags))
        end_block()

    def others(self) -> list[Chosen]:
        """The documents that are not below the limit."""
        return [
            Chosen(source, [~block for block in blocks[:-1]] + [_inverted(blocks[-1], documents)])
            for (source, blocks), documents in zip(self.blocks, self._documents, strict=True)
        ]

    def kept(self, max_characters: int | None) -> tuple[list[Chosen], int]:
        """The documents below the limit that validation reads, and how many characters they have."""
        if max_characters is None or self.held_out <= max_characters:
            rule = HashRule(self._limit, RANKS)
            return [Chosen(source, blocks, rule) for source, blocks in self.blocks], self.held_out
        sums = self._characters_by_rank.cumsum()
        # At least the documents of one rank, even if these are longer.
        first = int(np.flatnonzero(self._characters_by_rank)[0])
        last = max(first, int(np.searchsorted(sums, max_characters, side="right")) - 1)
        rule = HashRule(self._limit, last)
        portions = [
            Chosen(
                source,
                [_subset(bits, ranks <= last) for bits, ranks in zip(blocks, of_source, strict=True)],
                rule,
            )
            for (source, blocks), of_source in zip(self.blocks, self._ranks, strict=True)
        ]
        return portions, int(sums[last])


def _inverted(last: np.ndarray, documents: int) -> np.ndarray:
    """The last block of packed bits of a source with so many documents, inverted; no other bit is set."""
    return np.packbits(1 - np.unpackbits(last)[: documents % _DOCUMENTS_PER_BLOCK])


def _subset(bits: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Packed bits with only those set bits that are kept, in their order."""
    flags = np.unpackbits(bits)
    flags[np.flatnonzero(flags)[~kept]] = 0
    return np.packbits(flags)


def hashed_documents(stream: Iterable[str | Separator]) -> Iterator[tuple[int, int]]:
    """The 64-bit hash of the content of each document of a text stream, and its number of characters."""
    digest, characters = hashlib.blake2b(digest_size=8), 0
    started = False
    for item in stream:
        started = True
        if isinstance(item, Separator):
            yield int.from_bytes(digest.digest(), "little"), characters
            digest, characters = hashlib.blake2b(digest_size=8), 0
        else:
            digest.update(item.encode())
            characters += len(item)
    if started:
        yield int.from_bytes(digest.digest(), "little"), characters
