"""Tuning on part of the training text: what it measures, and that it does not read the last tenth."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from textgen.settings.config import DynamicConfig

RunScript = Callable[..., subprocess.CompletedProcess[str]]
SMALL = "--steps 30 --hidden-size 8 --tokens 60".split()


def words(length: int) -> str:
    rng = random.Random(0)
    return " ".join(rng.choice(["dog", "cat", "sees", "the", "a"]) for _ in range(length))


@pytest.mark.slow
def test_it_measures_both_methods_and_writes_the_results(run_script: RunScript, tmp_path: Path) -> None:
    corpus, result = tmp_path / "corpus.txt", tmp_path / "result.json"
    corpus.write_text(words(400))
    process = run_script("tune_dynamic.py", str(corpus), *SMALL, "--json", str(result))
    assert process.returncode == 0, process.stderr
    found = json.loads(result.read_text())
    assert f"static: {found['static']:.4f} nats/token over 60" in process.stdout
    assert {line["method"] for line in found["results"]} == {"sgd", "rms"}
    assert len({line["network_weight"] for line in found["results"]}) > 5  # and None, of the network alone
    losses = [line["nats_per_token"] for line in found["results"]]
    assert len(set(losses)) > len(losses) / 2


def test_it_does_not_read_the_last_tenth_and_survives_settings_that_diverge(
    import_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    text = words(400).replace(" ", "\r\n")
    kept = text[: int(len(text) * 0.9)]
    (tmp_path / "text.txt").write_bytes((kept + "\N{SNOWMAN}" * (len(text) - len(kept))).encode())
    script = import_script("tune_dynamic")
    run = script.train_without_the_end(tmp_path / "text.txt", SMALL[:4], tmp_path)
    assert (tmp_path / "corpus.txt").read_bytes().decode() == kept
    tuning = script.Tuning(run, tmp_path / "cache", 60)
    assert tuning._measure(DynamicConfig(rate=1e6, clip_norm=1e30)) == math.inf
    assert script._number(math.inf) is None


@pytest.mark.parametrize("content", [b"ab", "\N{SNOWMAN}".encode()[:2] * 9])
def test_text_that_is_not_utf8_or_too_short_is_a_one_line_error(
    content: bytes, run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_bytes(content)
    process = run_script("tune_dynamic.py", str(tmp_path / "short.txt"))
    assert process.returncode == 1
    assert ("too little" if content == b"ab" else "byte 0 is not UTF-8") in process.stderr
    assert "Traceback" not in process.stderr
