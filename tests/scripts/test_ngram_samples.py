"""The script that compares samples with and without n-grams: its figures, and its table on a tiny run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

RunScript = Callable[..., subprocess.CompletedProcess[str]]
TEXT = "".join(
    f"number {n} of many different sentences about gates, states and networks\n" for n in range(60)
)


def test_a_stretch_that_occurred_before_is_repeated(import_script: Callable[[str], ModuleType]) -> None:
    script = import_script("ngram_samples")
    assert script.repeated_share("0123456789", stretch=4) == 0
    assert script.repeated_share("0123xx0123", stretch=4) == 0.4
    assert script.repeated_share("aaaaaa", stretch=4) == 5 / 6  # what repeats may overlap what it repeats
    assert script.repeated_share("") == 0


def test_the_table_compares_both_with_real_text(run_script: RunScript, invoke, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    run, cache = tmp_path / "run", ("--cache-dir", tmp_path / "cache")
    network = ("--steps", 3, "--hidden-size", 8, "--device", "cpu")
    invoke("train", tmp_path / "corpus.txt", "--run", run, *cache, *network)
    texts = tmp_path / "texts.txt"
    sizes = ("--samples", "2", "--tokens", "150")
    done = run_script("ngram_samples.py", str(run), *map(str, cache), *sizes, "--output", str(texts))
    assert done.returncode == 0, done.stderr
    headings, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()
    )
    assert headings == ["", "words", "copied", "longest", "repeated"]
    assert [name for name, *_ in rows] == ["network alone", "with n-grams", "validation text"]
    words = [float(row[1].rstrip("%")) for row in rows]
    assert words[0] < words[1]  # three steps teach no words, and the text repeats itself
    assert texts.read_text(encoding="utf-8").count("=====") == 4


def test_a_run_without_ngrams_is_refused(run_script: RunScript, invoke, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    run = tmp_path / "run"
    network = ("--steps", 1, "--hidden-size", 8, "--device", "cpu", "--no-ngram")
    invoke("train", tmp_path / "corpus.txt", "--run", run, "--cache-dir", tmp_path / "cache", *network)
    done = run_script("ngram_samples.py", str(run))
    assert done.returncode == 2
    assert f"`textgen ngram {run}` adds them" in done.stderr
