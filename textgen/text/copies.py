"""Finding verbatim copies of a training text: a suffix array over its UTF-8 bytes.

    <cache folder>/<key>/
        text.bin        the training text, or blocks of a large one, with marker bytes between documents
        suffixes.bin    offsets of the suffixes of text.bin in lexicographic order, int32
        meta.json       how much text is indexed, where its blocks begin, digests of the other files

All suffixes that begin with a given string are adjacent in this order, so bisection finds them.

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
from textgen.system.digests import file_digest, require_files, sealed, unsealed
from textgen.text.blocks import DOCUMENT, Block, copy_blocks, spread_blocks
from textgen.text.cache import read_or_build
from textgen.text.encoded import AnyCorpus
from textgen.text.encoding import Progress, reporting

_FORMAT = 3
LARGEST_TEXT = 50_000_000  # bytes that are indexed of a larger text; the suffix array takes 4 times as much
BLOCKS = 50  # how many blocks of a larger text are indexed


@dataclass(frozen=True)
class Place:
    """A position in the training text.

    offset: characters before it, including the separators between documents. document: counted from 1. line:
    counted from 1 within its document.
    """

    offset: int
    document: int
    line: int


@dataclass(frozen=True)
class Match:
    """A string that occurs in the training text, how often, and where it occurs first."""

    text: str
    occurrences: int
    first: Place


class _Suffixes(NamedTuple):
    """The range low..high (exclusive) of the suffix array whose suffixes share their first `depth` bytes."""

    low: int
    high: int
    depth: int


class Copies:
    """An index of a training text that finds what another text has in common with it, in whole characters.

    documents: how many documents the whole training text has. indexed_share: the share of the text that is
    indexed, 1 unless it is large.
    """

    def __init__(self, path: Path) -> None:
        """Open an index. Raises an error that read_or_build understands when it is missing or damaged."""
        self.path = path
        meta = unsealed(json.loads((path / "meta.json").read_text()))
        require_files(path, meta["files"])
        self.documents: int = meta["documents"]
        self.indexed_share: float = meta["indexed_share"]
        self._blocks = [Block(**block) for block in meta["blocks"]]
        self._text = _map(path / "text.bin", meta["bytes"])
        self._suffixes = memoryview(_map(path / "suffixes.bin", 4 * meta["bytes"])).cast("i")

    @classmethod
    def open_or_build(cls, corpus: AnyCorpus, cache_dir: Path, progress: Progress | None = None) -> Copies:
        """The index of the first part of a corpus, from the cache or built now.

        Raises CorpusError for text that cannot be read or changes while it is read, and for a cache folder
        that cannot be written; TextgenError when building needs a package that is not installed.
        """
        identity = f"copies {_FORMAT} {corpus.fingerprint}"
        path = cache_dir / hashlib.sha256(identity.encode()).hexdigest()

        def build(folder: Path) -> None:
            _build(folder, corpus, progress)
            corpus.require_unchanged()  # else the index of another text would be cached under this key

        return read_or_build(path, cls, build)

    def remarks(self) -> list[str]:
        """Sentences about what limits the results; none when the whole text is indexed."""
        if self.indexed_share == 1:
            return []
        return [
            f"Only {self.indexed_share:.1%} of the training text, spread evenly over it, was searched: "
            "there may be more and longer copies."
        ]

    def contains(self, string: str) -> bool:
        """Whether a string of at least one character occurs in the training text."""
        pattern = string.encode()
        place = self._before(pattern)
        if place == len(self._suffixes):
            return False
        start = self._suffixes[place]
        return self._text[start : start + len(pattern)] == pattern

    def find(self, string: str) -> Match | None:
        """The occurrences of a string of at least one character; None when there is none."""
        low, high, _ = self._beginning_with(string.encode())
        if low == high:
            return None
        return Match(string, high - low, self._place(min(self._suffixes[low:high])))

    def lengths(self, text: str) -> np.ndarray:
        """For each character, the length of the longest string ending there that the training text contains.

        In characters, (len(text),) int64; 0 for a character that the training text does not contain.
        """
        lengths = np.zeros(len(text), np.int64)
        begin, found = 0, _Suffixes(0, len(self._suffixes), 0)
        for end, character in enumerate(text):
            added = character.encode()
            # The longest match that ends here begins no earlier than the one that ended a character before.
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
        """Those suffixes that continue with the added bytes; the cost does not depend on `depth`."""
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
        """How many suffixes sort before those that begin with a pattern."""
        text, length = self._text, len(pattern)
        return bisect_left(self._suffixes, pattern, key=lambda start: text[start : start + length])

    def _place(self, position: int) -> Place:
        """The place in the training text of a byte of text.bin."""
        block = self._blocks[bisect_right(self._blocks, position, key=lambda block: block.start) - 1]
        before = self._text[block.start : position]
        documents = before.count(DOCUMENT)
        # As int8, the continuation bytes of UTF-8 are -128 to -65.
        characters = np.count_nonzero(np.frombuffer(before, np.int8) >= -64) - documents
        lines = before.count(b"\n", before.rfind(DOCUMENT) + 1)
        return Place(
            offset=block.offset + int(characters),
            document=block.document + documents,
            line=lines + (1 if documents else block.line),
        )


def _map(path: Path, num_bytes: int) -> mmap.mmap:
    """Map a file read-only. Raises ValueError when it does not have this size."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != num_bytes:
        raise ValueError(f"{path} does not hold {num_bytes} bytes")
    return mapped


def _build(folder: Path, corpus: AnyCorpus, progress: Progress | None) -> None:
    divsufsort = _suffix_sorter()
    part = corpus.parts[0]
    size = corpus.size(part)
    stream = corpus.stream(part)
    stream = reporting(stream, f"indexing {part}", corpus.characters(part), progress)
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
    meta["files"] = {path.name: file_digest(path) for path in folder.glob("*.bin")}
    (folder / "meta.json").write_text(json.dumps(sealed(meta), indent=2))


def _suffix_sorter() -> Callable[[bytes], np.ndarray]:
    """The function that returns the suffix array, int32, of a text of less than 2**31 bytes."""
    try:
        from pydivsufsort import divsufsort  # type: ignore[import-untyped]
    except ImportError:
        raise TextgenError(
            "finding copies of the training text needs pydivsufsort: pip install 'textgen[novelty]'"
        ) from None
    return cast(Callable[[bytes], np.ndarray], divsufsort)
