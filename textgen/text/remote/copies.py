"""Copies of remote texts in the cache, fetched once for every version of the text.

    <cache folder>/remote/
        <SHA-256 of the content>.txt.gz     the copy, with the endings of the original's name
        <SHA-256 of the URL>/
            copy.json                       URL, version and SHA-256 of the newest copy
            partial  partial.json           a copy that was cut short, and its version
            lock                            held by the process that writes here

A copy is complete when it appears. A version is what the server calls it: an ETag, or a date and a size.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import CorpusError
from textgen.system.atomic import move_file
from textgen.system.locks import folder_lock, locked_temporary, remove_unless_locked
from textgen.text.remote.partial import Entry, PartialCopy, Progress, fetch_in_parts, partial_report
from textgen.text.remote.transfer import Unreachable
from textgen.text.remote.urls import checked_url, endings, is_shortened, public_url

REMOTE = "remote"  # the folder of the copies in a cache folder
_UNUSED_SECONDS = 30 * 24 * 60 * 60
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteCopy:
    """A whole copy of a remote text.

    url: without secrets. shortened: whether the URL had a query or credentials, without which it may not be
    fetched again. note: what the user should know; None: nothing.
    """

    url: str
    path: Path
    sha256: str
    shortened: bool
    note: str | None = None


class RemoteCache:
    """The copies of remote texts in a cache folder.

    progress: called while a text is fetched whose size the server tells.
    """

    def __init__(self, cache_dir: Path, progress: Progress | None = None) -> None:
        self._folder = cache_dir / REMOTE
        self._progress = progress

    def find(self, url: str, sha256: str) -> Path | None:
        """The copy with this content under the endings of this URL; None when there is none.

        A damaged copy is removed.
        """
        assert _SHA256.fullmatch(sha256)
        path = self._folder / f"{sha256}{endings(url)}"
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    with suppress(OSError):  # a read-only cache can still be read
                        os.utime(path)
                    return path
            path.unlink()
        except OSError:
            pass
        return None

    def fetch(self, url: str) -> RemoteCopy:
        """The text of a URL as the server has it now; the cached copy if it has not changed.

        Where the server cannot be reached, the last copy, with a note. Raises CorpusError.
        """
        checked_url(url)
        folder = self._folder / hashlib.sha256(url.partition("#")[0].encode()).hexdigest()
        try:
            with _own_folder(folder) as own:
                return self._fetch(url, folder, PartialCopy(own))
        except OSError as error:
            raise CorpusError(
                f"{self._folder}: {error.strerror or error}; choose another folder with --cache-dir"
            ) from error

    def _fetch(self, url: str, folder: Path, partial: PartialCopy) -> RemoteCopy:
        copy = Entry.read(folder / "copy.json")
        found = None if copy is None or not _SHA256.fullmatch(copy.sha256) else self.find(url, copy.sha256)
        name, shortened = public_url(url), is_shortened(url)
        try:
            known = None if copy is None or not found else copy.version
            fetched = fetch_in_parts(url, known, partial, partial_report(name, self._progress))
        except Unreachable as error:
            if copy is None or found is None:
                raise
            note = f"{error}. Using the copy that was fetched before."
            return RemoteCopy(name, found, copy.sha256, shortened, note)
        if fetched is None:
            assert copy is not None
            assert found is not None
            with suppress(OSError):
                os.utime(folder / "copy.json")
            return RemoteCopy(name, found, copy.sha256, shortened)
        self._remove_unused()
        with partial.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = self._folder / f"{sha256}{endings(url)}"
        move_file(partial.path, path)
        Entry(fetched.version, fetched.size, sha256, name).write(folder / "copy.json")
        partial.remove()
        return RemoteCopy(name, path, sha256, shortened)

    def _remove_unused(self) -> None:
        """Remove copies, and what is known of URLs, that have not been used for thirty days."""
        for path in self._folder.iterdir():
            with suppress(OSError):  # another process has just removed it
                latest = max(entry.stat().st_mtime for entry in (path, *path.glob("*")))
                if time.time() - latest > _UNUSED_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass(frozen=True)
class FetchedUrl:
    """What the cache knows of a URL.

    folder: where it knows that. url: without secrets; "": unknown. sha256: of its copy; "": there is none.
    """

    folder: Path
    url: str
    sha256: str


def fetched_urls(remote: Path) -> list[FetchedUrl]:
    """All URLs that the folder of the copies knows of. Raises OSError."""
    found = []
    for folder in sorted(remote.iterdir()) if remote.is_dir() else ():
        if (
            folder.is_dir()
            and _SHA256.fullmatch(folder.name)
            and {path.name for path in folder.iterdir()} - {"lock"}
        ):
            entries = [Entry.read(folder / name) for name in ("copy.json", "partial.json")]
            url = next((entry.url for entry in entries if entry is not None), "")
            found.append(FetchedUrl(folder, url, "" if entries[0] is None else entries[0].sha256))
    return found


def forget_url(folder: Path) -> None:
    """Remove what is known of a URL; the caller holds the lock of its folder. Raises OSError."""
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()
    remove_unless_locked(folder, without_locks=True)  # Windows keeps it as long as its lock is held


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """A folder that only this process writes to: `folder`, or a temporary one while another has that."""
    with folder_lock(folder) as is_free:
        if is_free:
            yield folder
            return
        with locked_temporary(lambda: Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder.parent))) as own:
            try:
                yield own
            finally:
                shutil.rmtree(own, ignore_errors=True)
