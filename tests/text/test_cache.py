"""The folders of what can be made again: which are built, which stay and which go."""

import os
import time
from pathlib import Path

from textgen.text.cache import read_or_build

DAY = 24 * 60 * 60


def keep(path: Path, word: str = "kept") -> str:
    def build(folder: Path) -> None:
        (folder / "word").write_text(word)

    return read_or_build(path, lambda folder: (folder / "word").read_text(), build)


def age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def path_of(cache_dir: Path, digit: str) -> Path:
    return cache_dir / (64 * digit)


def test_what_is_there_is_read_and_not_built_again(tmp_path: Path) -> None:
    assert keep(path_of(tmp_path, "a"), "first") == "first"
    assert keep(path_of(tmp_path, "a"), "second") == "first"


def test_what_another_process_built_since_the_first_look_stays(tmp_path: Path) -> None:
    path = path_of(tmp_path, "a")
    keep(path, "of another process")
    looks = iter([False, True])

    def read(folder: Path) -> str:
        if not next(looks):
            raise FileNotFoundError(folder)
        return (folder / "word").read_text()

    def build(folder: Path) -> None:
        raise AssertionError("it is there")

    assert read_or_build(path, read, build) == "of another process"


def test_what_nobody_has_read_for_thirty_days_goes_when_another_is_built(tmp_path: Path) -> None:
    for digit, days in {"a": 29, "b": 31}.items():
        keep(path_of(tmp_path, digit))
        age(path_of(tmp_path, digit), days)
    assert keep(path_of(tmp_path, "a")) == "kept"
    assert path_of(tmp_path, "b").exists()  # reading removes nothing
    age(path_of(tmp_path, "a"), 29)
    keep(path_of(tmp_path, "c"))
    assert sorted(tmp_path.iterdir()) == [path_of(tmp_path, "a"), path_of(tmp_path, "c")]


def test_reading_keeps_a_folder_for_another_thirty_days(tmp_path: Path) -> None:
    keep(path_of(tmp_path, "a"))
    age(path_of(tmp_path, "a"), 31)
    keep(path_of(tmp_path, "a"))
    keep(path_of(tmp_path, "b"))
    assert path_of(tmp_path, "a").exists()


def test_what_is_not_of_the_cache_stays_however_old(tmp_path: Path) -> None:
    (tmp_path / "novels").mkdir()
    path_of(tmp_path, "f").write_text("a file with such a name")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    keep(path_of(tmp_path, "a"))
    assert {path.name for path in tmp_path.iterdir()} == {"novels", 64 * "f", 64 * "a"}
