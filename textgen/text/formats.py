"""Reading text from files: kinds of file, compression and encoding.

Everything is read in blocks. Text is kept exactly, including "\\r\\n" and NUL; only a byte-order mark at the
start of a file is dropped.
"""

from __future__ import annotations

import codecs
import itertools
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase, RawIOBase
from pathlib import Path

from textgen.errors import CorpusError
from textgen.text.compression import COMPRESSED_ENDINGS, decompressed, is_compressed

# The files that are read from a folder; also compressed. An ending of a compression alone means text.
KNOWN_ENDINGS = (".txt", ".text", ".md", ".rst", ".jsonl", ".csv", ".tsv", ".parquet")
_RECORD_ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet")

_BLOCK_BYTES = 2**16
_COMPRESSED_AGAIN = "damaged, or compressed twice; compress it again, once"
_MAGIC_NUMBERS = {
    b"\x1f\x8b": _COMPRESSED_AGAIN,
    b"BZh": _COMPRESSED_AGAIN,
    b"\xfd7zXZ\x00": _COMPRESSED_AGAIN,
    b"\x28\xb5\x2f\xfd": _COMPRESSED_AGAIN,
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"%PDF-": "a PDF; extract its text first",
    b"\x89PNG\r\n": "a PNG image, not text",
    b"\xff\xd8\xff": "a JPEG image, not text",
    b"GIF8": "a GIF image, not text",
    b"\x7fELF": "a program, not text",
    b"SQLite format 3\x00": "an SQLite database, not text",
    b"\x93NUMPY": "a NumPy array, not text",
    b"PAR1": "a Parquet file; name a file that ends in .parquet, since it cannot be read from a pipe",
}
_ANY_MAGIC = tuple(_MAGIC_NUMBERS)
_RARE_IN_TEXT = bytes((*range(9), *range(14, 27), *range(28, 32), 127))
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first begins as a mark of UTF-16
_NOT_TEXT = (
    "looks binary, not text; if it is text in an encoding other than {encoding}, name it with --encoding"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the reading of a file can begin that is not compressed.

    byte: its offset. held, state: of the decoder there, as its method getstate returns them. skip: characters
    after that to leave out. In a Parquet file `byte` is the number of a group of rows, and no other counts.
    """

    byte: int
    held: bytes = b""
    state: int = 0
    skip: int = 0

    def after(self, characters: int) -> Place:
        """The place so many characters further on."""
        return Place(self.byte, self.held, self.state, self.skip + characters)


@dataclass(frozen=True, slots=True)
class TextFile:
    """One file of the corpus; the name says what is in it, its first bytes whether that is compressed.

    name: how error messages refer to it. is_text: it is plain text, whatever its path ends in. ending: as
    ending_of. place: where the text begins that is read, after a line or record, or anywhere in a text that
    is one document; None: at the beginning. There may be very many: the path is better a string, and endings
    are kept once.
    """

    path: str | Path
    name: str
    is_text: bool = False
    place: Place | None = None
    ending: str = field(init=False)

    def __post_init__(self) -> None:
        ending = "" if self.is_text else ending_of(os.path.basename(self.path))  # noqa: PTH119
        object.__setattr__(self, "ending", sys.intern(ending))

    @property
    def is_compressed(self) -> bool:
        """Whether its content is compressed. Raises CorpusError when it cannot be read."""
        return is_compressed(next(self._stored_blocks(), b""))

    @property
    def format(self) -> str:
        """`text`, `jsonl`, `json`, `csv`, `tsv` or `parquet`, by its name.

        A .json file is `json` when it begins as an array of objects, else `text`; a pipe, which can be read
        only once, is `text` too. Raises CorpusError when it cannot be read.
        """
        ending = self.ending
        if ending == ".json" and not Path(self.path).is_fifo():
            return "json" if _begins_as_json_records(raw_blocks(self)) else "text"
        return ending[1:] if ending in _RECORD_ENDINGS else "text"

    @property
    def stamp(self) -> bytes:
        """What differs after the file was written: its size and times. Raises CorpusError."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 (a Path takes time)
        except OSError as error:
            raise CorpusError(f"{self.name}: {error.strerror or error}; it must be readable") from error
        return struct.pack("<4q", found.st_ino % 2**63, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _stored_blocks(self, byte: int = 0) -> Iterator[bytes]:
        try:
            with open(self.path, "rb", buffering=0) as raw:  # noqa: PTH123 (a Path takes time)
                if byte:
                    raw.seek(byte)
                yield from _blocks(raw)
        except OSError as error:
            raise CorpusError(f"{self.name}: {error.strerror or error}; it must be readable") from error


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, without that of a compression; empty if there is none.

    The ending of a compression alone counts as .txt.
    """
    endings = [f".{ending}" for ending in name.lower().lstrip(".").split(".")[1:]]
    if endings and endings[-1] in COMPRESSED_ENDINGS:
        return endings[-2] if len(endings) > 1 else ".txt"
    return endings[-1] if endings else ""


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
    return decompressed(file._stored_blocks(), file.name)


def looks_like_text(file: TextFile) -> bool:
    """Whether a file begins like text in some encoding; False when it is empty or cannot be read."""
    try:
        begun = next(raw_blocks(file), b"")
        _refuse_magic(begun, file.name, "latin-1")
    except CorpusError:
        return False
    if begun.startswith((*_UTF16_MARKS, *_UTF32_MARKS)):
        return True
    return bool(begun) and b"\0" not in begun and not _looks_binary(begun.decode("latin-1"), share=0.05)


def _begins_as_json_records(blocks: Iterable[bytes]) -> bool:
    """Whether bytes begin with [ and {, in any encoding that contains ASCII, and in UTF-16 and UTF-32."""
    begun = b""
    for block in blocks:
        for mark in (codecs.BOM_UTF8, *_UTF32_MARKS, *_UTF16_MARKS):
            block = block.removeprefix(mark) if not begun else block
        begun = (begun + block.replace(b"\0", b"")).translate(None, b" \t\r\n")
        if len(begun) >= 2:
            break
    return begun.startswith(b"[{")


def _blocks(stream: BufferedIOBase | RawIOBase) -> Iterator[bytes]:
    """The bytes of a stream as they arrive, at most a block at a time; does not wait to fill a block."""
    read = stream.read1 if isinstance(stream, BufferedIOBase) else stream.read
    while block := read(_BLOCK_BYTES):
        yield block


def text_blocks(file: TextFile, encoding: str) -> Iterator[str]:
    """The decoded text of a file from its place on, in blocks.

    Raises CorpusError for an invalid byte, with its offset in the (decompressed) file, and for binary input.
    """
    if file.place is None:
        return _decode_blocks(raw_blocks(file), file.name, encoding)
    return (text for _, text in placed_blocks(file, encoding))


def placed_blocks(file: TextFile, encoding: str) -> Iterator[tuple[Place, str]]:
    """As text_blocks, each block with the place where it begins; for a file that is not compressed."""
    place = file.place
    if place is None:
        yield from _placed_blocks(file._stored_blocks(), file.name, encoding)
        return
    skip = place.skip
    for begins, text in _placed_blocks(file._stored_blocks(place.byte), file.name, encoding, place):
        if skip < len(text):
            yield begins.after(skip), text[skip:]
        skip = max(0, skip - len(text))


def decode_stream(stream: BufferedIOBase, name: str, encoding: str) -> Iterator[str]:
    """The decoded text of an open stream, decompressed if need be, as it arrives.

    name: how error messages refer to the stream.

    Raises CorpusError as text_blocks does.
    """
    try:
        yield from _decode_blocks(decompressed(_blocks(stream), name), name, encoding)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror or error}; it must be readable") from error


def _decode_blocks(blocks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    return (text for _, text in _placed_blocks(blocks, name, encoding))


def _placed_blocks(
    blocks: Iterable[bytes], name: str, encoding: str, place: Place | None = None
) -> Iterator[tuple[Place, str]]:
    """The text of each block of bytes, and where it begins.

    place: where the bytes begin; None: at the beginning of the file. A byte-order mark there is left out.
    """
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    has_escapes = not codecs.lookup(encoding).name.startswith("utf-8")
    num_read = 0
    first = place is None
    if place is not None:
        decoder.setstate((place.held, place.state))
        num_read = place.byte
    for block in itertools.chain(blocks, [b""]):
        if num_read == 0:
            _refuse_magic(block, name, encoding)
        begins = Place(num_read, *decoder.getstate())
        num_read += len(block)
        text, error = _decode_block(decoder, block, num_read, name, encoding)
        if first and text:
            if _looks_binary(text, share=0.2):
                raise CorpusError(f"{name}: {_NOT_TEXT.format(encoding=encoding)}")
            begins = begins.after(int(text.startswith("\ufeff")))
            text = text.removeprefix("\ufeff")
            first = False
        if has_escapes and not is_utf8(text):
            raise CorpusError(f"{name}: decodes to a lone surrogate; is its encoding really {encoding}?")
        if text:
            yield begins, text
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
    if block.startswith(_ANY_MAGIC):
        for magic, meaning in _MAGIC_NUMBERS.items():
            # A text may begin with the letters of an ASCII magic number, but then it has no control bytes.
            if block.startswith(magic) and (not magic.isascii() or _has_control_bytes(block)):
                raise CorpusError(f"{name}: {meaning}")
    if block.startswith((*_UTF16_MARKS, *_UTF32_MARKS)) and "utf-8" in codecs.lookup(encoding).name:
        found = "UTF-32" if block.startswith(_UTF32_MARKS) else "UTF-16"
        raise CorpusError(f"{name}: {found}, not {encoding}; use --encoding {found.lower()}")


def _has_control_bytes(block: bytes) -> bool:
    """Whether a block has control bytes that occur in no text encoding except UTF-16 and UTF-32."""
    return any(code in block for code in (*range(9), *range(14, 27)))


def _looks_binary(text: str, share: float) -> bool:
    """Whether more than this share are control characters rare in text; False for a very short text."""
    if len(text) < 64:
        return False
    utf8 = text.encode("utf-8", "surrogatepass")  # where a control character is one byte
    return len(utf8) - len(utf8.translate(None, _RARE_IN_TEXT)) > share * len(text)
