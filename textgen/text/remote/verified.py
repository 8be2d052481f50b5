"""Fetches files whose size and digests are known before: each appears whole and right, or not at all.

A server that does not answer, or that sends other bytes, is asked again after a wait.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import CorpusError
from textgen.system.atomic import move_file
from textgen.system.digests import block_digests
from textgen.system.locks import folder_lock
from textgen.text.remote.partial import PartialCopy, Report, fetch_in_parts
from textgen.text.remote.transfer import Unreachable
from textgen.text.remote.urls import public_url

WAITS: tuple[float, ...] = (1, 2, 4, 8, 15, 30, 60)  # seconds before each further try
MOST_WRONG = 2  # further tries where the bytes are wrong: a copy of a proxy may be, and then the next is too
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class WantedFile:
    """A file to fetch.

    path: where to put it. size: in bytes; None: at most most_bytes. blocks: the digest of each of its blocks
    of block_bytes.
    """

    url: str
    path: Path
    size: int | None
    blocks: tuple[str, ...]
    block_bytes: int
    most_bytes: int = 0

    @property
    def name(self) -> str:
        """Its URL without secrets."""
        return public_url(self.url)


class WrongBytesError(CorpusError):
    """A server has another file than the one that is wanted."""


def fetch_verified(wanted: WantedFile, report: Report) -> None:
    """Put a file in its place, unless it is there; what was fetched before is continued.

    Another process that fetches the same file is waited for. Raises CorpusError, OSError.
    """
    waits = list(WAITS)
    while True:
        try:
            if wanted.path.exists() or _fetch_alone(wanted, report):
                return
            wait = _POLL_SECONDS
        except Unreachable as error:
            if not waits:
                raise CorpusError(f"{error} (after {len(WAITS) + 1} tries)") from error
            wait = waits.pop(0)
        except WrongBytesError:
            if len(waits) <= len(WAITS) - MOST_WRONG:
                raise
            wait = waits.pop(0)
        time.sleep(wait)


def _fetch_alone(wanted: WantedFile, report: Report) -> bool:
    """Fetch a file, unless another process is fetching it; returns whether it is there."""
    folder = wanted.path.parent / f".{wanted.path.name}"
    with folder_lock(folder) as is_free:
        if not is_free:
            return False
        if not wanted.path.exists():  # another process may just have fetched it
            _fetch(wanted, PartialCopy(folder), report)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _fetch(wanted: WantedFile, partial: PartialCopy, report: Report) -> None:
    most = wanted.most_bytes if wanted.size is None else wanted.size
    received = partial.received
    if received == 0 or received != wanted.size:  # else only the last move is missing
        fetch_in_parts(wanted.url, None, partial, report, most)
    if wanted.size is not None and partial.received != wanted.size:
        received = partial.received
        partial.remove()
        raise WrongBytesError(f"{wanted.name}: has {received:,} bytes, not {wanted.size:,}; {_ADVICE}")
    if tuple(block_digests(partial.path, wanted.block_bytes)) != wanted.blocks:
        partial.remove()
        raise WrongBytesError(f"{wanted.name}: its bytes have another digest than in the manifest; {_ADVICE}")
    move_file(partial.path, wanted.path)


_ADVICE = "put there what textgen encode made"
