"""Small files are read up to a limit, and only where they are files; JSON only as deep as it is of use."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from textgen.system.bounded_files import (
    DEEPEST_NESTING,
    MEGABYTE,
    open_regular,
    parse_json,
    read_at_most,
    read_bounded,
)

posix = pytest.mark.skipif(os.name != "posix", reason="named pipes and devices as POSIX has them")


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MEGABYTE)
    assert read_bounded(path, MEGABYTE, "a test") == b"x" * MEGABYTE
    (tmp_path / "link").symlink_to(path)
    assert len(read_bounded(tmp_path / "link", MEGABYTE, "a test")) == MEGABYTE
    path.write_bytes(b"x" * (MEGABYTE + 1))
    with pytest.raises(OSError, match="larger than 1 MB, the most for a test"):
        read_bounded(path, MEGABYTE, "a test")


def test_a_missing_file_and_a_folder_are_errors_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")
    with pytest.raises(OSError, match=r"directory|denied"):
        open_regular(tmp_path)


@posix
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(OSError, match="not a regular file"):
                read_bounded(path, MEGABYTE, "a test")


@posix
def test_an_endless_stream_is_read_up_to_the_limit() -> None:
    with Path("/dev/zero").open("rb") as file:
        with pytest.raises(OSError, match="larger than 3 MB"):
            read_at_most(file.read, 3 * MEGABYTE, "a test")
        assert file.tell() <= 5 * MEGABYTE


def nested(depth: int) -> str:
    return '{"a": [' * (depth // 2) + "1" + "]}" * (depth // 2)


def test_json_may_be_nested_as_deeply_as_it_is_of_use() -> None:
    assert parse_json(nested(DEEPEST_NESTING - 2)) == json.loads(nested(DEEPEST_NESTING - 2))
    for depth in (DEEPEST_NESTING + 2, 3_000, 300_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(nested(depth))
