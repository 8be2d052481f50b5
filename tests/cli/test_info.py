"""`textgen info`: one run described, or all of them listed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_info_describes_a_run_and_lists_all_runs(cli: Cli) -> None:
    assert "No runs" in cli("info").stdout
    cli("train", "corpus.txt", *TINY, "--cell", "gru")
    final = Run("runs/corpus").metrics()[-1]
    description = cli("info", "runs/corpus").stdout
    for part in (
        "1 x 8 gru",
        "corpus.txt",
        "12 steps",
        f"{final['nats_per_token']:.4f} nats/token",
        "complete",
    ):
        assert part in description
    assert "runs/corpus: 1 x 8 gru" in cli("info").stdout
    assert (
        json.loads(cli("info", "runs/corpus", "--json").stdout)["best"]["nats_per_token"]
        == final["nats_per_token"]
    )
    assert [run["run"] for run in json.loads(cli("info", "--json").stdout)["runs"]] == ["runs/corpus"]


def test_one_damaged_run_does_not_hide_the_others(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "config.json").write_text("{")
    listed = cli("info").stdout.splitlines()
    assert any(line.startswith("runs/bad: not readable") for line in listed)
    assert any(line.startswith("runs/corpus: 1 x 8 lstm") for line in listed)


@pytest.mark.parametrize(
    "damage",
    [
        {"data": None},
        {"model": 3},
        {"measured": None},
        {"measured": {}},
    ],
)
def test_an_incomplete_config_is_a_one_line_error_and_hides_no_other_run(
    cli: Cli, rewrite: Callable[[Path, Any], None], damage: dict[str, object]
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "runs/good")
    cli("train", "corpus.txt", *TINY, "--run", "runs/bad")
    path = Run("runs/bad").path / "config.json"
    rewrite(path, json.loads(path.read_text()) | damage)
    listed = cli("info").stdout
    assert "runs/good: 1 x 8 lstm" in listed
    assert "runs/bad: not readable" in listed
    assert next(iter(damage)) in cli("eval", "runs/bad").only_error


def test_metrics_that_are_not_utf_8_are_a_one_line_error(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    with Run("one").metrics_path.open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert "line " in cli("info", "one").only_error


@pytest.mark.parametrize(
    "line", ['{"kind": "val", "step": 1}', "not JSON", "[]", '{"kind": "val", "step": NaN}']
)
def test_a_bad_measurement_hides_no_other_run(cli: Cli, line: str) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "runs/good")
    shutil.copytree("runs/good", "runs/bad")
    with Run("runs/bad").metrics_path.open("a") as file:
        file.write(line + "\n")
    result = cli("info")
    assert result.exit_code == 0
    good, bad = sorted(result.stdout.splitlines(), reverse=True)
    assert good.startswith("runs/good: 1 x 8 lstm")
    assert bad.startswith("runs/bad: not readable (runs/bad/metrics.jsonl, line ")
    listed = json.loads(cli("info", "--json").stdout)["runs"]
    assert sorted("error" in run for run in listed) == [False, True]
    assert "metrics.jsonl, line " in cli("info", "runs/bad").only_error


def test_measurements_that_are_cut_short_are_said(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    metrics = Run("runs/corpus").metrics_path
    assert not json.loads(cli("info", "runs/corpus", "--json").stdout)["metrics_cut_short"]
    metrics.write_bytes(metrics.read_bytes()[:-9])
    said = "not complete; the end of metrics.jsonl is missing"
    assert said in cli("info").stdout
    assert f"{said}; resume with: textgen train --resume" in cli("info", "runs/corpus").stdout
    assert json.loads(cli("info", "runs/corpus", "--json").stdout)["metrics_cut_short"]


@pytest.mark.parametrize("damage", ["pipe", "folder", "no permission", "a number in words"])
def test_an_unreadable_run_is_listed_with_what_is_wrong(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "runs/good")
    shutil.copytree("runs/good", "runs/bad")
    bad = tmp_path / "runs" / "bad"
    if damage == "no permission":  # which root always has
        access = os.access
        monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "bad" and access(path, mode))
        (bad / "config.json").write_text("")
    elif damage == "a number in words":
        config = json.loads((bad / "config.json").read_text())
        config["measured"]["parameters"] = "many"
        (bad / "config.json").write_text(json.dumps(config))
    else:
        (bad / "config.json").unlink()
        (os.mkfifo if damage == "pipe" else os.mkdir)(bad / "config.json")
    listed = cli("info").stdout.splitlines()
    assert any(line.startswith("runs/good: 1 x 8 lstm") for line in listed)
    assert any(line.startswith("runs/bad: not readable (runs/bad/config.json: ") for line in listed)
    if damage != "a number in words":
        assert "run: runs/good" in cli("sample", "--max-new-tokens", 2).stderr
