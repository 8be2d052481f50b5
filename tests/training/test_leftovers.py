"""What killed processes leave half written is removed, and nothing else; with real processes and kills."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textgen.system.atomic import new_directory
from textgen.training.leftovers import remove_leftovers, remove_unfinished_runs

TEXT = "".join(f"The {n} birds of line {n * n % 97} sing of {n % 7} things, and rest.\n" for n in range(600))
NETWORK = "--hidden-size 24 --batch-size 8 --seq-len 24 --no-early-stopping --seed 3".split()
STEPS_PER_KILL = 20  # so many that training goes on to the last kill


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "textgen", "train", *arguments, "--cache-dir", "cache"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def kill_after(seconds: float, arguments: list[str], folder: Path) -> None:
    """Run `textgen train` and kill it after some seconds, unless it has ended."""
    process = subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    time.sleep(seconds)
    process.kill()
    _, err = process.communicate()
    assert b"Traceback" not in err


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def train_with_kills(folder: Path, kills: int) -> None:
    """Train one run undisturbed and another with kills at random moments; both must leave the same files."""
    (folder / "corpus.txt").write_text(TEXT)
    seed = random.randrange(1000)
    print(f"moments drawn with seed {seed}")  # shown when the test fails
    rng = random.Random(seed)
    # A checkpoint after every second step, so that a kill is likely to meet one that is written.
    steps = kills * STEPS_PER_KILL
    settings = [*NETWORK, "--steps", str(steps), "--evaluations", str(steps // 2)]
    for _ in range(kills):
        exists = (folder / "runs" / "corpus").exists()
        arguments = ["--resume", "runs/corpus"] if exists else ["corpus.txt", *settings]
        kill_after(rng.uniform(1, 4), arguments, folder)
    if not (folder / "runs" / "corpus").exists():
        subprocess.run(command("corpus.txt", *settings), cwd=folder, check=True, env=environment())
    subprocess.run(command("--resume", "runs/corpus"), cwd=folder, check=True, env=environment())
    whole = [*settings, "--run", "whole/corpus"]
    subprocess.run(command("corpus.txt", *whole), cwd=folder, check=True, env=environment())
    assert files_of(folder / "runs") == files_of(folder / "whole")
    assert not [name for name in files_of(folder / "cache") if name.startswith(".")]


@pytest.mark.slow
def test_a_run_that_was_killed_often_holds_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    train_with_kills(tmp_path, kills=3)


@pytest.mark.slow
def test_a_run_that_was_killed_a_hundred_times_holds_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    train_with_kills(tmp_path, kills=100)


def test_only_half_written_files_of_the_run_are_removed(tmp_path: Path) -> None:
    ours = [
        ".model.safetensors.abcd_123", ".loss.png.abcd_123", "training/.step-8.removed/weights.safetensors",
        "training/.step-9.abcd_123/weights.safetensors",
    ]  # fmt: skip
    others = [".model.safetensors", ".notes.txt", ".git/config", "training/step-8/x", "training/.stepped.x"]
    for name in ours + others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with new_directory(tmp_path / "training" / "step-10") as building:
        (building / "weights.safetensors").touch()
        remove_leftovers(tmp_path)
        assert (building / "weights.safetensors").exists(), "a living process is writing it"
    left = {name for name in files_of(tmp_path) if (tmp_path / name).is_file()}
    assert left == {*others, "training/step-10/weights.safetensors"}


def test_runs_that_were_never_created_are_removed_and_other_folders_kept(tmp_path: Path) -> None:
    for name in (".a.abcd_123", ".a.settings", ".a-2.abcd_123", ".b.abcd_123", ".c.empty___"):
        (tmp_path / name).mkdir()
    for name in (".a.abcd_123/config.json", ".a.settings/mine.json", ".b.abcd_123/config.json"):
        (tmp_path / name).touch()
    with new_directory(tmp_path / "a"):
        remove_unfinished_runs(tmp_path, "a")
        living = {path.name for path in tmp_path.iterdir()}
    assert living >= {".a.settings", ".a-2.abcd_123", ".b.abcd_123", ".c.empty___"}
    assert len(living) == 5, "and the one that is being created"
    remove_unfinished_runs(tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".a.settings"}
    remove_unfinished_runs(tmp_path / "missing", None)
