"""Symbolic links in a folder that textgen writes to and deletes in: found first, and never followed.

A run that was copied from elsewhere may have links out of it, and what is written to it would go there.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any

from textgen.errors import RunError


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link in it, at any depth. The folder itself may be one. Raises RunError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            # A junction is Windows' link to a folder; DirEntry.is_junction is new in Python 3.12.
            if entry.is_symlink() or getattr(entry, "is_junction", bool)():
                raise _is_link(Path(entry.path))
            if entry.is_dir(follow_symlinks=False):
                refuse_links(Path(entry.path))


def open_own(path: Path, mode: str) -> IO[Any]:
    """Open a file, binary or UTF-8 text, that is textgen's own, not one that a link at its path leads to.

    Raises RunError for a link, and OSError.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():  # Windows
        raise _is_link(path)
    try:
        encoding = None if "b" in mode else "utf-8"
        return open(path, mode, encoding=encoding, opener=_without_following)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _is_link(path) from None
        raise


def _without_following(name: str, flags: int) -> int:
    # Without waiting: there may be a named pipe under this name.
    return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _is_link(path: Path) -> RunError:
    return RunError(
        f"{path}: a symbolic link, which is not followed here; put what it leads to there instead"
    )
