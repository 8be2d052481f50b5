"""The copy task: its sequences, that a network learns it, and the script."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def copy_task(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("copy_task")


def test_a_sequence_is_a_symbol_then_distractors_then_the_cue(copy_task: ModuleType) -> None:
    x, symbols = copy_task.draw_sequences(500, 6, torch.Generator().manual_seed(1))
    tokens = x.argmax(dim=2)
    assert x.shape == (500, 8, copy_task.NUM_TOKENS)
    assert (x.sum(dim=2) == 1).all()
    assert torch.equal(tokens[:, 0], symbols)
    assert set(symbols.tolist()) == set(range(8))
    assert set(tokens[:, 1:-1].flatten().tolist()) == set(range(8, 16))
    assert set(tokens[:, -1].tolist()) == {copy_task.CUE}


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_short_delay_is_learned_by_a_little_training(copy_task: ModuleType, cell: str) -> None:
    settings = {"hidden_size": 24, "learning_rate": 1e-2, "seed": 1}
    assert copy_task.accuracy(cell, 2, steps=1, **settings) < 0.6
    assert copy_task.accuracy(cell, 2, steps=150, **settings) > 0.95


@pytest.mark.slow
def test_the_script_measures_every_cell_delay_and_seed(run_script: RunScript, tmp_path: Path) -> None:
    small = "--delays 2,1 --seeds 2 --hidden-size 8 --steps 3".split()
    process = run_script("copy_task.py", *small, "--json", "--plot", str(tmp_path / "copy.png"))
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)["accuracy"]
    assert list(found) == ["lstm", "gru", "rnn"]
    for by_delay in found.values():
        assert list(by_delay) == ["1", "2"]
        assert all(len(seeds) == 2 and 0 <= min(seeds) <= max(seeds) <= 1 for seeds in by_delay.values())
    assert (tmp_path / "copy.png").read_bytes().startswith(b"\x89PNG")
    shown = run_script("copy_task.py", *small)
    assert shown.returncode == 0, shown.stderr
    rows = shown.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["n", "1", "2"]


@pytest.mark.parametrize(
    "arguments", [("--delays", "5,x"), ("--delays", "0"), ("--steps", "0"), ("--plot", "no/such/folder.png")]
)
def test_an_invalid_option_is_refused_before_any_work(
    run_script: RunScript, arguments: tuple[str, str]
) -> None:
    process = run_script("copy_task.py", *arguments)
    assert process.returncode == 2
    assert arguments[0] in process.stderr
    assert "Traceback" not in process.stderr
