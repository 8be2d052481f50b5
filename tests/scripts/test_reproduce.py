"""The table of quality results and its goals, and one short run; a whole table takes more than an hour."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def reproduce(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("reproduce")


def line(row: str, nats: float, *, busy: bool = False) -> dict[str, Any]:
    return {
        "row": row,
        "seed": 1,
        "nats_per_character": nats,
        "nats_per_character_in_windows": nats + 0.01,
        "nats_per_character_dynamic": nats - 0.1,
        "chosen": {"num_layers": 1, "hidden_size": 384},
        "parameters": 720_000,
        "steps": 5000,
        "tokens_per_second": 100_000,
        "busy": busy,
        "ngram": {
            "nats_per_character": {"network": nats, "ngrams": nats + 0.1, "together": nats - 0.05},
            "network_weight": 0.6,
            "bytes": 2_500_000,
            "seconds": 2.04,
        },
    }


def test_a_result_is_compared_with_its_goal_and_a_busy_machine_is_marked(reproduce: ModuleType) -> None:
    headings, met, missed = reproduce.table([line("2 minutes", 1.428), line("2 minutes", 1.429, busy=True)])
    assert headings[2:5] == ["network", "n-grams", "together"]
    assert met[2:7] == ["1.428", "1.528", "**1.378**", "at most 1.378, met", "2.0 s"]
    assert met[7:] == ["1.438", "1.328", "1 x 384, 0.72 M", "5,000", "100,000"]
    assert missed[5] == "at most 1.378, missed"
    assert missed[11] == "100,000 (busy)"


def test_a_result_of_before_there_were_n_grams_is_of_the_network_alone(reproduce: ModuleType) -> None:
    early = line("2 minutes", 1.428)
    del early["ngram"]
    assert reproduce.table([early])[1][2:8] == ["1.428", "", "", "", "", "1.438"]


def test_the_run_of_ten_minutes_has_a_goal_with_dynamic_evaluation_too(reproduce: ModuleType) -> None:
    assert reproduce.table([line("10 minutes", 1.3)])[1][8] == "1.200 (at most 1.200, met)"


def test_nats_per_character_do_not_depend_on_the_tokenizer(reproduce: ModuleType) -> None:
    assert reproduce.nats({"bits_per_character": 2.0, "nats_per_token": 9.9}) == 2 * math.log(2)


@pytest.mark.slow
def test_a_row_is_one_run_evaluated_in_each_way_with_windows_of_256_characters(
    reproduce: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 500)
    asked: list[tuple[str, ...]] = []
    textgen = reproduce.textgen
    monkeypatch.setattr(reproduce, "textgen", lambda *words: asked.append(words) or textgen(*words))
    options = "--steps 30 --hidden-size 8 --tokenizer bpe"
    figures = reproduce.measure(tmp_path / "text.txt", options, 1, tmp_path)
    assert figures["steps"] == 30
    assert figures["chosen"]["hidden_size"] == 8
    values = {figures[f"nats_per_character{kind}"] for kind in ("", "_in_windows", "_dynamic")}
    assert len(values) == 3
    assert all(0 < value < math.log(20) for value in values)
    per_token = figures["nats_per_token"] / figures["nats_per_character"]
    assert per_token > 1.5
    assert int(asked[0][asked[0].index("--window") + 1]) == round(256 / per_token)
    assert "--no-ngram" in asked[0]
    parts = figures["ngram"]["nats_per_character"]
    assert parts["network"] == pytest.approx(figures["nats_per_character"], rel=1e-5)
    assert parts["together"] < parts["network"]


def test_rows_in_the_results_are_not_run_again(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    results = tmp_path / "results.jsonl"
    digest = hashlib.sha256(b"text").hexdigest()[:16]
    lines = [
        line("2 minutes", 1.4) | {"seed": seed, "text": digest, "machine": {"processor": f"P{seed // 2}"}}
        for seed in (1, 2, 3)
    ]
    results.write_text("".join(json.dumps(each) + "\n" for each in lines))
    answer = run_script("reproduce.py", str(tmp_path / "text.txt"), str(results), "--rows", "2 minutes")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("| `--minutes 2`") == 3
    assert answer.stderr == ""
    assert answer.stdout.endswith("\n\nOn processor P0.\n\nOn processor P1.\n")
    (tmp_path / "text.txt").write_text("another")
    answer = run_script("reproduce.py", str(tmp_path / "text.txt"), str(results), "--rows", "2 minutes")
    assert answer.returncode == 2
    assert "has results of a text other than" in answer.stderr
