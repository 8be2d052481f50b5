"""Reading a source from the middle: places where its files can be begun, and how much text is before each.

A place is where what has been read so far no longer matters: between two lines, blocks or records, or
anywhere in a text that is one document. A compressed file, an array of JSON and a file that has no such place
are read from their beginning.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from textgen.text.documents import Separator, between_documents, split_documents
from textgen.text.formats import Place, TextFile, placed_blocks
from textgen.text.normalize import normalize, normalized
from textgen.text.records import NextLine, RecordCount, records
from textgen.text.sources import Source, record_stream

# The end of a document, a whole separator, and the beginning of the next document.
_BETWEEN = {
    "line": re.compile(r"[^\r\n]((?:\r?\n)+)(?=[^\r\n])"),
    "block": re.compile(r"\S(\r?\n(?:[ \t]{0,4096}\r?\n)+)(?=\S)"),
}

# Called with the characters of a stream before a place, and the place.
Note = Callable[[int, Place], None]


class Restart(NamedTuple):
    """A file of a source, by its number, from a place on; None: from its beginning.

    position: characters of the stream of the source before it, separators not counted.
    """

    position: int
    file: int
    place: Place | None


class RestartableSource:
    """A source, and where it can be read from: more places are known once more of it was read.

    every: about so many characters lie between two places.
    """

    def __init__(self, source: Source, every: int) -> None:
        self.source = source
        self._every = every
        self._restarts = [Restart(0, 0, None)]
        self._positions = [0]  # of these
        self._reached = 0  # in the current reading

    def before(self, position: int) -> Restart:
        """The last restart that is known before a character, or at it."""
        return self._restarts[bisect_right(self._positions, position) - 1]

    def file_of(self, position: int) -> int:
        """The number of the file that a character is in, once it was read."""
        return self.before(position).file

    def stream(self, start: int) -> Iterator[tuple[int, str | Separator]]:
        """The items of the stream with their positions, from `start` or a little before it on.

        It begins with text. Raises CorpusError.
        """
        begin = self.before(start)
        position = begin.position
        files = self.source.files
        streams = (self._file(number, begin) for number in range(begin.file, len(files)))
        for item in between_documents(streams):
            yield position, item
            position += 0 if isinstance(item, Separator) else len(item)

    def _file(self, number: int, begin: Restart) -> Iterator[str | Separator]:
        file, base = self.source.files[number], begin.position
        if number == begin.file:
            file = replace(file, place=begin.place)
        else:
            base = self._reached
            self._add(Restart(base, number, None))
        self._reached = base

        def note(characters: int, place: Place) -> None:
            self._add(Restart(base + characters, number, place))

        for item in stream_with_restarts(self.source, file, self._every, note):
            self._reached += 0 if isinstance(item, Separator) else len(item)
            yield item

    def _add(self, restart: Restart) -> None:
        last = self._restarts[-1]
        if restart.file < last.file or restart.position < last.position:
            return
        if restart.position == last.position:  # the later one has less to read
            self._restarts.pop()
            self._positions.pop()
        self._restarts.append(restart)
        self._positions.append(restart.position)


def stream_with_restarts(source: Source, file: TextFile, every: int, note: Note) -> Iterator[str | Separator]:
    """The stream of a file of a source, of which places are noted before the text that follows them.

    The text before the place of the file, if it has one, is not counted. Raises CorpusError.
    """
    kind = file.format
    if kind in ("json", "parquet") or file.is_compressed or source.ends_lines_with_cr(file):
        yield from source.file_stream(file, RecordCount())
    elif kind == "text":
        yield from _Segments(source, file, every, note).stream()
    else:
        yield from record_stream(_record_texts(source, file, every, note))


def _record_texts(source: Source, file: TextFile, every: int, note: Note) -> Iterator[str]:
    next_line = NextLine()
    found = records(file, source.field, source.encoding, source.delimiter, next_line=next_line)
    reached = noted = 0
    while True:
        place = next_line.place
        record = next(found, None)
        if record is None:
            return
        if reached - noted >= every:
            note(reached, place)
            noted = reached
        text = normalize(record.text, source.normalize)
        reached += len(text)
        yield text


class _Segments:
    """A text file, read in segments that do not depend on each other."""

    def __init__(self, source: Source, file: TextFile, every: int, note: Note) -> None:
        self._documents, self._normalize = source.documents, source.normalize
        self._every, self._note = every, note
        self._blocks = placed_blocks(file, source.encoding)
        # The beginning of the next segment, and the separator before it.
        self._held: tuple[Place, str] | None = None
        self._separator: Separator | None = None

    def stream(self) -> Iterator[str | Separator]:
        """The stream of the file."""
        reached = 0
        while True:
            for item in split_documents(normalized(self._segment(), self._normalize), self._documents):
                reached += 0 if isinstance(item, Separator) else len(item)
                yield item
            if self._held is None:
                return
            self._note(reached, self._held[0])
            if self._separator is not None:
                yield self._separator

    def _segment(self) -> Iterator[str]:
        """The blocks up to the end of a segment."""
        size = 0
        if self._held is not None:
            yield self._held[1]
            size, self._held = len(self._held[1]), None
        for place, text in self._blocks:
            if size >= self._every and (found := self._boundary(text)) is not None:
                begin, self._separator = found
                self._held = place.after(begin), text[begin:]
                yield text[:begin]
                return
            size += len(text)
            yield text

    def _boundary(self, text: str) -> tuple[int, Separator | None] | None:
        """Where in a block another segment can begin, and the separator before it; None: nowhere."""
        if self._documents == "file":
            if self._normalize is None:
                return 0, None
            begin = text.rfind("\n") + 1  # which composes with nothing
            return (begin, None) if begin else None
        ends = deque(_BETWEEN[self._documents].finditer(text), maxlen=1)
        if not ends:
            return None
        last = ends[0]
        width = last.end() - last.start(1)
        return last.end(), Separator(width, width, last[1].count("\n"))
