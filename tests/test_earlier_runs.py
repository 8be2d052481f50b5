"""Runs made by an earlier version load, sample and evaluate as they did then, and are resumed.

runs_of_format_1/ is a folder of an earlier version, made in /home/ada/poems: a text, runs of each cell and
each tokenizer, and one that was interrupted, with its checkpoint. expected.json is what that version printed
for them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

FOLDER = Path(__file__).parent / "runs_of_format_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
COMPLETE = [name for name in EXPECTED if name != "interrupted"]
LINE = "The old cat sings at dawn.\n"


def close(expected: Any, rel: float) -> Any:
    """The same value, its floating-point numbers to a relative tolerance."""
    if isinstance(expected, dict):
        return {name: close(value, rel) for name, value in expected.items()}
    if isinstance(expected, list):
        return [close(value, rel) for value in expected]
    return pytest.approx(expected, rel=rel) if isinstance(expected, float) else expected


def assert_as_expected(printed: str, expected: dict[str, Any], rel: float) -> None:
    """A JSON object has what the earlier version's had; it may have more."""
    figures = json.loads(printed)
    assert {name: figures.get(name) for name in expected} == close(expected, rel)


@pytest.fixture
def textgen(cli: Cli, tmp_path: Path) -> Cli:
    """Run textgen in a copy of the folder, so in another place than the runs were made in."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)

    def run(*arguments: object) -> Any:
        result = cli(*arguments)
        assert result.exit_code == 0, result.stderr
        return result

    return run


def test_the_test_data_are_small_and_name_no_machine() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    for path in files:
        content = path.read_bytes().replace(b"/home/ada/", b"")
        assert not any(folder in content for folder in (b"/home/", b"/root/", b"/tmp/", b"/Users/")), path


@pytest.mark.parametrize("name", COMPLETE)
def test_an_earlier_run_writes_the_same_text(textgen: Cli, name: str) -> None:
    options = "--seed", 1, "--prompt", "The old ", "--mid-text", "--no-heal", "--max-new-tokens", 60
    assert textgen("sample", f"runs/{name}", *options).stdout == EXPECTED[name]["sample"]


@pytest.mark.parametrize("name", COMPLETE)
def test_an_earlier_run_has_the_same_validation_loss(textgen: Cli, name: str) -> None:
    printed = textgen("eval", f"runs/{name}", "--json").stdout
    assert_as_expected(printed, EXPECTED[name]["evaluation"], rel=1e-6)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_earlier_run_scores_a_text_the_same(
    textgen: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "line.txt").write_text(LINE)
    with (tmp_path / "line.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        printed = textgen("score", f"runs/{name}", "-", "--json").stdout
    assert_as_expected(printed, EXPECTED[name]["score"], rel=1e-6)


def test_earlier_runs_are_described_and_listed(textgen: Cli) -> None:
    description = textgen("info", "runs/lstm-word").stdout
    for part in ("2 x 8 lstm", "corpus.txt", "40 steps", "2.6837 nats/token", "complete"):
        assert part in description
    listed = {run["run"] for run in json.loads(textgen("info", "--json").stdout)["runs"]}
    assert listed == {f"runs/{name}" for name in EXPECTED}


def test_an_earlier_run_that_was_interrupted_is_resumed_and_ends_with_nearly_its_loss(
    textgen: Cli,
) -> None:
    result = textgen("train", "--resume", "runs/interrupted", "--json")
    # To a tolerance: the masks of dropout are others now, in the 3,484 steps that are left.
    assert_as_expected(result.stdout, EXPECTED["interrupted"], rel=0.05)
    assert "step 516" in result.stderr
    steps = [record["step"] for record in Run("runs/interrupted").metrics() if record["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert (len(steps), steps[0], steps[-1]) == (200, 20, 4000)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_earlier_run_can_be_fine_tuned(textgen: Cli, name: str) -> None:
    tuned = json.loads(
        textgen("train", "--from", f"runs/{name}", "--steps", 60, "--run", "tuned", "--json").stdout
    )
    assert tuned["nats_per_token"] < EXPECTED[name]["evaluation"]["nats_per_token"]
    assert Run("tuned").tokenizer.fingerprint == Run(f"runs/{name}").tokenizer.fingerprint
    assert Run("tuned").config.from_run == str(Path(f"runs/{name}").absolute())


@pytest.mark.parametrize("name", COMPLETE)
def test_training_is_repeated_from_the_config_of_an_earlier_run(textgen: Cli, name: str) -> None:
    again = json.loads(textgen("train", "--config", f"runs/{name}", "--run", "again", "--json").stdout)
    # To a tolerance: the masks of dropout are others now.
    assert again["nats_per_token"] == pytest.approx(EXPECTED[name]["evaluation"]["nats_per_token"], rel=0.01)
    assert Run("again").config.model == Run(f"runs/{name}").config.model
    assert Run("again").config.training == Run(f"runs/{name}").config.training
