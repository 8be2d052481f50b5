"""Sources of text: each CORPUS argument (a file, a folder, a glob, or `-`) is one source."""

from __future__ import annotations

import dataclasses
import glob
import os
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from textgen.errors import CorpusError
from textgen.text.documents import (
    PIECE_CHARACTERS,
    Separator,
    between_documents,
    document_lengths,
    split_at_carriage_returns,
    split_documents,
    stream_slice,
)
from textgen.text.folders import FolderCount, as_options, files_in
from textgen.text.formats import TextFile, is_utf8, text_blocks
from textgen.text.normalize import normalize, normalized
from textgen.text.records import RecordCount, records
from textgen.text.remote.urls import MANIFEST, is_url, public_url

_BLOCK_BYTES = 2**16


def corpus_name(corpus: Sequence[str]) -> str:
    """The default name for what is made from a corpus: its first argument without folder and ending."""
    if corpus[0] == "-":
        return "stdin"
    name = public_url(corpus[0]).removesuffix(f"/{MANIFEST}") if is_url(corpus[0]) else corpus[0]
    return Path(name.rstrip("/*")).name.split(".")[0].strip("*?[]") or "corpus"


@dataclass(frozen=True)
class Source:
    """The files of one argument, in a fixed order, and how to read them; each file begins a new document.

    folder: what was passed over in it; None if the argument is not a folder.
    """

    name: str
    files: tuple[TextFile, ...]
    documents: str
    field: str | None
    encoding: str
    delimiter: str | None = None
    label_field: str | None = None
    normalize: str | None = None
    folder: FolderCount | None = dataclasses.field(default=None, compare=False)
    # Where the files end that were read so far, in characters of the stream, not counting separators.
    _ends: array[int] = dataclasses.field(default_factory=lambda: array("q"), init=False, compare=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """The real paths of the files, with links resolved."""
        return tuple(_real_paths(file.path for file in self.files))

    def stream(self, count: RecordCount | None = None) -> Iterator[str | Separator]:
        """The text of all files as a stream, with a Separator between documents.

        count: adds up the records that were read and skipped; None does not.

        Raises CorpusError for a file that cannot be read, and at the end when no record had text.
        """
        found = RecordCount()
        yield from between_documents(self._measured(number, found) for number in range(len(self.files)))
        found.require_text(self.name, self.field)
        if count is not None:
            count.add(found)

    def slice(self, start: int, stop: int | None) -> Iterator[str | Separator]:
        """Characters start..stop (None: to the end) of the stream, as stream_slice.

        Files that were read before are skipped if they end before the slice.
        """
        first, before = self.file_at(start)
        files = between_documents(self.file_stream(file, RecordCount()) for file in self.files[first:])
        return stream_slice(files, start - before, None if stop is None else stop - before)

    def _measured(self, number: int, count: RecordCount) -> Iterator[str | Separator]:
        """The text of a file, whose end is remembered when it is read for the first time."""
        length = 0
        for item in self.file_stream(self.files[number], count):
            length += 0 if isinstance(item, Separator) else len(item)
            yield item
        if number == len(self._ends):
            self._ends.append(length + (self._ends[-1] if self._ends else 0))

    def file_at(self, position: int) -> tuple[int, int]:
        """The file of a character, or one before it, and how many characters come before that file."""
        number = bisect_right(self._ends, position)
        if number == len(self.files):  # at the end, or all files are empty
            return 0, 0
        return number, self._ends[number - 1] if number else 0

    def file_stream(self, file: TextFile, count: RecordCount) -> Iterator[str | Separator]:
        """The text of one file as a stream. Raises CorpusError."""
        if file.format == "text":
            blocks = normalized(text_blocks(file, self.encoding), self.normalize)
            split = split_at_carriage_returns if self.ends_lines_with_cr(file) else split_documents
            return split(blocks, self.documents)
        found = records(file, self.field, self.encoding, self.delimiter, count)
        return record_stream(normalize(record.text, self.normalize) for record in found)

    def labels(self) -> Iterator[tuple[int, str | None]]:
        """The characters and the label of each document of `stream`. Raises CorpusError, as that does."""
        for file in self.files:
            if file.format == "text":
                stream = self.file_stream(file, RecordCount())
                yield from ((extent, None) for extent in document_lengths(stream))
                continue
            found = records(file, self.field, self.encoding, self.delimiter, label_field=self.label_field)
            texts = ((normalize(record.text, self.normalize), record.label) for record in found)
            yield from ((len(text), label) for text, label in texts if text)

    def ends_lines_with_cr(self, file: TextFile) -> bool:
        """Whether lines matter and those of a text file end with a carriage return alone, as on old Macs.

        In a file that has a line feed anywhere, a carriage return alone is text. Raises CorpusError.
        """
        return self.documents != "file" and file in self._files_without_line_feed

    @cached_property
    def _files_without_line_feed(self) -> frozenset[TextFile]:
        """The text files with carriage returns but no line feed; most others are read to the first one."""
        return frozenset(file for file in self.files if file.format == "text" and self._has_cr_only(file))

    def _has_cr_only(self, file: TextFile) -> bool:
        if file.place is not None:  # which is after a line feed
            return False
        has_return = False
        for block in text_blocks(file, self.encoding):
            if "\n" in block:
                return False
            has_return = has_return or "\r" in block
        return has_return

    def boundary_near(self, position: int) -> int:
        """The document boundary nearest to a position, both in characters not counting separators.

        The source must have at least two documents; a boundary has text on both sides.
        """
        first, reached = self.file_at(position)
        nearest = reached
        for item in between_documents(self.file_stream(file, RecordCount()) for file in self.files[first:]):
            if not isinstance(item, Separator):
                reached += len(item)
                continue
            if nearest == 0 or abs(reached - position) < abs(nearest - position):
                nearest = reached
            if reached >= position:
                break
        return nearest


def record_stream(texts: Iterable[str]) -> Iterator[str | Separator]:
    """Records as a text stream, with a Separator of one line end between them; empty records are skipped."""
    line_end = Separator(1, 1)
    started = False
    for text in texts:
        if text and started:
            yield line_end
        for start in range(0, len(text), PIECE_CHARACTERS):
            yield text[start : start + PIECE_CHARACTERS]
            started = True


def find_files(
    argument: str,
    stdin: Path | None,
    include: Sequence[str] | None = None,
    count: FolderCount | None = None,
    fetched: Mapping[str, Path] | None = None,
) -> tuple[TextFile, ...]:
    """The files that an argument names, sorted.

    A folder is searched as files_in does, with its patterns. A file that is named directly or matches a glob
    is read whatever its ending. stdin: the file that standard input was copied to; None when it was not.
    count: what is passed over in a folder is added to it; None does not count. fetched: the local file of
    each URL; None: there are none.

    Raises CorpusError when there is none.
    """
    path = Path(argument)
    if is_url(argument):
        if argument not in (fetched or {}):
            raise CorpusError(f"{public_url(argument)}: not a file, but a URL; download it first")
        return (TextFile((fetched or {})[argument], argument),)
    if not argument:
        raise CorpusError("the name of a text is empty; name a file, a folder or `-`")
    if not is_utf8(argument):
        raise CorpusError(f"{argument!r}: the file name is not UTF-8; rename the file")
    if argument == "-":
        if stdin is None:
            raise CorpusError("-: there is no standard input to read; name a file")
        return (TextFile(stdin, "standard input", is_text=True),)
    if path.is_dir():
        return tuple(files_in(argument, include, FolderCount() if count is None else count))
    if path.is_file():
        return (TextFile(path, argument),)
    if path.exists():
        raise CorpusError(f"{argument}: not a regular file, so it cannot be read twice; pipe it into `-`")
    if glob.has_magic(argument):
        found = glob.glob(argument, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        matches = sorted(match for match in found if Path(match).is_file())
        if not matches:
            raise CorpusError(f"{argument}: no file matches; check the pattern")
        return tuple(TextFile(Path(match), match) for match in matches)
    raise CorpusError(f"{argument}: no such file or folder; check the path")


def require_records(field: str, formats: Collection[str]) -> None:
    """Raise CorpusError when a field is given but all files are plain text, which has no fields."""
    if all(name == "text" for name in formats):
        raise CorpusError(
            f"--field {field}: there is no .jsonl, .csv, .tsv or .parquet file, nor a .json file that "
            "holds an array of objects; leave --field out"
        )


def require_labelled(field: str, formats: Collection[str]) -> None:
    """Raise CorpusError when a field of labels is given but all files are plain text, which has no fields."""
    if all(name == "text" for name in formats):
        raise CorpusError(f"--label-field {field}: plain text has no fields; leave --label-field out")


def require_tables(delimiter: str, formats: Collection[str]) -> None:
    """Raise CorpusError when a delimiter is given but no file has one."""
    if not {"csv", "tsv"} & set(formats):
        raise CorpusError(f"--delimiter {delimiter}: there is no .csv or .tsv file; leave --delimiter out")


def require_folder(include: Sequence[str], sources: Iterable[Source]) -> None:
    """Raise CorpusError when patterns for the files of folders are given but no argument is a folder."""
    if all(source.folder is None for source in sources):
        raise CorpusError(f"{as_options(include)}: no argument is a folder; leave --include out")


def require_reading(formats: Collection[str], reading: Mapping[str, str | None]) -> None:
    """Raise CorpusError when `documents`, `field` or `delimiter` is given but applies to no file."""
    if (field := reading.get("field")) is not None:
        require_records(field, formats)
    if (delimiter := reading.get("delimiter")) is not None:
        require_tables(delimiter, formats)
    if (documents := reading.get("documents")) is not None and "text" not in formats:
        raise CorpusError(
            f"--documents {documents}: there is no plain text, and each record is a document; "
            "leave --documents out"
        )


def notes_on_folders(sources: Iterable[Source]) -> list[str]:
    """What to say about text in folders that is not read, and about patterns that no file matches."""
    folders = [(source.name, source.folder) for source in sources if source.folder is not None]
    notes = [note for name, folder in folders if not folder.has_patterns and (note := folder.note(name))]
    if unused := set[str].intersection(*[folder.unused for _, folder in folders] or [set()]):
        notes.append(f"No file matches {as_options(sorted(unused))}.")
    return notes


def _real_paths(paths: Iterable[str | Path]) -> Iterator[str]:
    """As os.path.realpath of each, but the links in the path of a folder are resolved once."""
    folders: dict[str, str] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)  # noqa: PTH118 (there may be very many)
        yield os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114


def refuse_repeated_files(sources: Iterable[Source]) -> None:
    """Raise CorpusError when a file is given twice: its validation text would also be trained on."""
    seen: dict[str, str] = {}
    for source in sources:
        for file, real in zip(source.files, source.paths, strict=True):
            if real in seen:
                raise CorpusError(
                    f"{file.name}: given twice, in {seen[real]!r} and in {source.name!r}, which would put "
                    "validation text into training; leave one out"
                )
            seen[real] = source.name


@contextmanager
def standard_input(arguments: Sequence[str], max_bytes: int | None = None) -> Iterator[Path | None]:
    """Copy standard input to a temporary file, since text is read more than once.

    Yields its path, or None when no argument is `-`. max_bytes: copy only this many; None copies all.
    """
    if "-" not in arguments:
        yield None
        return
    print_typing_hint()
    with tempfile.TemporaryDirectory(prefix="textgen-") as directory:
        path = Path(directory) / "stdin.txt"
        with path.open("wb") as file:
            # read1 takes what has arrived: a full read would wait for more after the end of typed input.
            while max_bytes is None or file.tell() < max_bytes:
                wanted = _BLOCK_BYTES if max_bytes is None else min(_BLOCK_BYTES, max_bytes - file.tell())
                block = cast(BufferedIOBase, sys.stdin.buffer).read1(wanted)
                if not block:
                    break
                file.write(block)
        yield path


def print_typing_hint() -> None:
    """Explain on stderr how to end the text, when standard input is a terminal."""
    if sys.stdin.isatty():
        print("Type or paste text; end it with Ctrl-D on a line of its own.", file=sys.stderr)
