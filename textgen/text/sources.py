"""Sources of text: each CORPUS argument (a file, a folder, a glob, or `-`) is one source."""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from textgen.errors import CorpusError
from textgen.text.documents import (
    PIECE_CHARACTERS,
    Separator,
    between_documents,
    document_lengths,
    split_documents,
)
from textgen.text.formats import KNOWN_ENDINGS, TextFile, is_utf8, text_blocks
from textgen.text.records import RecordCount, records
from textgen.text.remote.urls import is_url, public_url

_BLOCK_BYTES = 2**16


def corpus_name(corpus: Sequence[str]) -> str:
    """The default name for what is made from a corpus: its first argument without folder and ending."""
    if corpus[0] == "-":
        return "stdin"
    name = public_url(corpus[0]) if is_url(corpus[0]) else corpus[0]
    return Path(name.rstrip("/*")).name.split(".")[0].strip("*?[]") or "corpus"


@dataclass(frozen=True)
class Source:
    """The files of one argument, in a fixed order, and how to read them; each file begins a new document."""

    name: str
    files: tuple[TextFile, ...]
    documents: str
    field: str | None
    encoding: str
    delimiter: str | None = None
    label_field: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The real paths of the files, with links resolved."""
        return tuple(os.path.realpath(file.path) for file in self.files)

    def stream(self, count: RecordCount | None = None) -> Iterator[str | Separator]:
        """The text of all files as a stream, with a Separator between documents.

        count: adds up the records that were read and skipped; None does not.

        Raises CorpusError for a file that cannot be read, and at the end when no record had text.
        """
        found = RecordCount()
        yield from between_documents(self._file_stream(file, found) for file in self.files)
        found.require_text(self.name, self.field)
        if count is not None:
            count.add(found)

    def _file_stream(self, file: TextFile, count: RecordCount) -> Iterator[str | Separator]:
        if file.format == "text":
            return split_documents(text_blocks(file, self.encoding), self.documents)
        found = records(file, self.field, self.encoding, self.delimiter, count)
        return _record_stream(record.text for record in found)

    def labels(self) -> Iterator[tuple[int, str | None]]:
        """The characters and the label of each document of `stream`. Raises CorpusError, as that does."""
        for file in self.files:
            if file.format == "text":
                stream = split_documents(text_blocks(file, self.encoding), self.documents)
                yield from ((extent, None) for extent in document_lengths(stream))
                continue
            found = records(file, self.field, self.encoding, self.delimiter, label_field=self.label_field)
            yield from ((len(record.text), record.label) for record in found if record.text)

    def boundary_near(self, position: int) -> int:
        """The document boundary nearest to a position, both in characters not counting separators.

        The source must have at least two documents; a boundary has text on both sides.
        """
        reached = nearest = 0
        for item in self.stream():
            if not isinstance(item, Separator):
                reached += len(item)
                continue
            if nearest == 0 or abs(reached - position) < abs(nearest - position):
                nearest = reached
            if reached >= position:
                break
        return nearest


def _record_stream(texts: Iterable[str]) -> Iterator[str | Separator]:
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
    argument: str, stdin: Path | None, fetched: Mapping[str, Path] | None = None
) -> tuple[TextFile, ...]:
    """The files that an argument names, sorted.

    A folder is searched recursively for files with one of KNOWN_ENDINGS; hidden files and folders, and links
    to folders, are skipped. A file that is named directly or matches a glob is read whatever its ending.
    stdin: the file that standard input was copied to; None when it was not. fetched: the local file of each
    URL; None: there are none.

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
        files = tuple(file for file in _walk(path) if file.known)
        if not files:
            endings = " ".join(KNOWN_ENDINGS)
            raise CorpusError(f"{argument}: the folder has no file ending in {endings}, with or without .gz")
        return files
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
            f"--field {field}: there is no .jsonl, .csv or .tsv file, nor a .json file that "
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


def _walk(folder: Path) -> list[TextFile]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    ordered = sorted(found, key=lambda path: path.parts)
    return [TextFile(path, str(path)) for path in ordered if path.is_file()]


def _refuse_unreadable(error: OSError) -> None:
    raise CorpusError(f"{error.filename}: {error.strerror}; the folder must be readable")


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
