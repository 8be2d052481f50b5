"""What a protocol is asked for, and what it answers: the content of a URL, from a byte on.

Held(copy, partial, received)  ->  web.py or file_systems.py  ->  Transfer(version, size, start, blocks)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textgen.errors import CorpusError

TIMEOUT_SECONDS = 30.0  # without a byte
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Held:
    """What the cache already has of a URL.

    copy: the version of its whole copy; None: there is none. partial: the version of a copy that was cut
    short, of which the first `received` bytes are there; None: it cannot be continued.
    """

    copy: str | None = None
    partial: str | None = None
    received: int = 0


@dataclass(frozen=True)
class Transfer:
    """The content of a URL.

    version: another one means other content; None: the server does not say. It may be that of `Held.copy`,
    and then `blocks` need not be read. size: of the whole content, in bytes; None: the server does not say.
    start: the first byte that `blocks` gives; above 0 only where a partial copy of this version is continued.
    blocks: raises Unreachable where the connection is lost.
    """

    version: str | None
    size: int | None
    start: int
    blocks: Iterator[bytes]


class Unreachable(CorpusError):
    """A server that does not answer, or no longer; a copy from before, or another try, may do instead."""


def resume_from(held: Held) -> int:
    """The byte to continue a partial copy from.

    One byte is fetched again, so that something is left to ask for where all had arrived but was not yet in
    its place: a server refuses a range without bytes.
    """
    return max(held.received - 1, 0) if held.partial is not None else 0
