"""Small files, read up to a limit and only where they are files, as a stranger's run may hold anything.

A device can be endless, and opening a named pipe waits until somebody writes to it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MEGABYTE = 10**6  # bytes
SETTINGS_LIMIT = 1 * MEGABYTE
RUN_FILE_LIMIT = 16 * MEGABYTE  # config.json names every file of the corpus
PROMPT_LIMIT = 64 * MEGABYTE
TOKENIZER_LIMIT = 100 * MEGABYTE
DEEPEST_NESTING = 100  # of the content of a JSON or TOML file; ours have less than 10
_BLOCK_BYTES = 2**20  # Python handles Ctrl-C between two blocks


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting. Raises OSError, also for anything else."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "not a regular file", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """The content of a regular file of at most `limit` bytes; `what` says in messages what it is.

    Raises OSError, whose strerror is for the user, also for a larger file and for anything but a file.
    """
    with open_regular(path) as file:
        return read_at_most(file.read, limit, what)


def read_at_most(read: Callable[[int], bytes], limit: int, what: str) -> bytes:
    """All that a stream's method `read` gives; the other arguments and the error are as in read_bounded."""
    blocks, size = [], 0
    while block := read(_BLOCK_BYTES):
        size += len(block)
        if size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit // MEGABYTE} MB, the most for {what}")
        blocks.append(block)
    return b"".join(blocks)


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also for one that is nested too deeply."""
    return _parsed(json.loads, content)


def parse_toml(content: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ValueError, also for one that is nested too deeply."""
    tables: dict[str, Any] = _parsed(tomllib.loads, content)
    return tables


def _parsed(parse: Callable[[Any], Any], content: str | bytes) -> Any:
    try:
        value = parse(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _refuse_deep(value)
    return value


def _refuse_deep(value: Any) -> None:
    """Raise ValueError for lists and dicts that are nested too deeply to be compared or printed."""
    inside = [value]
    for _ in range(DEEPEST_NESTING):
        found = [each for each in inside if isinstance(each, dict | list)]
        inside = [child for each in found for child in (each.values() if isinstance(each, dict) else each)]
        if not inside:
            return
    raise ValueError("nested too deeply")
