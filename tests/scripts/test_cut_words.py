"""The script that measures token healing: its cuts, and its table on a tiny run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

RunScript = Callable[..., subprocess.CompletedProcess[str]]
TEXT = "".join(
    f"number {n} of many different sentences about gates, states and networks\n" for n in range(60)
)


def test_a_cut_is_within_a_word(import_script: Callable[[str], ModuleType]) -> None:
    script = import_script("cut_words")
    cuts = script.cut_words(TEXT, 50, np.random.default_rng(1))
    assert len({cut.before + cut.begun for cut in cuts}) > 40
    for cut in cuts:
        assert cut.before + cut.word in TEXT
        assert 0 < len(cut.begun) < len(cut.word) >= 4
        assert cut.word.startswith(cut.begun)


def test_the_table_has_a_line_for_each_setting(run_script: RunScript, invoke, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    network = ("--tokenizer", "word", "--steps", 3, "--hidden-size", 8, "--device", "cpu")
    run = tmp_path / "run"
    invoke("train", tmp_path / "corpus.txt", "--run", run, "--cache-dir", tmp_path / "cache", *network)
    done = run_script("cut_words.py", str(run), "--prompts", "20")
    assert done.returncode == 0, done.stderr
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["temperature", "healing", "words", "same"]
    assert [line.split()[:2] for line in lines] == [["0.8", "off"], ["0.8", "on"], ["0", "off"], ["0", "on"]]
    off, on = (float(lines[place].split()[2].rstrip("%")) for place in (0, 1))
    assert on > off  # all cuts begin a word of the text, and no letter of it was seen alone
