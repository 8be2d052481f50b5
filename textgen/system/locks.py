"""Locks that end with the process that holds them, even if it is killed.

They tell what a living process is writing or reading from what a killed one left behind; a process number in
a name would not, because numbers are used again, and differ between containers.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textgen.system.links import open_own

try:
    import fcntl
except ImportError:  # Windows, which locks bytes of a file, but no folders
    import msvcrt

    fcntl = None  # type: ignore[assignment]


_ABANDONED_SECONDS = 24 * 60 * 60


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Lock a folder during the block; yields whether the lock was free, False if another process holds it.

    Always True where the file system has no locks. Raises OSError when the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Neither through a link nor waiting for a named pipe: a stranger's run may hold either under this name.
    with open_own(folder / "lock", "w") as file:
        if fcntl is None:
            yield _acquire_first_byte(file.fileno())
        else:
            yield _acquire(file.fileno()) is not False


@contextmanager
def locked_temporary(create: Callable[[], Path]) -> Iterator[Path]:
    """Yield a new file or folder, made by `create`, that other processes see as being written in the block.

    Moving it does not end the lock. Without locks it is yielded all the same.
    """
    while True:
        path = create()
        descriptor = _open(path)
        # Before it is locked, another process may take it for a leftover and remove it: then another is made.
        if descriptor is None:
            if fcntl is None or path.exists():
                break
        elif _acquire(descriptor) is not False and _is_at(descriptor, path):
            break
        else:
            os.close(descriptor)
    try:
        yield path
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_while_alive(owner: object, path: Path) -> None:
    """Mark a file or folder as being read for as long as an object lives, or its process.

    Does nothing where there are no locks, or where nothing can be told about the life of the object (str).
    """
    descriptor = _open(path)
    if descriptor is None:
        return
    _acquire(descriptor, shared=True)
    try:
        weakref.finalize(owner, os.close, descriptor).atexit = False
    except TypeError:
        os.close(descriptor)


def is_locked(path: Path) -> bool | None:
    """Whether a process is writing or reading a file or folder; None where there are no locks to tell."""
    descriptor = _open(path)
    if descriptor is None:
        return None
    try:
        acquired = _acquire(descriptor)
        return None if acquired is None else not acquired
    finally:
        os.close(descriptor)


def remove_unless_locked(path: Path, *, without_locks: bool | None = None) -> bool:
    """Remove a file or folder that no process is writing or reading; returns whether it is gone.

    without_locks: whether to remove it where there are no locks to tell; None: if it has not changed for a
    day. What cannot be removed is left.
    """
    descriptor = _open(path)
    try:
        acquired = None if descriptor is None else _acquire(descriptor)
        if acquired is None:
            acquired = idle_seconds(path) > _ABANDONED_SECONDS if without_locks is None else without_locks
        if not acquired or not (descriptor is None or _is_at(descriptor, path)):
            return not path.exists()
        try:
            return _remove(path)
        except OSError:
            return not path.exists()
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove(path: Path) -> bool:
    """Remove a file or folder; returns whether all of it is gone. Raises OSError where nothing is."""
    if not path.is_dir():
        path.unlink()
        return True
    if not path.name.startswith("."):
        # Out of sight first, so that never half of it is left; Windows refuses while a file of it is open.
        hidden = path.with_name(f".{path.name}.removed")
        shutil.rmtree(hidden, ignore_errors=True)
        path = path.rename(hidden)
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def idle_seconds(path: Path) -> float:
    """How long a file, or a folder and what is in it, has not changed; 0 if it is gone."""
    try:
        entries = path.iterdir() if path.is_dir() else ()
        latest: float = max(entry.stat().st_mtime for entry in (path, *entries))
        return time.time() - latest
    except OSError:  # another process has just moved or removed it
        return 0.0


def _open(path: Path) -> int | None:
    """A descriptor to lock a file or folder by; None where there are no locks, or it is neither, or gone."""
    if fcntl is None:  # Windows, where an open file can also not be moved
        return None
    with suppress(OSError):
        if stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            return os.open(path, os.O_RDONLY)
    return None


def _acquire(descriptor: int, *, shared: bool = False) -> bool | None:
    """Lock; False if another process holds the lock, None if the file system has none (NFS).

    A shared lock waits, because exclusive ones are held only while a file is looked at, moved or removed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _acquire_first_byte(descriptor: int) -> bool:
    """The lock of a file on Windows; False if another process holds it."""
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
