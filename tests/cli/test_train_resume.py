"""`textgen train --resume`: which runs it continues and which it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from textgen.run import Run
from textgen.system.locks import folder_lock
from textgen.training.state import TrainingState

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def drop_the_end(metrics: Path) -> None:
    """Make a complete run look as if it was killed before its last evaluation."""
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if '"final"' not in line))


def test_a_copy_of_a_checkpoint_is_neither_read_nor_removed(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    drop_the_end(Run("one").metrics_path)
    copy = Run("one").training_directory / "step-12.copy"
    shutil.copytree(Run("one").training_directory / "step-12", copy)
    assert cli("train", "--resume", "one").exit_code == 0
    assert (copy / "progress.json").is_file()


def test_a_run_cannot_be_trained_by_two_processes_at_once(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    metrics = Run("one").metrics_path
    drop_the_end(metrics)
    weights = Run("one").path / "model.safetensors"
    weights.write_bytes(b"newer than any checkpoint")
    with folder_lock(Run("one").training_directory):
        result = cli("train", "--resume", "one")
    assert result.exit_code == 1
    assert "another process" in result.stderr
    assert "Resuming" not in result.stdout
    assert weights.read_bytes() == b"newer than any checkpoint"


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LINKS = [
    "metrics.jsonl",
    "training",
    "model.safetensors",
    "loss.png",
    "training/lock",
    "training/step-12",
    "more",
]


@pytest.mark.parametrize("name", LINKS)
def test_links_in_a_run_are_refused_before_anything_is_written_or_removed(cli: Cli, name: str) -> None:
    """What they lead to has what a run has there: a checkpoint would be removed, a file overwritten."""
    cli("train", "corpus.txt", *TINY, "--run", "one")
    drop_the_end(Run("one").metrics_path)
    outside, link = Path("outside").absolute(), Path("one", name)
    if link.exists():
        shutil.move(link, outside)
    else:
        outside.write_text("keep this\n")
    link.symlink_to(outside)
    before = content(Path("one")), content(outside.parent)
    assert f"one/{name}: a symbolic link" in cli("train", "--resume", "one").only_error
    assert (content(Path("one")), content(outside.parent)) == before


def test_a_run_that_is_itself_a_link_is_resumed(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    drop_the_end(Run("one").metrics_path)
    Path("linked").symlink_to("one", target_is_directory=True)
    assert cli("train", "--resume", "linked").exit_code == 0
    assert Run("one").is_complete


def test_the_text_that_the_run_names_is_named_before_it_is_read(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    announced = f"Reading what one names: {tmp_path / 'corpus.txt'}\n"
    for command in (["eval", "one"], ["inspect", "one"], ["train", "--from", "one", "--steps", 1]):
        assert announced in cli(*command).stderr
    with_config = cli("train", "--config", "one/config.json", "--run", "again").stderr
    assert announced in with_config
    for command in (["sample", "one"], ["score", "one", "corpus.txt"], ["eval", "one", "corpus.txt"]):
        assert "Reading what" not in cli(*command).stderr
    assert "Reading what" not in cli("train", "corpus.txt", "--config", "one", "--run", "mine").stderr
    drop_the_end(Run("one").metrics_path)
    Path("corpus.txt").unlink()
    result = cli("train", "--resume", "one")
    assert result.stderr.startswith(announced)
    assert "no such file" in result.only_error


def test_what_only_reads_a_run_writes_nothing_into_it(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    run = Path("one")
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def tree() -> dict[Path, tuple[int, bytes]]:
        found = {path: path.read_bytes() if path.is_file() else b"" for path in [*run.rglob("*"), run]}
        return {path: (path.stat().st_mtime_ns, data) for path, data in found.items()}

    before = tree()
    for command in (
        ["sample", "one", "--novelty"],
        ["score", "one", "corpus.txt"],
        ["inspect", "one"],
        ["eval", "one"],
        ["gradients", "one", "--steps", 5, "--positions", 5],
        ["info", "one"],
    ):
        assert cli(*command).exit_code == 0
    after = tree()
    for path in [run, *run.rglob("*")]:  # for pytest, which removes it
        path.chmod(0o755)
    assert after == before


def test_a_run_without_its_checkpoints_is_not_silently_restarted(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    cli("train", "corpus.txt", "--from", "old", "--steps", 2, "--run", "new")
    for run in ("old", "new"):
        metrics = Run(run).metrics_path
        drop_the_end(metrics)
        shutil.rmtree(Run(run).training_directory)
        assert f"--from {run}" in cli("train", "--resume", run).only_error


def test_a_fine_tuned_run_without_its_initial_weights_is_not_resumed(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    cli("train", "corpus.txt", "--from", "old", "--steps", 2, "--run", "new")
    drop_the_end(Run("new").metrics_path)
    (Run("new").training_directory / "initial.safetensors").unlink()
    assert "--from new" in cli("train", "--resume", "new").only_error


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (
            "training/step-12/progress.json",
            lambda content: content.pop("place"),
            "damaged checkpoint (no 'place')",
        ),
        ("training/step-12/progress.json", lambda content: content.update(newer=1), "damaged checkpoint"),
        ("config.json", lambda content: content["model"].update(hidden_size=16), "not the weights of this"),
        ("config.json", lambda content: content["training"].update(threads=None), "threads is missing"),
        ("config.json", lambda content: content["measured"].pop("train_tokens"), "no train_tokens"),
        ("tokenizer.json", lambda content: content["model"]["vocab"].pop("<|endoftext|>"), "end-of-text"),
    ],
)
def test_a_run_whose_files_do_not_belong_together_is_not_resumed(
    cli: Cli,
    rewrite: Callable[[Path, Any], None],
    file: str,
    damage: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    drop_the_end(Run("one").metrics_path)
    content = json.loads(Path("one", file).read_text())
    damage(content)
    rewrite(Path("one", file), content)
    result = cli("train", "--resume", "one")
    assert (result.exit_code, len(result.notes)) == (1, 1)
    assert message in result.stderr


def test_resuming_a_run_of_another_device_says_how_to_continue_on_this_one(
    cli: Cli, rewrite: Callable[[Path, Any], None]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    cli("train", "corpus.txt", *TINY, "--run", "one")
    drop_the_end(Run("one").metrics_path)
    path = Run("one").path / "config.json"
    config = json.loads(path.read_text())
    config["training"]["device"] = "cuda"
    rewrite(path, config)
    assert "--from one --device cpu" in cli("train", "--resume", "one").only_error
    assert cli("train", "--from", "one", "--device", "cpu", "--steps", 1).exit_code == 0


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("one", "one: the run was removed"),
        ("one/metrics.jsonl", "jsonl: is missing: it was removed"),
    ],
)
def test_what_is_removed_while_a_run_is_trained_is_noticed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, removed: str, message: str
) -> None:
    save = TrainingState.save

    def save_and_remove(state: TrainingState) -> None:
        save(state)
        path = Path(removed)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    monkeypatch.setattr(TrainingState, "save", save_and_remove)
    result = cli("train", "corpus.txt", *TINY, "--run", "one")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not Path(removed).exists()
