"""The GPU check: all stages on a CPU, and what becomes of one that fails or takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
RunScript = Callable[..., subprocess.CompletedProcess[str]]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def gpu_check(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("gpu_check")


@pytest.fixture(scope="module")
def report(run_script: RunScript, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What all stages measured on the CPU."""
    path = tmp_path_factory.mktemp("gpu") / "report.json"
    process = run_script("gpu_check.py", "--device", "cpu", "--tiny", "--output", str(path))
    assert process.returncode == 0, process.stdout
    printed: dict[str, Any] = json.loads(process.stdout)
    assert printed == json.loads(path.read_text())
    return printed


@pytest.mark.slow
def test_every_stage_has_results_and_the_machine_is_named(report: dict[str, Any]) -> None:
    assert report["passed"] is True
    assert not [name for name, stage in report.items() if isinstance(stage, dict) and "error" in stage]
    assert report["machine"]["device"] == "cpu"
    assert report["machine"]["torch"] == torch.__version__
    assert report["seconds"] >= sum(report[name]["seconds"] for name in ("tests", "steps", "sampling"))


@without_gpu
@pytest.mark.slow
def test_the_closing_line_of_pytest_is_kept(report: dict[str, Any]) -> None:
    assert report["tests"]["failures"] == []
    assert "skipped" in report["tests"]["summary"]


@pytest.mark.slow
def test_shares_and_ratios_are_those_of_the_times(report: dict[str, Any]) -> None:
    of_cells = [line for line in report["steps"]["results"] if "cell" in line]
    of_units = [line for line in report["steps"]["results"] if "cell" not in line]
    assert [(line["units"], line["cell"]) for line in of_cells] == [
        (units, cell) for units in (8, 16) for cell in ("lstm", "gru")
    ]
    for line in of_cells:
        step = line["step_milliseconds"]
        for other in ("bare_step", "layer"):
            share = line[f"{other}_milliseconds"] / step
            assert line[f"share_of_{other}"] == pytest.approx(share, rel=0.01, abs=2e-3)
        assert line["tokens_per_second"] == pytest.approx(1e3 * 4 * 8 / step, rel=0.01)
        assert line["step_peak_megabytes"] is None
    for lstm, gru, both in zip(of_cells[::2], of_cells[1::2], of_units, strict=True):
        ratio = gru["step_milliseconds"] / lstm["step_milliseconds"]
        assert both["step_time_of_gru_to_lstm"] == pytest.approx(ratio, rel=0.01, abs=2e-3)


@pytest.mark.slow
def test_one_text_and_several_are_sampled(report: dict[str, Any]) -> None:
    lines = report["sampling"]["results"]
    assert [(line["cell"], line["texts"]) for line in lines] == [
        (cell, texts) for cell in ("lstm", "gru") for texts in (1, 4)
    ]
    for line in lines:
        ratio = line["tokens_per_second"] / line["tokens_per_second_numpy"]
        assert line["ratio"] == pytest.approx(ratio, abs=0.01)


@pytest.mark.slow
def test_training_gives_the_loss_in_nats_and_bits(report: dict[str, Any]) -> None:
    (result,) = report["training"]["results"]
    # By characters, of which data/tales.txt has fewer than e**4.
    assert 1 < result["nats_per_token"] < 4
    assert result["bits_per_character"] == pytest.approx(result["nats_per_token"] / 0.693147, rel=1e-4)
    assert result["text"] == "tales.txt"
    assert result["steps"] == 3
    assert result["chosen"]["device"] == "cpu"


@without_gpu
def test_stages_that_fail_are_reported_and_the_exit_code_is_1(run_script: RunScript, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    process = run_script("gpu_check.py", "sampling", "tests", "--tiny", "--output", str(path))
    assert process.returncode == 1
    report = json.loads(process.stdout)
    assert report == json.loads(path.read_text())
    assert report["passed"] is False
    assert report["sampling"]["results"] == []
    assert "torch sees no CUDA GPU here" in report["sampling"]["error"]
    assert "Traceback" in report["sampling"]["output"]
    assert report["tests"]["error"].startswith("no test ran")
    assert "Traceback" not in process.stderr


def test_a_process_that_takes_too_long_is_stopped_and_what_it_printed_kept(
    gpu_check: ModuleType, tmp_path: Path
) -> None:
    code = "import time; print('begun', flush=True); time.sleep(60)"
    ended = gpu_check.run_process([sys.executable, "-c", code], tmp_path, 1.0)
    assert ended.code is None
    assert ended.output == "begun\n"
    assert 1 <= ended.seconds < 30


def test_results_of_a_stage_that_runs_out_of_time_are_kept(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gpu_check.run_process

    def slow_after_one(command: list[str], folder: Path, limit: float) -> Any:
        code = (
            "import pathlib, sys, time\n"
            'pathlib.Path(sys.argv[1]).write_text(\'{"machine": {"device": "x"}}\\n{"units": 8}\\n\')\n'
            "time.sleep(60)"
        )
        return run([sys.executable, "-c", code, command[-1]], folder, 1.0)

    monkeypatch.setattr(gpu_check, "run_process", slow_after_one)
    report: dict[str, Any] = {}
    settings = gpu_check.Settings("cpu", tmp_path, 3.0, tiny=True)
    result = gpu_check._measured("steps", settings, report)
    assert result["results"] == [{"units": 8}]
    assert result["error"].startswith("stopped after")
    assert report == {"machine": {"device": "x"}}


def test_failing_tests_are_named(gpu_check: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "import pytest\n\n"
        "@pytest.mark.gpu\ndef test_good(): pass\n\n"
        "@pytest.mark.gpu\ndef test_bad(): assert 1 == 2, 'one is not two'\n\n"
        "def test_of_the_cpu(): assert False\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    result = gpu_check.run_tests([path], tmp_path, 60, skipping=False)
    (failure,) = result["failures"]
    assert "test_bad" in failure
    assert "one is not two" in failure
    assert "1 failed, 1 passed, 1 deselected" in result["summary"]
    assert "1 failed" in result["error"]


def test_that_no_test_ran_is_an_error_unless_they_may_be_skipped(
    gpu_check: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("import pytest\n\n@pytest.mark.gpu\ndef test_it(): pytest.skip('no GPU')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    assert "error" not in gpu_check.run_tests([path], tmp_path, 60, skipping=True)
    assert "1 skipped" in gpu_check.run_tests([path], tmp_path, 60, skipping=False)["error"]


def test_with_three_minutes_of_training_the_limits_of_all_stages_are_six_minutes(
    gpu_check: ModuleType, tmp_path: Path
) -> None:
    settings = gpu_check.Settings("cuda", tmp_path, 3.0, tiny=False)
    assert sum(gpu_check.time_limit(name, settings) for name in gpu_check.TIME_LIMITS) <= 360
    longer = gpu_check.Settings("cuda", tmp_path, 10.0, tiny=False)
    assert gpu_check.time_limit("training", longer) > 600


@pytest.mark.slow
def test_no_test_marked_gpu_is_left_out(gpu_check: ModuleType) -> None:
    def collected(*paths: object) -> set[str]:
        command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "gpu", "--collect-only", "-q"]
        answer = subprocess.run(
            [*command, *map(str, paths)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return {line for line in answer.stdout.splitlines() if "::" in line}

    everything = collected("tests")
    assert len(everything) > 80
    assert collected(*gpu_check.gpu_test_files()) == everything
