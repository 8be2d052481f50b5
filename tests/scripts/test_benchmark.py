"""The benchmark's arithmetic, and one fast case of the script."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def measure(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("benchmarks.measure")


@pytest.fixture(scope="module")
def run(run_script: RunScript) -> RunScript:
    return functools.partial(run_script, "benchmark.py")


@pytest.mark.parametrize(
    ("goal", "figure", "met"),
    [
        (("ratio", 2.0), 2.5, True),
        (("ratio", 3.0), 2.5, False),
        (("difference", 2.0, True), 3.0, False),
        (("difference", 3.0, True), 3.0, True),
        (("ours", 5.0), 5.0, True),
        (("ours", 4.9, True), 5.0, False),
    ],
)
def test_a_goal_bounds_the_ratio_the_difference_or_our_own_value(
    measure: ModuleType, goal: tuple[object, ...], figure: float, met: bool
) -> None:
    comparison = measure.Comparison("case", "other", "s", 5.0, 2.0, measure.Goal(*goal))
    assert comparison.figure == figure
    assert comparison.met is met
    assert comparison.as_json()["met"] is met


def test_without_a_goal_only_the_ratio_is_reported(measure: ModuleType) -> None:
    comparison = measure.Comparison("case", "other", "s", 5.0, 2.0)
    assert comparison.figure == 2.5
    assert comparison.met is None


def test_actions_are_timed_in_turn_and_their_first_calls_do_not_count(measure: ModuleType) -> None:
    called: list[str] = []
    medians = measure.alternate(lambda: called.append("ours"), lambda: called.append("other"), rounds=3)
    assert called == ["ours", "other"] * 4
    assert len(medians) == 2
    assert all(seconds >= 0 for seconds in medians)


def test_the_table_is_markdown_and_says_whether_goals_are_met(measure: ModuleType) -> None:
    comparisons = [
        measure.Comparison("a", "x", "tokens/s", 12_345.0, 1_000.0, measure.Goal("ratio", 20)),
        measure.Comparison("b", "y", "s", 0.25, 0.125),
    ]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in measure.table(comparisons)]
    assert cells[2] == ["a", "x", "tokens/s", "12,345", "1,000", "12.35 x", ">= 20", "no"]
    assert cells[3] == ["b", "y", "s", "0.25", "0.125", "2.00 x", "", ""]
    assert len({len(line) for line in measure.table(comparisons)}) == 1


def test_one_case_is_measured_printed_and_written_as_json(run: RunScript, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    process = run("starting", "--only", "textgen info --help", "--rounds", "3", "--json", str(path))
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "| textgen info --help | python -c pass" in process.stdout
    figures = json.loads(path.read_text())
    assert figures["machine"]["processors"] == os.cpu_count()
    (case,) = figures["starting"]
    assert case["ours"] > case["theirs"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["everything"], "everything"),
        (["starting", "--only", "no such case"], "no such case"),
        (["starting", "--json", "no-such-folder/file"], "no-such-folder"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(run: RunScript, arguments: list[str], words: str) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert words in process.stderr
    assert "Traceback" not in process.stderr
