"""`textgen cache`: what it lists, and what it removes and keeps; with real processes that use it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.text.cache_contents import cache_entries

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
DAY = 24 * 60 * 60


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache folder of `cli`."""
    return tmp_path / "cache" / "textgen"


def age(cache: Path, days: float) -> None:
    for path in cache.rglob("*"):
        os.utime(path, 2 * (time.time() - days * DAY,))


def test_a_text_is_listed_with_its_run_and_can_be_removed_and_made_again(cli: Cli, cache: Path) -> None:
    assert cli("cache").stdout == f"{cache}: nothing is cached.\n"
    cli("train", "corpus.txt", *TINY)
    header, line, _, total = cli("cache").stdout.splitlines()
    assert header.split() == ["size", "last", "used", "text", "run"]
    assert line.startswith("encoded text ")
    assert line.endswith("  corpus.txt  runs/corpus")
    assert str(cache) in total
    listed = json.loads(cli("cache", "--json").stdout)
    (entry,) = listed["entries"]
    assert (entry["kind"], entry["runs"]) == ("encoded text", [str(Path("runs/corpus").absolute())])
    assert listed["bytes"] == entry["bytes"] > 0
    gc.collect()  # the run of this process no longer reads it
    assert "removed 1 entry" in cli("cache", "--clear").stdout
    assert cli("cache").stdout == f"{cache}: nothing is cached.\n"
    assert cli("eval", "runs/corpus").exit_code == 0
    assert cli("cache").stdout.splitlines()[1].endswith("  corpus.txt  runs/corpus")


def test_only_what_was_not_used_for_so_long_is_listed_and_removed(cli: Cli, cache: Path) -> None:
    cli("train", "corpus.txt", *TINY)
    age(cache, 8)
    cli("train", "corpus.txt", *TINY, "--tokenizer", "byte")
    gc.collect()
    assert len(json.loads(cli("cache", "--json").stdout)["entries"]) == 2
    (old,) = json.loads(cli("cache", "--older-than", 7, "--json").stdout)["entries"]
    assert "8 days ago" in cli("cache", "--older-than", 7).stdout
    removed = json.loads(cli("cache", "--clear", "--older-than", 7, "--json").stdout)
    assert removed["removed"] == [old]
    assert removed["kept"] == []
    assert len(cache_entries(cache)) == 1
    assert "nothing is cached that was not used for so long" in cli("cache", "--older-than", 7).stdout
    assert "--older-than" in cli("cache", "--older-than", -1).only_error


def test_what_a_running_training_reads_is_kept(cli: Cli, cache: Path, tmp_path: Path) -> None:
    training = subprocess.Popen(
        [sys.executable, "-m", "textgen", "train", "corpus.txt", *TINY, "--steps", "100000"],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        while not (tmp_path / "runs" / "corpus" / "metrics.jsonl").exists():
            assert training.poll() is None
            time.sleep(0.05)
        age(cache, 100)
        assert "in use" in cli("cache").stdout
        out = cli("cache", "--clear").stdout
        assert "kept, because a running process uses it: encoded text, corpus.txt" in out
        assert "removed 0 entries" in out
        assert len(cache_entries(cache)) == 1
    finally:
        training.kill()
        training.wait()
    assert "removed 1 entry" in cli("cache", "--clear").stdout


def test_downloads_are_listed_and_removed_and_fetched_again(cli: Cli, server, text: str) -> None:
    url = server.add("/tale.txt", text)
    cli("train", url, *TINY, "--run", "run", "--cache-dir", "here")
    gc.collect()
    kinds = {
        line.split("  ")[0]: line for line in cli("cache", "--cache-dir", "here").stdout.splitlines()[1:]
    }
    assert kinds["download"].split()[-1] == url
    assert kinds["encoded text"].split()[-2:] == [url, "run"]
    assert "removed 2 entries" in cli("cache", "--clear", "--cache-dir", "here").stdout
    assert "--fetch" in cli("eval", "run", "--cache-dir", "here").only_error
    assert cli("eval", "run", "--cache-dir", "here", "--fetch").exit_code == 0


def test_what_cannot_be_removed_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("train", "corpus.txt", *TINY)
    gc.collect()
    monkeypatch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
    result = cli("cache", "--clear")
    assert result.exit_code == 1
    assert "cannot be removed; check its permissions" in result.stderr
