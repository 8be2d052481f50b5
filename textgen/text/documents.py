"""Splitting the text of a file into documents.

A text stream is a sequence of strings, each at most PIECE_CHARACTERS long, with one Separator between two
documents:

    "Q: What is a gate?\\n"  "A: A number from 0 to 1."  Separator(2, 2)  "Q: What does it do?\\n"  ...
    └────────────── one document ──────────────────────┘  └ end-of-text ┘  └ the next one
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import cast

PIECE_CHARACTERS = 2**16


@dataclass(frozen=True, slots=True)
class Separator:
    """The boundary between two documents, encoded as one end-of-text token.

    characters, bytes: the size of the original text that it replaces. line_ends: how many lines end there,
    the last line of the document and the empty lines after it.
    """

    characters: int
    bytes: int
    line_ends: int = 1


@dataclass(frozen=True)
class TextSize:
    """The size of a text: bytes in UTF-8, words as runs of characters other than white space.

    Characters and bytes include the separators between documents.
    """

    characters: int
    bytes: int
    words: int
    documents: int

    def scaled(self, share: float) -> TextSize:
        """About the size of this share of the text, rounded."""
        return TextSize(*(round(amount * share) for amount in astuple(self)))


@dataclass(frozen=True)
class _Rule:
    """How documents of one kind are separated, in a file that is read block by block."""

    separator: re.Pattern[str]
    more: re.Pattern[str]  # extends a separator, or precedes the first document; may match nothing
    undecided: re.Pattern[str]  # the end of a block that may turn out to extend a separator
    unfinished: re.Pattern[str]  # the end of a block that may turn out to begin one; may match nothing


# The blanks of a blank line are bounded, so that what is held back for the next block is bounded too.
_BLANKS = r"[ \t]{0,4096}"
_RULES = {
    "line": _Rule(
        separator=re.compile(r"(?:\r?\n)+"),
        more=re.compile(r"(?:\r?\n)*"),
        undecided=re.compile(r"\r?\Z"),
        unfinished=re.compile(r"\r?\Z"),
    ),
    "block": _Rule(
        separator=re.compile(rf"\r?\n(?:{_BLANKS}\r?\n)+"),
        more=re.compile(rf"(?:{_BLANKS}\r?\n)*"),
        undecided=re.compile(rf"{_BLANKS}\r?\Z"),
        unfinished=re.compile(rf"(?:\r?\n{_BLANKS})?\r?\Z"),
    ),
}


@lru_cache(maxsize=64)
def _separator(width: int, line_ends: int) -> Separator:
    """A separator of one-byte characters, cached because most separators of a text are equal."""
    return Separator(width, width, line_ends)


def split_documents(blocks: Iterable[str], kind: str) -> Iterator[str | Separator]:
    """Split the text of one file, given in blocks of any size, into a text stream.

    kind: `file`, the whole file is one document; `line`, runs of line ends separate documents; `block`, blank
    lines do, where the end of the file also ends a line. Separators before the first and after the last
    document are dropped.
    """
    if kind == "file":
        yield from (block for block in blocks if block)
        return
    rule = _RULES[kind]
    started = False  # whether a document has begun
    between = True  # whether we are in a separator, or before the first document
    width = line_ends = 0  # characters of that separator so far, and line ends among them
    kept = ""  # the end of the last block, which cannot be classified without the next one
    for block in blocks:
        text, kept, position = kept + block, "", 0
        # A separator that ends before this place is complete, because something else follows it.
        solid = len(text.rstrip(" \t\r\n"))
        while position < len(text):
            if between:
                more = cast(re.Match[str], rule.more.match(text, position))
                width += more.end() - position
                line_ends += text.count("\n", position, more.end())
                position = more.end()
                if rule.undecided.match(text, position):
                    break
                if started:
                    yield _separator(width, line_ends)
                started, between = True, False
            for match in rule.separator.finditer(text, position):
                start, end = match.span()
                if start > position:
                    yield text[position:start]
                position, width, line_ends = end, end - start, text.count("\n", start, end)
                if position >= solid:
                    between = True
                    break
                yield _separator(width, line_ends)
            else:
                unfinished = cast(re.Match[str], rule.unfinished.search(text, max(position, solid)))
                if unfinished.start() > position:
                    yield text[position : unfinished.start()]
                position = unfinished.start()
                break
        kept = text[position:]
    if kept.endswith("\r"):  # a carriage return without a line feed is text, and so is what precedes it here
        if between and started:
            yield _separator(width, line_ends)
        yield kept


def split_at_carriage_returns(blocks: Iterable[str], kind: str) -> Iterator[str | Separator]:
    """As split_documents, for a file whose only line ends are carriage returns: it has no line feed."""
    swapped = (block.replace("\r", "\n") for block in blocks)
    for item in split_documents(swapped, kind):
        yield item if isinstance(item, Separator) else item.replace("\n", "\r")


def document_lengths(stream: Iterable[str | Separator]) -> Iterator[int]:
    """The number of characters of each document of a text stream."""
    characters, started = 0, False
    for item in stream:
        started = True
        if isinstance(item, Separator):
            yield characters
            characters = 0
        else:
            characters += len(item)
    if started:
        yield characters


def between_documents(streams: Iterable[Iterable[str | Separator]]) -> Iterator[str | Separator]:
    """Concatenate text streams with a Separator of no characters between them; empty streams are skipped."""
    boundary = Separator(0, 0, line_ends=0)
    started = False
    for stream in streams:
        begun = False
        for item in stream:
            if started and not begun:
                yield boundary
            started = begun = True
            yield item


def stream_slice(
    stream: Iterable[str | Separator], start: int, stop: int | None
) -> Iterator[str | Separator]:
    """Characters start..stop (None: to the end) of a text stream, without a separator at either end.

    Separators are not counted in start and stop.
    """
    return stream_ranges(stream, ((start, stop),))


def stream_ranges(
    stream: Iterable[str | Separator], ranges: Iterable[tuple[int, int | None]]
) -> Iterator[str | Separator]:
    """Several ranges of characters of a text stream, in ascending order, as stream_slice gives one."""
    waiting = iter(ranges)
    current = next(waiting, None)
    position = 0
    pending: Separator | None = None
    started = False
    for item in stream:
        if current is None:
            return
        if isinstance(item, Separator):
            pending = item if started else None
            continue
        end = position + len(item)
        while current is not None and current[0] < end:
            start, stop = current
            text = item[max(0, start - position) : None if stop is None else max(0, stop - position)]
            if text:
                if pending is not None:
                    yield pending
                pending, started = None, True
                yield text
            if stop is None or stop > end:
                break
            current = next(waiting, None)
        position = end


class Meter:
    """Measures the size of a text stream item by item."""

    def __init__(self) -> None:
        self._characters = self._bytes = self._words = self._separators = 0
        # Whether a word may continue in the next item; whether there was any text.
        self._in_word = self._started = False

    def add(self, item: str | Separator) -> None:
        """Count the next item of the stream; an empty string counts for nothing."""
        if isinstance(item, Separator):
            self._characters += item.characters
            self._bytes += item.bytes
            self._separators += 1
            self._in_word = False
        elif item:
            self._characters += len(item)
            self._bytes += len(item) if item.isascii() else len(item.encode())
            self._words += len(item.split()) - (self._in_word and not item[0].isspace())
            self._in_word = not item[-1].isspace()
            self._started = True

    @property
    def size(self) -> TextSize:
        """The size of everything added so far."""
        return TextSize(self._characters, self._bytes, self._words, self._separators + self._started)


def metered(stream: Iterable[str | Separator], meter: Meter) -> Iterator[str | Separator]:
    """Pass on a text stream and measure it."""
    for item in stream:
        meter.add(item)
        yield item


def measure(stream: Iterable[str | Separator]) -> TextSize:
    """The size of a text stream."""
    meter = Meter()
    for item in stream:
        meter.add(item)
    return meter.size
