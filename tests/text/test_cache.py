"""The cache folder: which entries are built, kept and removed."""

import os
import time
from pathlib import Path

from textgen.text.cache import read_or_build

DAY = 24 * 60 * 60


def cached(path: Path, word: str = "kept") -> str:
    def build(folder: Path) -> None:
        (folder / "word").write_text(word)

    return read_or_build(path, lambda folder: (folder / "word").read_text(), build)


def age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def path_of(cache_dir: Path, digit: str) -> Path:
    return cache_dir / (64 * digit)


def test_an_existing_entry_is_read_and_not_built_again(tmp_path: Path) -> None:
    assert cached(path_of(tmp_path, "a"), "first") == "first"
    assert cached(path_of(tmp_path, "a"), "second") == "first"


def test_an_entry_that_another_process_built_in_the_meantime_is_used(tmp_path: Path) -> None:
    path = path_of(tmp_path, "a")
    cached(path, "of another process")
    is_built = iter([False, True])

    def read(folder: Path) -> str:
        if not next(is_built):
            raise FileNotFoundError(folder)
        return (folder / "word").read_text()

    def build(folder: Path) -> None:
        raise AssertionError("it exists already")

    assert read_or_build(path, read, build) == "of another process"


def test_an_entry_not_read_for_thirty_days_is_removed_when_another_is_built(tmp_path: Path) -> None:
    for digit, days in {"a": 29, "b": 31}.items():
        cached(path_of(tmp_path, digit))
        age(path_of(tmp_path, digit), days)
    assert cached(path_of(tmp_path, "a")) == "kept"
    assert path_of(tmp_path, "b").exists()  # reading removes nothing
    age(path_of(tmp_path, "a"), 29)
    cached(path_of(tmp_path, "c"))
    assert sorted(tmp_path.iterdir()) == [path_of(tmp_path, "a"), path_of(tmp_path, "c")]


def test_reading_keeps_an_entry_for_another_thirty_days(tmp_path: Path) -> None:
    cached(path_of(tmp_path, "a"))
    age(path_of(tmp_path, "a"), 31)
    cached(path_of(tmp_path, "a"))
    cached(path_of(tmp_path, "b"))
    assert path_of(tmp_path, "a").exists()


def test_files_that_are_not_entries_are_kept_however_old(tmp_path: Path) -> None:
    (tmp_path / "novels").mkdir()
    path_of(tmp_path, "f").write_text("a file with such a name")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    cached(path_of(tmp_path, "a"))
    assert {path.name for path in tmp_path.iterdir()} == {"novels", 64 * "f", 64 * "a"}
