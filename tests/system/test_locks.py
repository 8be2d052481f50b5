"""What a living process writes or reads is kept, what a killed one left is removed; with real processes."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from textgen.errors import RunError
from textgen.system.locks import (
    folder_lock,
    idle_seconds,
    is_locked,
    lock_while_alive,
    locked_temporary,
    remove_unless_locked,
)

WRITERS = {
    "file": "import os; os.fsync = lambda _: (print(flush=True), time.sleep(60)); write_file(Path('a'), 'b')",
    "folder": "with new_directory(Path('a')): print(flush=True); time.sleep(60)",
}


@contextmanager
def writing(code: str, folder: Path) -> Iterator[Path]:
    """The temporary file or folder of a process that has begun to write; it is killed afterwards."""
    imports = (
        "import time; from pathlib import Path; from textgen.system.atomic import write_file, new_directory\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", imports + code],
        cwd=folder,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        (temporary,) = folder.iterdir()
        try:
            yield temporary
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", WRITERS)
def test_what_a_process_writes_is_removed_when_it_is_killed_and_not_before(kind: str, tmp_path: Path) -> None:
    with writing(WRITERS[kind], tmp_path) as temporary:
        os.utime(temporary, (1, 1))
        assert is_locked(temporary)
        assert not remove_unless_locked(temporary)
        assert temporary.exists()
    assert is_locked(temporary) is False
    assert remove_unless_locked(temporary)
    assert list(tmp_path.iterdir()) == []


class Value:
    """Something that was read."""


def test_what_is_read_is_kept_as_long_as_the_value_lives(tmp_path: Path) -> None:
    value, other = Value(), Value()
    for owner in (value, other, "a string, whose life cannot be followed"):
        lock_while_alive(owner, tmp_path)
    del value
    gc.collect()
    assert is_locked(tmp_path)
    del other
    gc.collect()
    assert not is_locked(tmp_path)


def test_writers_and_removers_at_once_lose_nothing(tmp_path: Path) -> None:
    """A file that is removed in the moment before it is locked is made again under another name."""
    ended = threading.Event()

    def remove() -> None:
        while not ended.is_set():
            for path in tmp_path.iterdir():
                remove_unless_locked(path)

    removers = [threading.Thread(target=remove) for _ in range(3)]
    for remover in removers:
        remover.start()
    try:
        for number in range(300):
            made: list[Path] = []

            def create(made: list[Path] = made, number: int = number) -> Path:
                made.append(tmp_path / f"{number}-{len(made)}")
                made[-1].touch()
                return made[-1]

            with locked_temporary(create) as path:
                assert path == made[-1]
                time.sleep(0.0002)
                assert path.exists()
    finally:
        ended.set()
        for remover in removers:
            remover.join()


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr("textgen.system.locks.fcntl", None)


def on_a_file_system_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


def test_on_windows_a_folder_is_locked_by_a_byte_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    locked: set[tuple[int, int]] = set()

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(descriptor: int, mode: int, num_bytes: int) -> None:
            status = os.fstat(descriptor)
            assert (mode, num_bytes) == (2, 1)
            if (key := (status.st_dev, status.st_ino)) in locked:
                raise PermissionError(13, "Permission denied")
            locked.add(key)

    monkeypatch.setattr("textgen.system.locks.msvcrt", Msvcrt, raising=False)
    with folder_lock(tmp_path) as first, folder_lock(tmp_path) as second:
        assert (first, second) == (True, False)


def test_a_folder_that_the_system_does_not_let_go_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, while a process has one of its files open."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()

    def refuse(source: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(source))

    with monkeypatch.context() as windows:
        windows.setattr(Path, "rename", refuse)
        assert not remove_unless_locked(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").exists()
    (tmp_path / ".folder.removed").mkdir()  # of a process that was killed
    assert remove_unless_locked(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("system", [without_locks, on_a_file_system_without_locks])
def test_without_locks_what_has_not_changed_for_a_day_is_removed(
    system: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(monkeypatch)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    lock_while_alive(Value(), folder)
    assert is_locked(folder) is None
    assert not remove_unless_locked(folder)
    os.utime(folder, (1, 1))
    assert not remove_unless_locked(folder)
    os.utime(folder / "file", (1, 1))
    assert idle_seconds(folder) > 1e9
    assert not remove_unless_locked(folder, without_locks=False)
    assert remove_unless_locked(folder)
    folder.mkdir()
    assert remove_unless_locked(folder, without_locks=True)
    assert remove_unless_locked(folder), "it is gone already"


def test_only_one_process_gets_the_lock_but_all_do_where_the_file_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_lock(tmp_path) as first, folder_lock(tmp_path) as second:
        assert (first, second) == (True, False)
    on_a_file_system_without_locks(monkeypatch)
    with folder_lock(tmp_path) as acquired:
        assert acquired


@pytest.mark.skipif(os.name != "posix", reason="links and named pipes as POSIX has them")
def test_a_lock_neither_empties_a_file_that_it_links_to_nor_waits_for_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("content")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="symbolic link"), folder_lock(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "content"
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError, match="No such device"), folder_lock(tmp_path):
        pass
