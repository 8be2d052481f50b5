"""The odd corpora: what counts as divergence, and a few steps of training on two of them."""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def odd(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("odd_corpora")


def metrics(*losses: float) -> list[dict[str, Any]]:
    lines = [{"kind": kind, "nats_per_token": loss} for loss in losses for kind in ("train", "val")]
    return [*lines, {"kind": "rollback"}]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((4.0, 2.0, 2.5), ""),
        ((4.0, 4.2), ""),
        ((4.0, 4.6), "uniform guess"),
        ((4.0, 1.0, 2.5), "lowest"),
    ],
)
def test_divergence_is_a_training_loss_that_ends_high(
    odd: ModuleType, losses: tuple[float, ...], words: str
) -> None:
    row = odd.judge("name", (), metrics(*losses), 60, "")
    assert bool(row.diverged) == bool(words)
    assert words in row.diverged
    assert (row.best, row.last, row.rollbacks) == (min(losses), losses[-1], 1)
    assert row.guess == math.log(60)


def test_a_command_that_fails_has_diverged(odd: ModuleType) -> None:
    assert odd.judge("name", (), [], 60, "out of luck").diverged == "out of luck"


def test_fifty_runs_are_all_different_and_use_each_corpus_with_the_defaults(odd: ModuleType) -> None:
    runs = odd.plan(list(odd.CORPORA), 50)
    assert len(runs) == len(set(runs)) == 50
    assert {(name, ()) for name in odd.CORPORA} <= set(runs)


def test_the_same_seed_makes_the_same_corpus(odd: ModuleType) -> None:
    for make in odd.CORPORA.values():
        assert make(random.Random(3)) == make(random.Random(3))


@pytest.mark.slow
def test_two_corpora_are_trained_on_and_neither_diverges(run_script: RunScript) -> None:
    names = ["--only", "one character", "--only", "30 characters"]
    process = run_script("odd_corpora.py", *names, "--runs", "2", "--steps", "5")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count("| no |") == 2
    assert "0 of 2 runs diverged" in process.stdout
