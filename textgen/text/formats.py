"""Reading text from files: kinds of file, compression and encoding.

Everything is read in blocks. Text is kept exactly, including "\\r\\n" and NUL; only a byte-order mark at the
start of a file is dropped.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from textgen.errors import CorpusError

# The files that are read from a folder; also with .gz appended. A bare .gz means compressed text.
KNOWN_ENDINGS = (".txt", ".text", ".md", ".rst", ".jsonl", ".csv", ".tsv")
_RECORD_ENDINGS = (".jsonl", ".csv", ".tsv")

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
    "looks binary, not text; if it is text in an encoding other than {encoding}, name it with --encoding"
)


@dataclass(frozen=True)
class TextFile:
    """One file of the corpus.

    name: how error messages refer to it. is_text: it is uncompressed plain text, whatever its path ends in.
    """

    path: Path
    name: str
    is_text: bool = False

    @property
    def _endings(self) -> list[str]:
        return [] if self.is_text else [ending.lower() for ending in self.path.suffixes]

    @property
    def compressed(self) -> bool:
        """Whether the file is gzip-compressed, by its name."""
        return self._endings[-1:] == [".gz"]

    @property
    def format(self) -> str:
        """`text`, `jsonl`, `json`, `csv` or `tsv`, by its name without .gz.

        A .json file is `json` when it begins as an array of objects, else `text`. Raises CorpusError when it
        cannot be read.
        """
        endings = self._endings[:-1] if self.compressed else self._endings
        if endings[-1:] == [".json"]:
            return "json" if _begins_as_json_records(raw_blocks(self)) else "text"
        return endings[-1][1:] if endings and endings[-1] in _RECORD_ENDINGS else "text"

    @property
    def known(self) -> bool:
        """Whether it is read when found in a folder, by its name."""
        endings = self._endings[:-1] if self.compressed else self._endings
        return endings[-1] in KNOWN_ENDINGS if endings else self.compressed


def is_utf8(text: str) -> bool:
    """Whether a string can be encoded as UTF-8: undecodable file names and escapes leave lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def raw_blocks(file: TextFile) -> Iterator[bytes]:
    """The decompressed bytes of a file, in blocks.

    Raises CorpusError when the file cannot be read.
    """
    try:
        with file.path.open("rb") as raw:
            yield from _blocks(cast(BufferedIOBase, gzip.GzipFile(fileobj=raw)) if file.compressed else raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{file.name}: damaged gzip file ({error}); compress it again") from error
    except OSError as error:
        raise CorpusError(f"{file.name}: {error.strerror or error}; it must be readable") from error


def _begins_as_json_records(blocks: Iterable[bytes]) -> bool:
    """Whether bytes begin with [ and {, in any encoding that contains ASCII, and in UTF-16 and UTF-32."""
    begun = b""
    for block in blocks:
        for mark in (codecs.BOM_UTF8, *_UTF16_MARKS):
            block = block.removeprefix(mark) if not begun else block
        begun = (begun + block.replace(b"\0", b"")).translate(None, b" \t\r\n")
        if len(begun) >= 2:
            break
    return begun.startswith(b"[{")


def _blocks(stream: BufferedIOBase) -> Iterator[bytes]:
    """The bytes of a stream as they arrive, at most a block at a time; does not wait to fill a block."""
    while block := stream.read1(_BLOCK_BYTES):
        yield block


def text_blocks(file: TextFile, encoding: str) -> Iterator[str]:
    """The decoded text of a file, in blocks.

    Raises CorpusError for an invalid byte, with its offset in the (decompressed) file, and for binary input.
    """
    return _decode_blocks(raw_blocks(file), file.name, encoding)


def decode_stream(stream: BufferedIOBase, name: str, encoding: str) -> Iterator[str]:
    """The decoded text of an open stream, as it arrives.

    name: how error messages refer to the stream.

    Raises CorpusError as text_blocks does.
    """
    try:
        yield from _decode_blocks(_blocks(stream), name, encoding)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror or error}; it must be readable") from error


def _decode_blocks(blocks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    has_escapes = not codecs.lookup(encoding).name.startswith("utf-8")
    num_read = 0
    first = True
    for block in itertools.chain(blocks, [b""]):
        if num_read == 0:
            _refuse_magic(block, name, encoding)
        num_read += len(block)
        text, error = _decode_block(decoder, block, num_read, name, encoding)
        if first and text:
            if _looks_binary(text, share=0.2):
                raise CorpusError(f"{name}: {_NOT_TEXT.format(encoding=encoding)}")
            text = text.removeprefix("\ufeff")
            first = False
        if has_escapes and not is_utf8(text):
            raise CorpusError(f"{name}: decodes to a lone surrogate; is its encoding really {encoding}?")
        if text:
            yield text
        if error is not None:
            raise error


def _decode_block(
    decoder: codecs.IncrementalDecoder, block: bytes, num_read: int, name: str, encoding: str
) -> tuple[str, CorpusError | None]:
    """Decode the next block. Returns the text before the first error, and the error or None.

    num_read: bytes read so far, this block included. An empty block marks the end of the file, where an
    incomplete character is an error.
    """
    before = decoder.getstate()
    try:
        return decoder.decode(block, final=not block), None
    except UnicodeDecodeError as error:
        held = bytes(error.object)  # bytes that the decoder kept from earlier blocks, and this block
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
    except UnicodeError as error:  # about the whole text, such as UTF-16 without a byte-order mark
        return "", CorpusError(f"{name}: is not {encoding} ({error}); name its encoding with --encoding")


def _refuse_magic(block: bytes, name: str, encoding: str) -> None:
    for magic, meaning in _MAGIC_NUMBERS.items():
        # A text may begin with the letters of an ASCII magic number, but then it has no control bytes.
        if block.startswith(magic) and (not magic.isascii() or _has_control_bytes(block)):
            raise CorpusError(f"{name}: {meaning}")
    if block.startswith(_UTF16_MARKS) and "utf-8" in codecs.lookup(encoding).name:
        raise CorpusError(f"{name}: UTF-16, not {encoding}; use --encoding utf-16")


def _has_control_bytes(block: bytes) -> bool:
    """Whether a block has control bytes that occur in no text encoding except UTF-16 and UTF-32."""
    return any(code in block for code in (*range(9), *range(14, 27)))


def _looks_binary(text: str, share: float) -> bool:
    """Whether more than this share are control characters rare in text; False for a very short text."""
    unusual = sum(text.count(chr(code)) for code in (*range(9), *range(14, 27), *range(28, 32), 127))
    return len(text) >= 64 and unusual > share * len(text)
