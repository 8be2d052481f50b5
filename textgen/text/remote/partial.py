"""A copy while it is fetched: over several connections where one is lost, each continuing the one before.

partial       the bytes that have arrived
partial.json  the version that they are of, and of which URL
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from textgen.errors import CorpusError
from textgen.system.atomic import write_file
from textgen.text.remote.transfer import Held, Transfer, Unreachable
from textgen.text.remote.urls import WEB, public_url

ATTEMPTS = 20  # of one fetch; each must have brought something new

Progress = Callable[[str, int, int], None]  # called with what is being done, the bytes done so far, the total
# Called with the bytes that have arrived and the size of the whole (None: the server does not say); at the
# end of each connection with 1, 1.
Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Entry:
    """What copy.json or partial.json says: of which version and URL, and how many bytes the whole has."""

    version: str | None
    size: int | None
    sha256: str = ""
    url: str = ""  # without secrets; "" in what earlier versions wrote

    @classmethod
    def read(cls, path: Path) -> Entry | None:
        """The entry of a file; None where it is missing or damaged."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write it to a file. Raises OSError."""
        write_file(path, json.dumps(asdict(self)))


class PartialCopy:
    """A copy that is being fetched, in a folder that only this process writes to."""

    def __init__(self, folder: Path) -> None:
        self.path, self._about = folder / "partial", folder / "partial.json"

    @property
    def received(self) -> int:
        """How many bytes are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str | None:
        """The version that these bytes are of; None: they cannot be continued."""
        entry = Entry.read(self._about)
        return None if entry is None or not self.received else entry.version

    def receive(self, url: str, transfer: Transfer, report: Report, most_bytes: int | None) -> None:
        """Write what a transfer brings, from its start on; the URL is without secrets.

        Raises Unreachable, and CorpusError for more than most_bytes.
        """
        if not transfer.start:
            self.remove()
            Entry(transfer.version, transfer.size, url=url).write(self._about)
        with self.path.open("r+b" if transfer.start else "wb") as file:
            file.truncate(transfer.start)
            file.seek(transfer.start)
            for block in transfer.blocks:
                file.write(block)
                if most_bytes is not None and file.tell() > most_bytes:
                    break
                report(file.tell(), transfer.size)
        if most_bytes is not None and self.received > most_bytes:
            self.remove()
            raise CorpusError(f"{url}: has more than {most_bytes:,} bytes, as it must not")

    def remove(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def partial_report(name: str, progress: Progress | None) -> Report:
    """A report that passes on what is fetched, where the server tells its size."""

    def report(done: int, total: int | None) -> None:
        if progress is not None and total is not None:
            progress(f"fetching {name}", done, total)

    return report


def fetch_in_parts(
    url: str, copy: str | None, partial: PartialCopy, report: Report, most_bytes: int | None = None
) -> Transfer | None:
    """Complete `partial`, over several connections where one is lost.

    copy: the version of the whole copy that there is; None: none. Returns None, and fetches nothing, when
    that is still the newest. most_bytes: of the whole; None: any number. Raises Unreachable, CorpusError.
    """
    for attempt in range(1, ATTEMPTS + 1):
        received = partial.received
        try:
            return _fetch_part(url, Held(copy, partial.version, received), partial, report, most_bytes)
        except Unreachable:
            if attempt == ATTEMPTS or partial.version is None or partial.received <= received:
                raise
    raise AssertionError


def _fetch_part(
    url: str, held: Held, partial: PartialCopy, report: Report, most_bytes: int | None
) -> Transfer | None:
    name = public_url(url)
    with _open(url, held) as transfer:
        if transfer.version is not None and transfer.version == held.copy:
            return None
        try:
            partial.receive(name, transfer, report, most_bytes)
        finally:
            report(1, 1)
    received = partial.received
    if transfer.size is not None and received < transfer.size:
        again = "try again" if transfer.version is None else "try again to continue"
        raise Unreachable(
            f"{name}: the connection ended after {received:,} of {transfer.size:,} bytes; {again}"
        )
    if transfer.size is not None and received > transfer.size:
        partial.remove()
        raise CorpusError(
            f"{name}: the server announced {transfer.size:,} bytes and sent {received:,}; try again"
        )
    return transfer


def _open(url: str, held: Held) -> AbstractContextManager[Transfer]:
    """The transfer of a URL by its protocol, whose library is loaded now."""
    if url.partition("://")[0].lower() in WEB:
        from textgen.text.remote.web import open_web

        return open_web(url, held)
    from textgen.text.remote.file_systems import open_file_system

    return open_file_system(url, held)
