"""How a file becomes text: compression, encoding, and the records of .jsonl and .csv.

Everything is read in blocks; a record is the largest thing that is ever held. Text is kept exactly,
"\\r\\n" and NUL included. The one thing dropped is a byte-order mark at the start of a file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from textgen.errors import CorpusError

# What a folder is searched for; each of them also with .gz, which alone means compressed text.
KNOWN_ENDINGS = (".txt", ".text", ".md", ".rst", ".jsonl", ".csv")

_BLOCK_BYTES = 2**16
_MAGIC_NUMBERS = {
    b"\x1f\x8b": "gzip-compressed; a file's name must end in .gz, a pipe needs gunzip -c before it",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"BZh": "bzip2-compressed; unpack it first",
    b"\xfd7zXZ\x00": "xz-compressed; unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"%PDF-": "a PDF; extract its text first",
    b"\x89PNG\r\n": "a PNG image, not text",
    b"\xff\xd8\xff": "a JPEG image, not text",
    b"GIF8": "a GIF image, not text",
    b"\x7fELF": "a program, not text",
    b"SQLite format 3\x00": "an SQLite database, not text",
    b"\x93NUMPY": "a NumPy array, not text",
    b"PAR1": "a Parquet file; write its text to .jsonl first",
}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_TEXT = (
    "looks binary, not text; if it is text in another encoding than {encoding}, name it with --encoding"
)


@dataclass(frozen=True)
class TextFile:
    """One file of the corpus. `name` is what errors call it; `is_text`: plain text, whatever its path."""

    path: Path
    name: str
    is_text: bool = False

    @property
    def _endings(self) -> list[str]:
        return [] if self.is_text else [ending.lower() for ending in self.path.suffixes]

    @property
    def compressed(self) -> bool:
        """Whether the name says gzip."""
        return self._endings[-1:] == [".gz"]

    @property
    def format(self) -> str:
        """`text`, `jsonl` or `csv`, by the name without .gz."""
        endings = self._endings[:-1] if self.compressed else self._endings
        return endings[-1][1:] if endings[-1:] in ([".jsonl"], [".csv"]) else "text"

    @property
    def known(self) -> bool:
        """Whether the search of a folder takes it; a name with no ending but .gz is compressed text."""
        endings = self._endings[:-1] if self.compressed else self._endings
        return endings[-1] in KNOWN_ENDINGS if endings else self.compressed


def is_utf8(text: str) -> bool:
    """Whether it can be written down: bytes of a name that are no text, and escapes, make half surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def raw_blocks(file: TextFile) -> Iterator[bytes]:
    """The bytes of a file, decompressed.

    Raises CorpusError where the file cannot be read.
    """
    try:
        with file.path.open("rb") as raw:
            yield from _blocks(cast(BufferedIOBase, gzip.GzipFile(fileobj=raw)) if file.compressed else raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{file.name}: not a whole gzip file ({error}); compress it again") from error
    except OSError as error:
        raise CorpusError(f"{file.name}: {error.strerror or error}; it must be readable") from error


def _blocks(stream: BufferedIOBase) -> Iterator[bytes]:
    """What is there, up to a block: of a pipe that comes slowly, nothing waits for a block to be full."""
    while block := stream.read1(_BLOCK_BYTES):
        yield block


def text_blocks(file: TextFile, encoding: str) -> Iterator[str]:
    """The decoded text of a file.

    Raises CorpusError for an invalid byte, with its offset in the (decompressed) file, and for binary input.
    """
    return _decoded(raw_blocks(file), file.name, encoding)


def text_as_it_comes(stream: BufferedIOBase, name: str, encoding: str) -> Iterator[str]:
    """The decoded text of an open stream, each piece as soon as it is there; `name` is what errors call it.

    Raises CorpusError as text_blocks.
    """
    try:
        yield from _decoded(_blocks(stream), name, encoding)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror or error}; it must be readable") from error


def _decoded(blocks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    has_escapes = not codecs.lookup(encoding).name.startswith("utf-8")
    num_read = 0
    first = True
    for block in itertools.chain(blocks, [b""]):
        if num_read == 0:
            _refuse_magic(block, name, encoding)
        num_read += len(block)
        text, error = _decode(decoder, block, num_read, name, encoding)
        if first and text:
            if _looks_binary(text, share=0.2):
                raise CorpusError(f"{name}: {_NOT_TEXT.format(encoding=encoding)}")
            text = text.removeprefix("\ufeff")
            first = False
        if has_escapes and not is_utf8(text):
            raise CorpusError(f"{name}: half a surrogate pair stands alone; is it really {encoding}?")
        if text:
            yield text
        if error is not None:
            raise error


def _decode(
    decoder: codecs.IncrementalDecoder, block: bytes, num_read: int, name: str, encoding: str
) -> tuple[str, CorpusError | None]:
    """Decode the next block, as far as it can be, and say what is wrong after that.

    An empty block is the end, where a character must not be left half.
    """
    before = decoder.getstate()
    try:
        return decoder.decode(block, final=not block), None
    except UnicodeDecodeError as error:
        held = bytes(error.object)  # what the decoder kept from earlier blocks, and this one
        if num_read <= _BLOCK_BYTES and _looks_binary(held.decode("latin-1"), share=0.05):
            return "", CorpusError(f"{name}: {_NOT_TEXT.format(encoding=encoding)}")
        offset = num_read - len(held) + error.start
        reason = CorpusError(
            f"{name}: invalid {encoding} at byte {offset} (0x{held[error.start]:02x}); "
            "if the file has another encoding, name it with --encoding"
        )
        decoder.setstate(before)
        good = block[: max(len(block) - (len(held) - error.start), 0)]
        return decoder.decode(good), reason
    except UnicodeError as error:  # of the text as a whole, such as UTF-16 without a mark of its byte order
        return "", CorpusError(f"{name}: is not {encoding} ({error}); name its encoding with --encoding")


def _refuse_magic(block: bytes, name: str, encoding: str) -> None:
    for magic, meaning in _MAGIC_NUMBERS.items():
        # A text may begin with such letters, but then it has no such bytes.
        if block.startswith(magic) and (not magic.isascii() or _has_control_bytes(block)):
            raise CorpusError(f"{name}: is {meaning}")
    if block.startswith(_UTF16_MARKS) and "utf-8" in codecs.lookup(encoding).name:
        raise CorpusError(f"{name}: is not {encoding} but UTF-16; use --encoding utf-16")


def _has_control_bytes(block: bytes) -> bool:
    """Whether there are bytes that no encoding of text has, but for UTF-16 and UTF-32 among their zeros."""
    return any(code in block for code in (*range(9), *range(14, 27)))


def _looks_binary(text: str, share: float) -> bool:
    """Whether more than this share is control characters that text rarely holds; false for a few bytes."""
    unusual = sum(text.count(chr(code)) for code in (*range(9), *range(14, 27), *range(28, 32), 127))
    return len(text) >= 64 and unusual > share * len(text)


def _lines(file: TextFile, encoding: str) -> Iterator[str]:
    """The lines of a file with their line ends; only "\\n" ends a line, as JSON and CSV have it."""
    pieces: list[str] = []
    for block in text_blocks(file, encoding):
        *ended, rest = block.split("\n")
        for line in ended:
            yield "".join([*pieces, line, "\n"])
            pieces = []
        pieces.append(rest)
    if last := "".join(pieces):
        yield last


def records(file: TextFile, field: str | None, encoding: str) -> Iterator[str]:
    """The text of each record of a .jsonl or .csv file.

    Raises CorpusError with file and line when no field is named, or a record cannot be read or lacks it.
    """
    read = _json_records if file.format == "jsonl" else _csv_records
    for line, text in read(file, field, encoding):
        if not is_utf8(text):
            raise CorpusError(f"{file.name}:{line}: half a surrogate pair stands alone; mend its escape")
        yield text


def _named(field: str | None, found: list[str], where: str) -> str:
    """The field's name, when there is one and it is among those found."""
    names = ", ".join(found) or "none"
    if field is None:
        raise CorpusError(f"{where}: which field holds the text? Name it with --field; there are: {names}")
    if field not in found:
        raise CorpusError(f"{where}: no field {field!r}; there are: {names}")
    return field


def _json_records(file: TextFile, field: str | None, encoding: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_lines(file, encoding), start=1):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: not JSON ({error}); each line must be one object") from None
        if not isinstance(record, dict):
            raise CorpusError(f"{where}: a {type(record).__name__}; each line must be one object")
        text = record[_named(field, list(record), where)]
        if not isinstance(text, str):
            raise CorpusError(f"{where}: the field {field!r} is not text but {json.dumps(text)[:40]}")
        yield number, text


def _csv_records(file: TextFile, field: str | None, encoding: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses a field of more than 128 KiB
    reader = csv.reader(_lines(file, encoding), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        column = header.index(_named(field, header, f"{file.name}:1"))
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                raise CorpusError(
                    f"{file.name}:{reader.line_num}: {len(record)} fields where the header has {len(header)}"
                )
            yield reader.line_num, record[column]
    except csv.Error as error:
        raise CorpusError(f"{file.name}:{reader.line_num}: not CSV ({error})") from None
