"""Tuning on a part of the training text: what it measures, and that it leaves the last tenth alone."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from textgen.config import DynamicConfig

RunScript = Callable[..., subprocess.CompletedProcess[str]]
SMALL = "--steps 30 --hidden-size 8 --tokens 60".split()


def words(length: int) -> str:
    rng = random.Random(0)
    return " ".join(rng.choice(["dog", "cat", "sees", "the", "a"]) for _ in range(length))


def test_it_measures_both_methods_and_never_reads_the_last_tenth(
    run_script: RunScript, tmp_path: Path
) -> None:
    text = words(400)
    kept = int(len(text) * 0.9)
    figures = []
    for number, end in enumerate((text[kept:], "\N{SNOWMAN}" * (len(text) - kept))):
        corpus, result = tmp_path / f"{number}.txt", tmp_path / f"{number}.json"
        corpus.write_text(text[:kept] + end, encoding="utf-8")
        process = run_script("tune_dynamic.py", str(corpus), *SMALL, "--json", str(result))
        assert process.returncode == 0, process.stderr
        assert f"static: {json.loads(result.read_text())['static']:.4f} nats/token over 60" in process.stdout
        figures.append(json.loads(result.read_text()))
    assert figures[0] == figures[1]
    assert {line["method"] for line in figures[0]["results"]} == {"sgd", "rms"}
    losses = [line["nats_per_token"] for line in figures[0]["results"]]
    assert len(set(losses)) > len(losses) / 2


def test_the_last_tenth_is_of_the_text_with_the_line_ends_that_it_has(
    import_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    text = "ab\r\n" * 900 + "cd" * 400
    (tmp_path / "text.txt").write_bytes(text.encode())
    script = import_script("tune_dynamic")
    run = script.train_without_the_end(
        tmp_path / "text.txt", ["--steps", "1", "--hidden-size", "8"], tmp_path
    )
    assert run.path == tmp_path / "run"
    assert (tmp_path / "corpus.txt").read_bytes().decode() == text[: int(len(text) * 0.9)]


def test_settings_that_leave_all_bounds_are_infinitely_bad(
    import_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(words(400))
    script = import_script("tune_dynamic")
    run = script.train_without_the_end(tmp_path / "text.txt", SMALL[:4], tmp_path)
    tuning = script.Tuning(run, tmp_path / "cache", 60)
    config = DynamicConfig(rate=1e6, clip_norm=1e30)
    assert tuning._measure(config) == math.inf
    assert script._number(math.inf) is None


@pytest.mark.parametrize("content", [b"ab", "\N{SNOWMAN}".encode()[:2] * 9])
def test_text_that_is_not_utf8_or_too_little_is_one_line(
    content: bytes, run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_bytes(content)
    process = run_script("tune_dynamic.py", str(tmp_path / "short.txt"))
    assert process.returncode == 1
    assert ("too little" if content == b"ab" else "byte 0 is not UTF-8") in process.stderr
    assert "Traceback" not in process.stderr
