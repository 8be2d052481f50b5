"""Decompression of bytes that arrive in blocks; the first bytes say how they are compressed, if at all."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from textgen.errors import CorpusError

# A file name ends in one of these after the ending of what is inside.
COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zst")

_BLOCK_BYTES = 2**16
_ZSTD_WINDOW_LOG = 31  # the largest there is: archives that were made with --long need it


class _Decompressor(Protocol):
    """Decompresses one stream, with the interface of those in the standard library.

    needs_input: whether there is no more to come before the next input. eof: whether the stream has ended.
    unused_data: the input beyond its end.
    """

    @property
    def needs_input(self) -> bool: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompress some more, to at most max_length bytes; only with needs_input is there new data."""


class _Gzip:
    """zlib's decompressor for gzip, with the interface of those for bzip2 and xz."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # A full block may leave more inside the decompressor.
        self.needs_input = not self._inner.unconsumed_tail and len(found) < max_length
        return found

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _zstd(name: str) -> tuple[Callable[[], _Decompressor], type[Exception]]:
    """What makes a decompressor for zstd, and its error. Raises CorpusError when no library is there."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise CorpusError(
            f"{name}: zstd-compressed, which needs another package: pip install 'textgen[zstd]'"
        ) from None
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError


class _Compression(NamedTuple):
    """One kind of compression. magic: how a stream begins, one of these. find: given a file's name."""

    kind: str
    magic: tuple[bytes, ...]
    find: Callable[[str], tuple[Callable[[], Any], type[Exception]]]


_SKIPPABLE = tuple(bytes([number]) + b"*M\x18" for number in range(0x50, 0x60))  # zstd's frames of no text
_COMPRESSIONS = (
    _Compression("gzip", (b"\x1f\x8b\x08",), lambda name: (_Gzip, zlib.error)),
    # A digit is the size of its blocks; an empty stream has none.
    _Compression(
        "bzip2",
        tuple(b"BZh%d" % size + next for size in range(1, 10) for next in (b"1AY&SY", b"\x17rE8P\x90")),
        lambda name: (bz2.BZ2Decompressor, OSError),
    ),
    _Compression("xz", (b"\xfd7zXZ\0",), lambda name: (lzma.LZMADecompressor, lzma.LZMAError)),
    _Compression("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), _zstd),
)
_MAGIC = tuple(magic for compression in _COMPRESSIONS for magic in compression.magic)
_FIRST_BYTES = frozenset(magic[0] for magic in _MAGIC)


def is_compressed(beginning: bytes) -> bool:
    """Whether bytes begin as those of a compressed file do."""
    return beginning.startswith(_MAGIC)


def decompressed(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The content of a file whose bytes arrive in blocks: decompressed, or as it is if it is not compressed.

    name: how error messages refer to the file. Waits for another block only while the first bytes may become
    those of a compressed file.

    Raises CorpusError for a file that is damaged or cut short, and for zstd where no library reads it.
    """
    rest = iter(blocks)
    begun = next(rest, b"")
    if begun and begun[0] in _FIRST_BYTES:
        while not begun.startswith(_MAGIC) and any(magic.startswith(begun) for magic in _MAGIC):
            if not (more := next(rest, b"")):
                break
            begun += more
        for compression in _COMPRESSIONS:
            if begun.startswith(compression.magic):
                yield from _streams(compression, begun, rest, name)
                return
    if begun:
        yield begun
    yield from rest


def _streams(compression: _Compression, data: bytes, rest: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The content of one or more compressed streams, which may have zeros between and after them."""
    make, error_class = compression.find(name)
    damaged = f"{name}: damaged {compression.kind} file ({{}}); compress it again"
    decompressor = None
    while data or (data := next(rest, b"")):
        if decompressor is None:
            data = data.lstrip(b"\0")
            if not data:
                continue
            decompressor = make()
        try:
            found = decompressor.decompress(data, _BLOCK_BYTES)
            while not decompressor.eof and not decompressor.needs_input:
                if found:
                    yield found
                found = decompressor.decompress(b"", _BLOCK_BYTES)
        except error_class as error:
            raise CorpusError(damaged.format(error)) from error
        if found:
            yield found
        data = b""
        if decompressor.eof:
            data, decompressor = decompressor.unused_data, None
    if decompressor is not None:
        raise CorpusError(damaged.format("it is cut short"))
