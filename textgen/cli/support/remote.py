"""Texts that the user did not name as a file: those at URLs, and those that a run names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textgen.system.progress import Reporter
    from textgen.text.remote.texts import RemoteTexts


def announce(line: str) -> None:
    """Print on standard error which files are read that a run names, and not the user."""
    print(line, file=sys.stderr)


def remote_texts(
    cache_dir: str | None, reporter: Reporter, *, fetch: bool = False, cache_size: int | None = None
) -> RemoteTexts:
    """How URLs become local files, by --cache-dir, --fetch and --cache-size."""
    from textgen.text.remote.texts import RemoteTexts
    from textgen.text.store import default_cache_dir

    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    return RemoteTexts(cache, fetch, reporter.work, cache_size)


def fetched_file(file: str, cache_dir: str | None, reporter: Reporter) -> tuple[str, Mapping[str, Path]]:
    """A FILE by the name that may be shown, and the local file of that name where it is a URL.

    cache_dir: as --cache-dir gives it. Prints on standard error what the user should know.

    Raises CorpusError.
    """
    from textgen.text.remote.urls import is_url

    if not is_url(file):
        return file, {}
    copy = remote_texts(cache_dir, reporter).given(file)
    if copy.note is not None:
        print(copy.note, file=sys.stderr)
    return copy.url, {copy.url: copy.path}
