"""Tuning on a part of the training text: what it measures, and that it leaves the last tenth alone."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

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


def test_a_training_that_fails_is_one_line(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("ab")
    process = run_script("tune_dynamic.py", str(tmp_path / "short.txt"))
    assert process.returncode == 1
    assert "too little" in process.stderr
    assert "Traceback" not in process.stderr
