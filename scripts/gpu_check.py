"""Test textgen on a GPU and measure it there, in six minutes.

STAGES are tests, steps, sampling and training; all of them by default. Each runs in a process of its own, and
is stopped when its time is up; what it measured until then is kept.

  tests     the tests that need a GPU (pytest -m gpu)
  steps     training steps against bare cuDNN, LSTM and GRU; see gpu_stages/steps.py
  sampling  one text and 64 at once, against the CPU; see gpu_stages/sampling.py
  training  `textgen train TEXT --minutes M` with the recipe's choice; see gpu_stages/training.py

All results are printed as one JSON object. The exit code is 1 if a stage failed. textgen need not be
installed. On a CPU, --device cpu --tiny goes through the same code in seconds.

Examples:
    python scripts/gpu_check.py --text tinyshakespeare.txt --output gpu.json
    python scripts/gpu_check.py tests steps
    python scripts/gpu_check.py --device cpu --tiny
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from benchmarks.command import OutputFile, Script
from benchmarks.results import json_lines
from benchmarks.runs import end_together
from gpu_stages.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
# Seconds; for training those beside the minutes that were asked for, of which it takes up to a tenth more.
TIME_LIMITS = {"tests": 60, "steps": 50, "sampling": 30, "training": 20}
LATE_FRACTION = 0.1
TINY_TIME_LIMIT = 120  # for any stage: not to measure, but not to hang either
OUTPUT_CHARACTERS = 6000  # of what a failed stage printed


@dataclass(frozen=True)
class Ended:
    """A process that ended: its exit code, None if its time was up, and all that it printed."""

    code: int | None
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line that it printed; of a traceback, the error."""
        lines = self.output.strip().splitlines()
        return lines[-1].strip("= ") if lines else "no output"


@click.command(cls=Script, help=__doc__)
@click.argument("stages", nargs=-1, type=click.Choice(list(TIME_LIMITS)))
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=ROOT / "data" / "tales.txt",
    help="The text to train on.  [default: data/tales.txt]",
)
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="Where to run."
)
@click.option(
    "--minutes-of-training",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Minutes of the stage `training`.",
)
@click.option("--tiny", is_flag=True, help="Sizes that take seconds, to try the script.")
@click.option("--output", type=OutputFile(), help="Also write the JSON object to FILE, after each stage.")
def main(
    stages: tuple[str, ...],
    text: Path,
    device: str,
    minutes_of_training: float,
    tiny: bool,
    output: Path | None,
) -> None:
    """Run the stages and print their results."""
    end_together()
    settings = Settings(device, text.resolve(), minutes_of_training, tiny)
    started = time.monotonic()
    report: dict[str, Any] = {}
    for name in dict.fromkeys(stages) or TIME_LIMITS:
        click.echo(f"{name} ...", err=True)
        result = _tests(settings) if name == "tests" else _measured(name, settings, report)
        report[name] = result
        report |= {"passed": not _failed(report), "seconds": round(time.monotonic() - started, 1)}
        click.echo(f"{name}: {result.get('error') or 'done'}, {result['seconds']} s", err=True)
        if output is not None:
            output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(report, indent=2))
    if _failed(report):
        sys.exit(1)


def _failed(report: dict[str, Any]) -> list[str]:
    return [name for name in TIME_LIMITS if "error" in report.get(name, {})]


def _tests(settings: Settings) -> dict[str, Any]:
    """pytest's closing line and the failures."""
    limit = time_limit("tests", settings)
    return run_tests(gpu_test_files(), ROOT, limit, skipping=settings.device != "cuda")


def gpu_test_files() -> list[Path]:
    """The files that have tests marked gpu. The others may import packages that these do not need."""
    marks = re.compile(r"mark\.gpu\b|\beach_device\b")  # a fixture of tests/conftest.py
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    of_scripts = ROOT / "tests" / "scripts"
    return [path for path in files if path.parent != of_scripts and marks.search(path.read_text("utf-8"))]


def run_tests(files: Sequence[Path], folder: Path, limit: float, *, skipping: bool) -> dict[str, Any]:
    """Run the tests marked gpu of these files in a folder. skipping: whether all may be skipped."""
    options = ["-m", "gpu", "-q", "-rfE", "--tb=short", "--color=no", "-p", "no:cacheprovider"]
    # addopts asks for pytest-xdist, which need not be there. Plugins of other packages may warn, which is an
    # error here.
    command = [sys.executable, "-m", "pytest", *options, "-o", "addopts=--import-mode=importlib"]
    ended = run_process([*command, *map(str, files)], folder, limit, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    failures = [line for line in ended.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    result = {"seconds": ended.seconds, "summary": ended.last_line, "failures": failures}
    if ended.code == 0 and not skipping and " passed" not in ended.last_line:
        return result | {"error": f"no test ran ({ended.last_line}): torch sees no CUDA GPU here"}
    return result | _error(ended, limit)


def _measured(name: str, settings: Settings, report: dict[str, Any]) -> dict[str, Any]:
    """The results of a stage of gpu_stages, also when it failed; the machine goes into the report."""
    limit = time_limit(name, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        arguments = [name, settings.as_json(), str(path)]
        ended = run_process([sys.executable, "-m", "gpu_stages", *arguments], ROOT, limit)
        lines = json_lines(path)
    for line in lines[:1]:
        report.setdefault("machine", line["machine"])
    return {"seconds": ended.seconds, "results": lines[1:]} | _error(ended, limit)


def time_limit(name: str, settings: Settings) -> float:
    """How many seconds a stage may take."""
    if settings.tiny:
        return TINY_TIME_LIMIT
    training = settings.minutes_of_training * 60 * (1 + LATE_FRACTION) if name == "training" else 0
    return TIME_LIMITS[name] + training


def run_process(
    command: Sequence[str], folder: Path, limit: float, variables: dict[str, str] | None = None
) -> Ended:
    """Run a process in a folder, in which textgen and the packages of scripts/ can be imported."""
    paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH")]))
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths} | (variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
        )
        code, printed = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, printed = None, error.stdout or b""
    return Ended(code, printed.decode(errors="replace"), round(time.monotonic() - started, 1))


def _error(ended: Ended, limit: float) -> dict[str, str]:
    """What went wrong in a process, in a line and as it was printed; nothing if nothing did."""
    if ended.code == 0:
        return {}
    error = f"stopped after {limit:.0f} s" if ended.code is None else ended.last_line
    return {"error": error, "output": ended.output[-OUTPUT_CHARACTERS:]}


if __name__ == "__main__":
    main()
