"""Killed and resumed equals never killed, bit for bit: with real processes and real signals."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TEXT = "".join(f"The {n} birds of line {n * n % 97} sing of {n % 7} things, and rest.\n" for n in range(600))
SETTINGS = (
    "--steps 250 --evaluations 4 --hidden-size 24 --num-layers 2 --dropout 0.2 --batch-size 8 --seq-len 24 "
    "--embedding-dim 16 --seed 3 --no-early-stopping --ema-decay 0.98 --vary-seq-len "
    "--input-dropout 0.1 --embedding-dropout 0.1 --weight-drop 0.1 --residual --layer-norm --tie-weights "
    "--precision float32"  # auto measures which is faster, which a busy machine may answer in two ways
).split()
TIMES = {"seconds", "tokens_per_second", "digest"}  # the digest is of the times too


def textgen(*arguments: object, cwd: Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "textgen", *map(str, arguments), "--cache-dir", str(cwd / "cache")]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdin=stdin, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def wait_for(process: subprocess.Popen[str], condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def lines_of(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def contents(run: Path) -> dict[str, Any]:
    """All that must repeat: every tensor file byte for byte, the place, the figures without their times."""
    files = {path.name: path.read_bytes() for path in run.glob("training/step-*/*.safetensors")}
    files["model.safetensors"] = (run / "model.safetensors").read_bytes()
    (progress,) = run.glob("training/step-*/progress.json")
    place = json.loads(progress.read_text())
    metrics = [without_times(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return files | {
        "progress": {
            name: value for name, value in place.items() if name not in {"seconds", "metrics_size", "sha256"}
        },
        "metrics": metrics,
        "checkpoints": [path.name for path in run.glob("training/step-*")],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume")
    (path / "corpus.txt").write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def never_killed(folder: Path) -> dict[str, Any]:
    finish(textgen("train", "corpus.txt", "--run", "whole", *SETTINGS, cwd=folder))
    return contents(folder / "whole")


def test_a_run_repeats_itself(folder: Path, never_killed: dict[str, Any]) -> None:
    finish(textgen("train", "--config", "whole/config.json", "--run", "again", cwd=folder))
    assert contents(folder / "again") == never_killed


def test_killed_and_resumed_equals_never_killed(folder: Path, never_killed: dict[str, Any]) -> None:
    run = folder / "killed"
    process = textgen("train", "corpus.txt", "--run", "killed", *SETTINGS, cwd=folder)
    # First before there is any checkpoint, then at moments drawn anew each time the test runs.
    wait_for(process, lambda: lines_of(run) >= 2)
    kill(process)
    assert not list(run.glob("training/step-*"))
    seed = random.randrange(1000)
    print(f"moments drawn with seed {seed}")  # shown when the test fails
    for lines in sorted(random.Random(seed).sample(range(55, 190), 2)):
        process = textgen("train", "--resume", "killed", cwd=folder)
        wait_for(process, lambda lines=lines: lines_of(run) >= lines)
        kill(process)
    finish(textgen("train", "--resume", "killed", cwd=folder))
    assert contents(run) == never_killed


def test_documents_are_read_in_the_same_order_after_a_kill(folder: Path) -> None:
    settings = [*SETTINGS, "--documents", "line"]
    finish(textgen("train", "corpus.txt", "--run", "lines-whole", *settings, cwd=folder))
    process = textgen("train", "corpus.txt", "--run", "lines-killed", *settings, cwd=folder)
    wait_for(process, lambda: lines_of(folder / "lines-killed") >= 120)
    kill(process)
    finish(textgen("train", "--resume", "lines-killed", cwd=folder))
    assert contents(folder / "lines-killed") == contents(folder / "lines-whole")


def interrupt(process: subprocess.Popen[str], run: Path, number: signal.Signals) -> None:
    """Send a signal in the middle of a run, and check what the user is left with."""
    wait_for(process, lambda: lines_of(run) >= 20)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"textgen train --resume {run.name}" in err
    assert len(err.splitlines()) == 1
    assert len(list(run.glob("training/step-*"))) == 1


def test_ctrl_c_saves_and_standard_input_is_kept_for_resuming(
    folder: Path, never_killed: dict[str, Any]
) -> None:
    run = folder / "piped"
    process = textgen("train", "-", "--run", "piped", *SETTINGS, cwd=folder, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(TEXT)
    process.stdin.close()
    process.stdin = None
    interrupt(process, run, signal.SIGINT)
    # It was stopped long before the first evaluation, and can be sampled all the same.
    sample = [sys.executable, "-m", "textgen", "sample", "piped", "--seed", "1", "--max-new-tokens", "20"]
    assert len(subprocess.run(sample, cwd=folder, check=True, capture_output=True, text=True).stdout) > 10
    finish(textgen("train", "--resume", "piped", cwd=folder))
    assert contents(run) == never_killed


def test_sigterm_saves_and_the_store_is_rebuilt_from_the_same_corpus_only(
    folder: Path, never_killed: dict[str, Any]
) -> None:
    run, corpus = folder / "stopped", folder / "corpus.txt"
    interrupt(textgen("train", "corpus.txt", "--run", run.name, *SETTINGS, cwd=folder), run, signal.SIGTERM)
    shutil.rmtree(folder / "cache")
    corpus.write_text(TEXT.replace("birds", "cats "))
    process = textgen("train", "--resume", run.name, cwd=folder)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    announced, err = err.splitlines()
    assert announced.startswith("Reading what stopped names: ")
    assert "changed" in err
    assert "corpus.txt" in err
    corpus.write_text(TEXT)
    finish(textgen("train", "--resume", run.name, cwd=folder))
    assert contents(run) == never_killed


@pytest.mark.parametrize("name", ["optimizer.safetensors", "progress.json"])
def test_a_rotten_checkpoint_is_left_out_and_the_one_before_it_continued(
    folder: Path, never_killed: dict[str, Any], name: str
) -> None:
    run = folder / f"rotten-{name}"
    process = textgen("train", "corpus.txt", "--run", run.name, *SETTINGS, cwd=folder)
    wait_for(process, lambda: len([*run.glob("training/step-*")]) >= 2)
    kill(process)
    checkpoints = sorted(run.glob("training/step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    assert len(checkpoints) >= 2
    content = bytearray((checkpoints[-1] / name).read_bytes())
    content[len(content) // 2] ^= 4
    (checkpoints[-1] / name).write_bytes(content)
    process = textgen("train", "--resume", run.name, cwd=folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert f"{checkpoints[-1].name}: damaged checkpoint" in err
    assert f"resuming from {checkpoints[-2].name} instead" in err
    assert contents(run) == never_killed


def test_a_complete_run_is_left_as_it_is(folder: Path, never_killed: dict[str, Any]) -> None:
    (line,) = finish(textgen("train", "--resume", "whole", cwd=folder)).splitlines()
    assert line.startswith("whole: this run is complete. ")
    assert "--from whole" in line
    assert contents(folder / "whole") == never_killed


@pytest.mark.slow
def test_a_run_that_rolls_back_does_so_again_when_it_is_killed_and_resumed(folder: Path) -> None:
    run = folder / "back"
    too_high = [*SETTINGS, "--cell", "gru", "--learning-rate", 8, "--beta1", 0.9, "--warmup-fraction", 0.9]
    finish(textgen("train", "corpus.txt", "--run", "steep", *too_high, cwd=folder))
    expected = contents(folder / "steep")
    backs = {
        line: record for line, record in enumerate(expected["metrics"], 1) if record["kind"] == "rollback"
    }
    assert {record["back_to"] > 0 for record in backs.values()} == {True, False}, (
        "to a checkpoint and the start"
    )
    arguments: list[object] = ["corpus.txt", "--run", "back", *too_high]
    # Stopped before its first evaluation, it has weights to sample from, and goes back to its first ones.
    # Asked to stop shortly before going back, it has a newer checkpoint than the one that it goes back to.
    stops = (
        (1, signal.SIGTERM),
        (min(backs), signal.SIGKILL),
        (max(backs) - 5, signal.SIGTERM),
        (max(backs), signal.SIGKILL),
    )
    assert min(backs) < max(backs) - 5
    for lines, number in stops:
        process = textgen("train", *arguments, cwd=folder)
        wait_for(process, lambda lines=lines: lines_of(run) >= lines)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM)
        arguments = ["--resume", "back"]
    finish(textgen("train", *arguments, cwd=folder))
    assert contents(run) == expected
