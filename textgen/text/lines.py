"""Splitting a text that arrives in blocks into lines, each as soon as it is complete.

A record of a table is kept as a line too, whatever line ends are in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import TextIO

from textgen.settings.config import RECORD
from textgen.text.documents import PIECE_CHARACTERS, Separator, split_documents

LONGEST_IN_MEMORY = 2**16  # characters of a line; a longer one is kept on disk


class Line:
    """One line with its line end, which the last line of a text may lack.

    Iterating yields its text in pieces and may be repeated. limit: only this many characters are kept; None
    keeps all. number: of the line in its text, or of the record in its file, from 1; set by what makes the
    line, at the latest when it is complete. A line must be closed when it is no longer needed.
    """

    __slots__ = ("_file", "_limit", "_pieces", "characters", "number")

    def __init__(self, limit: int | None = None) -> None:
        self.characters = 0  # kept so far
        self.number = 0
        self._limit = limit
        self._pieces: list[str] = []
        self._file: TextIO | None = None

    @property
    def is_long(self) -> bool:
        """Whether the line is so long that it is kept on disk."""
        return self._file is not None

    def add(self, piece: str) -> None:
        """Append a piece of text, as far as the limit allows."""
        if self._limit is not None:
            piece = piece[: self._limit - self.characters]
        if not piece:
            return
        self.characters += len(piece)
        if self._file is None:
            self._pieces.append(piece)
            if self.characters <= LONGEST_IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115 (see close)
            piece, self._pieces = "".join(self._pieces), []
        self._file.write(piece)

    def __iter__(self) -> Iterator[str]:
        if self._file is None:
            yield from self._pieces
            return
        self._file.seek(0)
        while piece := self._file.read(PIECE_CHARACTERS):
            yield piece

    def without_end(self) -> Iterator[str]:
        """The text in pieces, without the line feed at the end."""
        left = self.characters
        for piece in self:
            left -= len(piece)
            yield piece if left else piece.removesuffix("\n")

    def close(self) -> None:
        """Delete the temporary file of a long line."""
        if self._file is not None:
            self._file.close()


def lines(blocks: Iterable[str]) -> Iterator[list[Line]]:
    """For each block that completes lines, a list of them; finally, the last line if it has no line end."""
    line, number = Line(), 0
    for block in blocks:
        *ends, rest = block.split("\n")
        ended = []
        for text in ends:
            number += 1
            line.add(text + "\n")
            line.number = number
            ended.append(line)
            line = Line()
        line.add(rest)
        if ended:
            yield ended
    if line.characters:
        line.number = number + 1
        yield [line]


def record_line(number: int, text: str) -> Line:
    """A record as a line, which ends with a line feed that is not part of the record."""
    line = Line()
    line.number = number
    line.add(text + "\n")
    return line


def as_text(line: Line, documents: str) -> Iterator[str | Separator]:
    """A line as a separate text stream.

    documents: what a document is, as in DataConfig, or RECORD for a line that is a record. Where lines are
    documents, the line end becomes a Separator, and an empty line becomes an empty stream. A record becomes
    its text and a Separator.
    """
    if documents == RECORD:
        yield from filter(None, line.without_end())
        yield Separator(1, 1)
        return
    if documents != "line":
        yield from line
        return
    num_text = 0
    for item in split_documents(line, "line"):
        num_text += len(item) if isinstance(item, str) else 0
        yield item
    if num_text and (width := line.characters - num_text):
        yield Separator(width, width)
