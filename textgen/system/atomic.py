"""Atomic writes: to a temporary name first, flushed to disk, then renamed into place.

A reader sees the old content or the new one, never a part, even if the writer is killed at any moment. The
temporary name is the final one between two dots, and a random suffix. It is locked as long as its writer
lives, which tells what a killed one left behind from what is being written.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from textgen.system.locks import locked_temporary, remove_unless_locked

_ON_WINDOWS = os.name == "nt"
_WAIT_SECONDS = 5.0  # for a process that reads a file which is to be replaced, on Windows


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    is_folder = path.is_dir()
    # Errors of a folder are ignored: some file systems cannot flush one, and Windows, or a folder that may be
    # written to but not listed, does not even let us open it. The rename is atomic all the same.
    with suppress(OSError) if is_folder else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_file(path: Path, content: bytes | str) -> None:
    """Write content to path, replacing what was there, or change nothing and raise OSError.

    An existing file keeps its permissions, and its owner as far as this process may set it. What processes
    left that were killed while they wrote it is removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{8 * '?'}"):
        remove_unless_locked(left)
    data = content.encode() if isinstance(content, str) else content
    with locked_temporary(lambda: _new_file(path)) as temporary:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # A temporary file is readable by its owner only, but a run may be shared.
            mode = 0o666 & ~_umask()
            if path.exists():
                status = path.stat()
                mode = status.st_mode & 0o777
                with suppress(OSError, AttributeError):  # somebody else's file; Windows
                    os.chown(temporary, status.st_uid, status.st_gid)
            temporary.chmod(mode)
            _replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _flush(path.parent)


def _new_file(path: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    return Path(name)


def move_file(source: Path, target: Path) -> None:
    """Move a complete file to target on the same file system, replacing what was there. Raises OSError."""
    _flush(source)
    _replace(source, target)
    _flush(target.parent)


def _replace(source: Path, target: Path) -> None:
    """Move a file over another. Windows refuses that while a process reads the other: wait for it to end."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError as error:
            if not _ON_WINDOWS or time.monotonic() > deadline:
                raise PermissionError(error.errno, error.strerror, str(target)) from error
        time.sleep(0.05)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it is moved to path when the block ends, or removed if the block fails.

    Raises FileExistsError when path exists by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_temporary(
        lambda: Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    ) as building:
        try:
            building.chmod(0o777 & ~_umask())
            yield building
            for entry in (*building.rglob("*"), building):
                _flush(entry)
            try:
                building.rename(path)
            except OSError as error:
                if path.exists():
                    raise FileExistsError(f"{path} exists") from error
                raise
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    _flush(path.parent)
