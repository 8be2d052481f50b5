"""A write is whole or absent: under a temporary name first, flushed to the disk, then renamed into place.

A reader, or a process killed at any moment, sees the old content or the new one, never a part.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def _flush(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    is_folder = path.is_dir()
    # Some file systems cannot flush a folder, Windows opens none, and of one that may be written but not
    # listed neither can be asked; the rename is atomic all the same.
    with suppress(OSError) if is_folder else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_file(path: Path, content: bytes | str) -> None:
    """Put content at path, replacing what was there, or leave everything as it was and raise OSError.

    Who may read and write a file that was there stays so, as far as this process may say it.
    """
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; a run is the user's to share.
        mode = 0o666 & ~_umask()
        if path.exists():
            status = path.stat()
            mode = status.st_mode & 0o777
            with suppress(OSError, AttributeError):  # another's file; Windows
                os.chown(name, status.st_uid, status.st_gid)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Whether this process is the only one in the block for this folder; the system frees it when one dies.

    Where the system, or the file system, has no such lock, it is always True. Raises OSError when the folder
    cannot be written to.
    """
    if fcntl is None:
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:  # some network file systems have none
            pass
        yield alone


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A folder to fill: it appears at path, whole, when the block ends without an error, else not at all.

    Raises FileExistsError when path holds something by then.
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
