"""`textgen train` in several real processes: started by --processes and by torchrun, killed, resumed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch

from tests.distributed.processes import ROOT, children, torchrun
from textgen.distributed.launcher import is_launched, run_processes
from textgen.errors import ConfigError

TEXT = "".join(f"{number:05} is a number; {number * 7919 % 1000} is another. " for number in range(4000))
SMALL = (
    "--hidden-size 16 --num-layers 2 --dropout 0.1 --batch-size 6 --seq-len 16 --precision float32".split()
)
COMMON = ("train", "text.txt", *SMALL, "--no-ngram", "--no-early-stopping")
PATIENCE = 240  # seconds, because the machine may be busy

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")


@pytest.fixture(autouse=True)
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)  # which it has read before
    monkeypatch.chdir(tmp_path)
    return tmp_path


def textgen(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "textgen", *arguments], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def completed(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=PATIENCE)
    return process.returncode, out, error or ""


def validations(run: str) -> list[dict[str, Any]]:
    records = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == "val"]


def losses(run: str) -> list[tuple[int, float]]:
    return [(record["step"], record["nats_per_token"]) for record in validations(run)]


def weights(run: str) -> dict[str, Any]:
    return {
        name: array.tolist()
        for name, array in safetensors.numpy.load_file(f"{run}/model.safetensors").items()
    }


def until(condition: Callable[[], Any]) -> Any:
    limit = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def has_trained(run: str) -> bool:
    """Whether a run has a checkpoint."""
    return any(Path(run, "training").glob("step-*"))


@pytest.mark.slow
def test_two_processes_train_the_run_of_one_and_print_it_once() -> None:
    steps = ("--steps", "60", "--evaluations", "4")
    code, out, error = completed(textgen(*COMMON, *steps, "--processes", "2", "--run", "two"))
    assert (code, error) == (0, "")
    assert out.count("Trained for 60 steps") == 1
    assert completed(textgen(*COMMON, *steps, "--run", "one"))[0] == 0
    found, expected = losses("two"), losses("one")
    assert len(found) == 4
    for (step, nats), (expected_step, expected_nats) in zip(found, expected, strict=True):
        assert step == expected_step
        assert nats == pytest.approx(expected_nats, abs=1e-4)
    # Validation is divided: together the processes read each token once.
    for together, alone in zip(validations("two"), validations("one"), strict=True):
        assert together["tokens"] == alone["tokens"]
    assert not Path("runs").exists()
    assert not list(Path(tempfile.gettempdir()).iterdir()), "nothing is left in the temporary directory"


@needs_proc
def test_a_killed_process_ends_all_within_ten_seconds_in_one_line() -> None:
    process = textgen(
        *COMMON, "--steps", "100000", "--evaluations", "400", "--processes", "2", "--run", "lost"
    )
    until(lambda: has_trained("lost"))
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    started = time.monotonic()
    code, _, error = completed(process)
    assert time.monotonic() - started < 10
    assert code == 75
    (line,) = error.splitlines()
    assert re.fullmatch(
        r"textgen: lost: the process of rank \d (was killed by signal 9; the system does that when memory "
        r"runs out|lost another one)\. Resume with: textgen train --resume lost",
        line,
    )


@needs_proc
def test_processes_whose_launcher_is_killed_save_and_end() -> None:
    process = textgen(*COMMON, "--steps", "100000", "--evaluations", "400", "--processes", "2", "--run", "x")
    until(lambda: has_trained("x"))
    process.kill()
    _, error = process.communicate(timeout=PATIENCE)  # until no process has standard error open
    assert re.fullmatch(r"textgen: stopped at step [\d,]+ and saved\. Resume with: [^\n]+\n", error)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_impatient_signals_end_all_too() -> None:
    process = textgen(*COMMON, "--steps", "100000", "--evaluations", "400", "--processes", "2", "--run", "x")
    until(lambda: has_trained("x"))
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    code, _, error = completed(process)
    assert code == 130
    assert "Traceback" not in error


@pytest.mark.slow
@needs_proc
def test_a_stopped_training_is_saved_and_goes_on_with_any_number_of_processes() -> None:
    assert completed(textgen(*COMMON, "--steps", "1500", "--processes", "2", "--run", "whole"))[0] == 0
    for run, processes in (("again", 2), ("alone", 1)):
        stopped = textgen(*COMMON, "--steps", "1500", "--processes", "2", "--run", run)
        until(lambda run=run: has_trained(run))
        stopped.send_signal(signal.SIGTERM)
        code, _, error = completed(stopped)
        assert code == 143
        (line,) = error.splitlines()
        assert re.fullmatch(
            rf"textgen: stopped at step [\d,]+ and saved\. Resume with: textgen train --resume {run}", line
        )
        resumed = textgen("train", "--resume", run, "--processes", str(processes))
        code, out, _ = completed(resumed)
        assert code == 0
        assert "Resuming" in out
    assert weights("again") == weights("whole"), "bit for bit with the same number of processes"
    assert losses("alone")[-1][1] == pytest.approx(losses("whole")[-1][1], abs=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA GPUs")
def test_two_gpus_train_the_run_of_one() -> None:
    for run, processes in (("one", "1"), ("two", "2")):
        steps = ("--steps", "60", "--evaluations", "4", "--device", "cuda")
        code, _, error = completed(textgen(*COMMON, *steps, "--processes", processes, "--run", run))
        assert code == 0, error
    for (_, nats), (_, expected) in zip(losses("two"), losses("one"), strict=True):
        assert nats == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_an_error_of_all_processes_is_reported_once() -> None:
    code, out, error = completed(textgen("train", "missing.txt", "--processes", "2"))
    assert (code, out) == (1, "")
    assert re.fullmatch(r"textgen: missing\.txt: [^\n]+\n", error)
    code, out, error = completed(textgen(*COMMON, "--steps", "5", "--processes", "7"))
    assert (code, out) == (2, "")
    assert error == (
        "textgen: batch_size=6: too small for 7 processes, which divide it; "
        "use a --batch-size of at least 7, and a text that is long enough for it\n"
    )


def test_a_launched_process_launches_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="torchrun has started this process already"):
        run_processes(["train"], 2, run_id="x")
    assert not is_launched()


@pytest.mark.slow
@needs_proc
def test_a_torchrun_whose_workers_are_killed_at_20_moments_ends_in_the_same_weights(tmp_path: Path) -> None:
    steps = ("--steps", "8000", "--evaluations", "80")
    code, out, _ = completed(torchrun(*COMMON, *steps, processes=2, cwd=tmp_path))
    assert code == 0, out
    process = torchrun(*COMMON, *steps, processes=2, restarts=25, cwd=tmp_path)
    moments = random.Random(1)
    killed = 0
    while killed < 20 and process.poll() is None:
        time.sleep(moments.uniform(0.5, 7))
        workers = children(process.pid) if process.poll() is None else []
        if len(workers) == 2:
            with contextlib.suppress(ProcessLookupError):
                os.kill(moments.choice(workers), signal.SIGKILL)
                killed += 1
    code, out, _ = completed(process)
    assert code == 0, out
    assert killed == 20, "it ended before all were killed: give it more steps"
    assert sorted(path.name for path in Path("runs").iterdir()) == ["text", "text-2"], "one run a launch"
    assert weights("runs/text-2") == weights("runs/text")
    assert losses("runs/text-2") == losses("runs/text")
