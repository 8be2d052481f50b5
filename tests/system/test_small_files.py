from pathlib import Path

import pytest

from textgen.system.small_files import read_text


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes("é".encode())
    assert read_text(path, 2) == "é"
    with pytest.raises(ValueError, match="longer than"):
        read_text(path, 1)
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(path, 2)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 2)
