"""What a document is, and how the text of a file falls into documents.

A stream is pieces of text, at most PIECE_CHARACTERS long, with one Separator between two documents:

    "Q: What is a gate?\\n"  "A: A number from 0 to 1."  Separator(2, 2)  "Q: What does it do?\\n"  ...
    └────────────── one document ──────────────────────┘  └ end-of-text ┘  └ the next one
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

PIECE_CHARACTERS = 2**16


@dataclass(frozen=True, slots=True)
class Separator:
    """The place between two documents, and how much of the original text end-of-text stands for there.

    line_ends: how many lines of the text end there, the last one of the document and the empty ones behind.
    """

    characters: int
    bytes: int
    line_ends: int = 1


@dataclass(frozen=True)
class TextSize:
    """How much text there is: bytes are those of UTF-8, words are runs of anything but white space.

    Characters and bytes include the separators between documents.
    """

    characters: int
    bytes: int
    words: int
    documents: int


@dataclass(frozen=True)
class _Rule:
    """How documents of one kind are kept apart, and what of it can be told from a part of the file."""

    separator: re.Pattern[str]
    more: re.Pattern[str]  # what lengthens a separator, or stands before the first document; may be nothing
    undecided: re.Pattern[str]  # the end of a block that may yet lengthen a separator
    unfinished: re.Pattern[str]  # the end of a block that may yet begin one; may be nothing


# A blank line holds a bounded number of blanks, so that what is kept for the next block is bounded too.
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
    """One of one-byte characters; made once, as most of a text's are alike."""
    return Separator(width, width, line_ends)


def split_documents(blocks: Iterable[str], kind: str) -> Iterator[str | Separator]:
    """The documents of one file, whose text comes in blocks cut anywhere.

    `file`: all of it. `line`: between runs of line ends. `block`: between blank lines; the end of the file
    ends a line. Separators before the first and after the last document are dropped.
    """
    if kind == "file":
        yield from (block for block in blocks if block)
        return
    rule = _RULES[kind]
    started = False  # whether a document has begun
    between = True  # whether we stand in a separator, or before the first document
    width = line_ends = 0  # characters of that separator so far, and line ends among them
    kept = ""  # the end of the last block, which the next one decides
    for block in blocks:
        text, kept, position = kept + block, "", 0
        # A separator that ends before this place is whole, because something else follows it.
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
    if kept.endswith("\r"):  # a carriage return that no line feed followed is text, and so is what led to it
        if between and started:
            yield _separator(width, line_ends)
        yield kept


def between_documents(streams: Iterable[Iterable[str | Separator]]) -> Iterator[str | Separator]:
    """One stream out of several, none of whose documents continues in the next; empty ones leave no trace."""
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
    """Characters start..stop (None: the end) of a stream; separators do not count and none is at an edge."""
    position = 0
    pending: Separator | None = None
    started = False
    for item in stream:
        if isinstance(item, Separator):
            pending = item if started else None
            continue
        if stop is not None and position >= stop:
            return
        text = item[max(0, start - position) : None if stop is None else stop - position]
        position += len(item)
        if text:
            if pending is not None:
                yield pending
            pending, started = None, True
            yield text


class Meter:
    """Counts what a stream holds while it passes."""

    def __init__(self) -> None:
        self._characters = self._bytes = self._words = self._separators = 0
        # Whether a word may go on in the next piece; whether there was any text.
        self._in_word = self._started = False

    def add(self, item: str | Separator) -> None:
        """Count the next piece; an empty one is none."""
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
        """What there was so far."""
        return TextSize(self._characters, self._bytes, self._words, self._separators + self._started)


def measure(stream: Iterable[str | Separator]) -> TextSize:
    """Count what a stream holds."""
    meter = Meter()
    for item in stream:
        meter.add(item)
    return meter.size
