"""Atomic writes: to a temporary name first, flushed to disk, then renamed into place.

A reader sees the old content or the new one, never a part, even if the writer is killed at any moment.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from textgen.system.links import open_own

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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

    An existing file keeps its permissions, and its owner as far as this process may set it.
    """
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file readable by its owner only, but a run may be shared.
        mode = 0o666 & ~_umask()
        if path.exists():
            status = path.stat()
            mode = status.st_mode & 0o777
            with suppress(OSError, AttributeError):  # somebody else's file; Windows
                os.chown(name, status.st_uid, status.st_gid)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _flush(path.parent)


def move_file(source: Path, target: Path) -> None:
    """Move a complete file to target on the same file system, replacing what was there. Raises OSError."""
    _flush(source)
    source.replace(target)
    _flush(target.parent)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Lock a folder during the block; yields whether the lock was free, False if another process holds it.

    The lock ends with the process, even if it is killed. Always True where the system or the file system has
    no locks. Raises OSError when the folder cannot be written to.
    """
    if fcntl is None:
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Not truncated, and without waiting: there may be a link or a named pipe under this name.
    with open_own(folder / "lock", "w") as file:
        acquired = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            acquired = False
        except OSError:  # some network file systems have no locks
            pass
        yield acquired


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it is moved to path when the block ends, or removed if the block fails.

    Raises FileExistsError when path exists by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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
