"""Where segments of any text stand word for word in a training text: a suffix array over its UTF-8.

    <cache folder>/<key>/
        text.bin        the training text, or blocks of it where it is large; marks stand between documents
        suffixes.bin    where the suffixes of text.bin begin, in the order of their bytes, int32
        meta.json       how much text that is, and where its blocks begin

All suffixes that begin with a segment stand side by side in that order, so bisection finds them.

Manber and Myers, "Suffix arrays: a new method for on-line string searches", 1993.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from textgen.errors import TextgenError
from textgen.text.blocks import DOCUMENT, Block, copy_blocks, spread_blocks
from textgen.text.cache import read_or_build
from textgen.text.corpus import Corpus
from textgen.text.store import Progress, reporting

_FORMAT = 2
LARGEST_TEXT = 50_000_000  # bytes; of a larger text so much is indexed, and its suffix array takes 200 MB
BLOCKS = 50  # how many pieces that is in


@dataclass(frozen=True)
class Place:
    """Where a segment stands: characters of the training text before it; its document and line, from 1.

    A line is counted within its document. Separators between documents count as the characters they were.
    """

    offset: int
    document: int
    line: int


@dataclass(frozen=True)
class Found:
    """A segment of text that stands in the training text: how often, and where first."""

    text: str
    occurrences: int
    first: Place


class _Suffixes(NamedTuple):
    """Neighbours in the suffix array, from `low` to before `high`, that share their first `depth` bytes."""

    low: int
    high: int
    depth: int


class Copies:
    """A training text, to ask what of another text stands in it. Segments are of whole characters.

    `documents` are those of all the training text, `indexed_share` is how much of it is looked at.
    """

    def __init__(self, path: Path) -> None:
        """Open an index. Raises some error, as read_or_build wants it, when it is absent or not whole."""
        meta = json.loads((path / "meta.json").read_text())
        self.documents: int = meta["documents"]
        self.indexed_share: float = meta["indexed_share"]
        self._blocks = [Block(**block) for block in meta["blocks"]]
        self._text = _map(path / "text.bin", meta["bytes"])
        self._suffixes = memoryview(_map(path / "suffixes.bin", 4 * meta["bytes"])).cast("i")

    @classmethod
    def open_or_build(cls, corpus: Corpus, cache_dir: Path, progress: Progress | None = None) -> Copies:
        """The index of a corpus's first part: the one that is there, or a new one.

        Raises CorpusError for text that cannot be read or changes meanwhile and a cache folder that cannot be
        written, and TextgenError where a new one needs a package that is not installed.
        """
        identity = f"copies {_FORMAT} {corpus.fingerprint}"
        path = cache_dir / hashlib.sha256(identity.encode()).hexdigest()

        def build(folder: Path) -> None:
            _build(folder, corpus, progress)
            corpus.require_unchanged()  # or another text would be looked at under this one's name

        return read_or_build(path, cls, build)

    def remarks(self) -> list[str]:
        """What limits the answers, in whole sentences; nothing where all of the text is looked at."""
        if self.indexed_share == 1:
            return []
        return [
            f"Only {self.indexed_share:.1%} of the training text, spread over it, was looked at: "
            "there may be more and longer copies."
        ]

    def contains(self, segment: str) -> bool:
        """Whether a segment of at least one character stands in the training text."""
        pattern = segment.encode()
        place = self._before(pattern)
        if place == len(self._suffixes):
            return False
        start = self._suffixes[place]
        return self._text[start : start + len(pattern)] == pattern

    def find(self, segment: str) -> Found | None:
        """Where a segment of at least one character stands; None when it does not."""
        low, high, _ = self._beginning_with(segment.encode())
        if low == high:
            return None
        return Found(segment, high - low, self._place(min(self._suffixes[low:high])))

    def lengths(self, text: str) -> np.ndarray:
        """How long the longest segment is that ends at each character and stands in the training text.

        In characters, (len(text),) int64; 0 at a character that the training text lacks.
        """
        lengths = np.zeros(len(text), np.int64)
        begin, found = 0, _Suffixes(0, len(self._suffixes), 0)
        for end, character in enumerate(text):
            added = character.encode()
            # What ends here and stands there begins no earlier than what ended one character before.
            while (longer := self._extended(found, added)).low == longer.high and begin < end:
                begin += 1
                found = self._beginning_with(text[begin:end].encode())
            if longer.low < longer.high:
                found = longer
            else:
                begin = end + 1
            lengths[end] = end + 1 - begin
        return lengths

    def _extended(self, found: _Suffixes, added: bytes) -> _Suffixes:
        """Those of some suffixes that go on with the bytes added; the same work however long they are."""
        low, high, depth = found
        text = self._text
        for byte in added:

            def at_depth(start: int, depth: int = depth) -> int:
                return text[start + depth]

            low = bisect_left(self._suffixes, byte, low, high, key=at_depth)
            high = bisect_right(self._suffixes, byte, low, high, key=at_depth)
            depth += 1
        return _Suffixes(low, high, depth)

    def _beginning_with(self, pattern: bytes) -> _Suffixes:
        text, length = self._text, len(pattern)
        low = self._before(pattern)
        high = bisect_right(self._suffixes, pattern, low, key=lambda start: text[start : start + length])
        return _Suffixes(low, high, length)

    def _before(self, pattern: bytes) -> int:
        """How many suffixes come before those that begin with a pattern."""
        text, length = self._text, len(pattern)
        return bisect_left(self._suffixes, pattern, key=lambda start: text[start : start + length])

    def _place(self, position: int) -> Place:
        """Where a byte of the index stands in the training text."""
        block = self._blocks[bisect_right(self._blocks, position, key=lambda block: block.start) - 1]
        before = self._text[block.start : position]
        documents = before.count(DOCUMENT)
        # A byte that goes on with a character is one from -128 to -65.
        characters = np.count_nonzero(np.frombuffer(before, np.int8) >= -64) - documents
        lines = before.count(b"\n", before.rfind(DOCUMENT) + 1)
        return Place(
            offset=block.offset + int(characters),
            document=block.document + documents,
            line=lines + (1 if documents else block.line),
        )


def _map(path: Path, num_bytes: int) -> mmap.mmap:
    """A file of that size, read-only, in memory that it does not take up."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != num_bytes:
        raise ValueError(f"{path} does not hold {num_bytes} bytes")
    return mapped


def _build(folder: Path, corpus: Corpus, progress: Progress | None) -> None:
    divsufsort = _suffix_sorter()
    part = corpus.parts[0]
    size = corpus.size(part)
    stream = corpus.stream(part)
    if progress is not None:
        stream = reporting(stream, f"indexing {part}", size.characters, progress)
    spans = spread_blocks(size, LARGEST_TEXT, BLOCKS)
    with (folder / "text.bin").open("wb") as file:
        blocks = copy_blocks(stream, spans, file)
    text = (folder / "text.bin").read_bytes()
    (folder / "suffixes.bin").write_bytes(divsufsort(text).data)
    meta = {
        "bytes": len(text),
        "documents": size.documents,
        "indexed_share": sum(stop - start for start, stop in spans) / size.characters,
        "blocks": [asdict(block) for block in blocks],
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2))


def _suffix_sorter() -> Callable[[bytes], np.ndarray]:
    """What sorts the suffixes of a text of less than 2**31 bytes: where each begins, int32."""
    try:
        from pydivsufsort import divsufsort  # type: ignore[import-untyped]
    except ImportError:
        raise TextgenError(
            "finding copies of the training text needs pydivsufsort; pip install 'textgen[novelty]'"
        ) from None
    return cast(Callable[[bytes], np.ndarray], divsufsort)
