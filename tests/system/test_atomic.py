"""A write is whole or absent, even if the process is killed in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from textgen.system.atomic import move_file, new_directory, write_file
from textgen.system.locks import locked_temporary


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change owners")
def test_a_replaced_file_keeps_its_owner_and_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_file(path, "new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 4321, 0o640)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_opened_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that may be written to but not listed, and any folder on Windows."""
    opened = os.open

    def refuse(path: str | Path, flags: int, *more: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    write_file(tmp_path / "file", "new")
    with new_directory(tmp_path / "folder") as building:
        (building / "file").write_text("content")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "folder" / "file").read_text() == "content"


def test_a_directory_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with new_directory(path) as building:
        (building / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"
    assert names(path.parent) == ["folder"]


def test_a_directory_that_is_not_completed_never_appears(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"):  # noqa: PT012 (the block is what is tested)
        with new_directory(tmp_path / "folder") as building:
            (building / "file").write_text("content")
            raise ValueError("broken")
    assert names(tmp_path) == []


def test_a_directory_that_another_process_made_first_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(FileExistsError):  # noqa: PT012 (the block is what is tested)
        with new_directory(path) as building:
            (building / "file").write_text("late")
            path.mkdir()
            (path / "file").write_text("first")
    assert (path / "file").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_a_reader_never_sees_half_a_file_of_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import sys; from pathlib import Path; from textgen.system.atomic import write_file\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1; write_file(Path(sys.argv[1]), f'{number % 10}' * 200_000)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(50):
        text = path.read_text()
        assert text == text[0] * 200_000
    process.send_signal(signal.SIGKILL)
    process.wait()
    text = path.read_text()
    assert text == text[0] * 200_000


def test_a_moved_file_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    move_file(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "new"


def refuse_to_replace(monkeypatch: pytest.MonkeyPatch, times: int) -> list[Path]:
    """As Windows does while another process reads the file; returns what was tried."""
    monkeypatch.setattr("textgen.system.atomic._ON_WINDOWS", True)
    monkeypatch.setattr("textgen.system.atomic._WAIT_SECONDS", 0.3)
    replace, tried = Path.replace, list[Path]()

    def refuse(source: Path, target: Path) -> Path:
        tried.append(target)
        if len(tried) <= times:
            raise PermissionError(13, "Permission denied", str(source), None, str(target))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", refuse)
    return tried


def test_on_windows_a_file_that_is_being_read_is_replaced_when_it_no_longer_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = refuse_to_replace(monkeypatch, times=2)
    write_file(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert len(tried) == 3


def test_on_windows_a_file_that_stays_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_replace(monkeypatch, times=1000)
    with pytest.raises(PermissionError) as error:
        write_file(tmp_path / "file", "new")
    assert error.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == []


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".a.json.12345678").write_text("half")
    (tmp_path / ".a.json.old.12345678").write_text("of another file")
    with locked_temporary(lambda: Path(tempfile.mkstemp(prefix=".a.json.", dir=tmp_path)[1])) as alive:
        write_file(tmp_path / "a.json", "whole")
        assert set(names(tmp_path)) == {"a.json", alive.name, ".a.json.old.12345678"}
