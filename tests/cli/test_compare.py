"""`textgen compare` with real runs: stopped and killed in the middle, resumed, and shown again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import textgen
from textgen.cli.compare import SHARED
from textgen.settings.given import PATHS, option_names

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(textgen.__file__).parents[1]
TEXT = "".join(f"The {n} birds of line {n * n % 97} sing of {n % 7} things, and rest.\n" for n in range(300))
SETTINGS = (
    "--seeds 1 --minutes 0.06 --hidden-size 8 --threads 1 --match size --output c --cache-dir cache".split()
)


def compare(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-P",
        "-W",
        "error",
        "-m",
        "textgen",
        "compare",
        "corpus.txt",
        *SETTINGS,
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines_of(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One comparison: stopped by Ctrl-C in its first run, killed in its second, and finished."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "corpus.txt").write_text(TEXT)
    (folder / "tqdm.py").write_text("raise SystemExit('a module next to a text must not be imported')")
    first, second = folder / "c" / "lstm-seed1", folder / "c" / "gru-seed1"
    process = compare(folder)
    wait_for(process, lambda: lines_of(first) >= 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    stopped = {"code": process.returncode, "out": out, "err": err}
    stopped["step"] = max(int(path.name[5:]) for path in first.glob("training/step-*"))
    process = compare(folder)
    wait_for(process, lambda: lines_of(second) >= 10)
    kept = (first / "model.safetensors").stat().st_mtime_ns
    process.kill()
    process.communicate(timeout=60)
    process = compare(folder)
    out, err = process.communicate(timeout=120)
    done = {"code": process.returncode, "out": out, "err": err}
    return {"folder": folder, "first": first, "stopped": stopped, "kept": kept, "done": done}


def test_ctrl_c_saves_the_current_run_and_says_how_to_continue(story: dict[str, Any]) -> None:
    stopped = story["stopped"]
    assert stopped["code"] == 130
    assert stopped["out"] == ""
    assert "0 of 2 runs are complete" in stopped["err"].splitlines()[-1]
    assert "same command" in stopped["err"].splitlines()[-1]
    assert stopped["step"] > 0


def test_the_same_command_resumes_the_interrupted_run_and_keeps_complete_ones(story: dict[str, Any]) -> None:
    done = story["done"]
    assert done["code"] == 0, done["err"]
    log = (story["folder"] / "c" / "lstm-seed1.log").read_text()
    assert f"Resuming c/lstm-seed1 at step {story['stopped']['step']:,}." in log
    assert story["kept"] == (story["first"] / "model.safetensors").stat().st_mtime_ns
    finals = [
        (story["folder"] / "c" / name / "metrics.jsonl").read_text().count('"kind": "final"')
        for name in ("lstm-seed1", "gru-seed1")
    ]
    assert finals == [1, 1]


def test_the_runs_differ_only_in_what_is_compared(story: dict[str, Any]) -> None:
    configs = [
        json.loads((story["folder"] / "c" / name / "config.json").read_text())
        for name in ("lstm-seed1", "gru-seed1")
    ]
    models = [config["model"] for config in configs]
    assert {name for name in models[0] if models[0][name] != models[1][name]} == {"cell"}
    settings = [config["training"] for config in configs]
    assert settings[0].keys() == settings[1].keys()
    assert {name for name in settings[0] if settings[0][name] != settings[1][name]} <= {
        "threads",
        "precision",
        "learning_rate",
        "temporal_activation_penalty",
    }


def test_the_table_and_the_files_hold_the_measurements(story: dict[str, Any]) -> None:
    folder, out = story["folder"] / "c", story["done"]["out"]
    figures = json.loads((folder / "comparison.json").read_text())
    lstm, gru = figures["cells"]
    final = json.loads((folder / "gru-seed1" / "metrics.jsonl").read_text().splitlines()[-1])
    assert gru["nats_per_token"] == {"mean": final["nats_per_token"], "half_width": None}
    assert f"{final['nats_per_token']:.4f}" in out
    assert out.splitlines()[0].split() == ["LSTM", "GRU"]
    # A process that has loaded torch takes more than 100 MB, and this network not ten times as much.
    assert 100e6 < lstm["peak_memory_bytes"] < 1000e6
    assert lstm["characters_per_second"] > 0
    assert figures["passes"]["torch_seconds"].keys() == figures["passes"]["textgen_seconds"].keys()
    assert "too few seeds" in out
    assert (folder / "comparison.md").read_text().startswith("# LSTM, GRU on corpus\n")
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_comparison_is_shown_again_without_training_or_measuring(story: dict[str, Any]) -> None:
    folder = story["folder"]
    before = {path: path.stat().st_mtime_ns for path in (folder / "c").glob("*-seed1/*")}
    speeds = (folder / "c" / "speeds.json").stat().st_mtime_ns
    process = compare(folder, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out) == json.loads((folder / "c" / "comparison.json").read_text())
    assert err.startswith("Written: ")
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "c").glob("*-seed1/*")}
    assert speeds == (folder / "c" / "speeds.json").stat().st_mtime_ns


def test_n_grams_are_added_to_a_finished_comparison_and_counted_once(story: dict[str, Any]) -> None:
    folder = story["folder"]
    before = {path: path.stat().st_mtime_ns for path in (folder / "c").glob("*-seed1/*")}
    process = compare(folder, "--cells", "lstm,gru,ngram")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.startswith("ngram: of up to 9 tokens, ")
    found = json.loads((folder / "c" / "comparison.json").read_text())["ngrams"]
    assert out.splitlines()[0].split() == ["LSTM", "GRU", "n-grams"]
    (entries,) = [line for line in out.splitlines() if line.startswith("parameters")]
    assert entries.endswith(f" {found['parameters']:,}")
    (losses,) = [line for line in out.splitlines() if line.startswith("validation, nats/token")]
    assert losses.endswith(f" {found['nats_per_token']:.4f}")
    final = json.loads((folder / "c" / "gru-seed1" / "metrics.jsonl").read_text().splitlines()[-1])
    assert found["tokens"] == final["tokens"] + final["unread_tokens"]
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "c").glob("*-seed1/*")}
    counted = (folder / "c" / "ngram.json").stat().st_mtime_ns
    process = compare(folder, "--cells", "ngram,lstm,gru", "--json")
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["ngrams"] == found
    assert err.startswith("Written: ")
    assert counted == (folder / "c" / "ngram.json").stat().st_mtime_ns


def test_one_network_and_n_grams_are_compared(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.analysis.comparison.throughput.LAYER_SECONDS", 0.01)
    Path("corpus.txt").write_text(TEXT)
    done = cli("compare", "corpus.txt", *SETTINGS, "--cells", "ngram,rnn", "--minutes", "0.02")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["RNN", "n-grams"]
    assert "A plain RNN predicts better than n-grams: too few seeds." in " ".join(done.stdout.split())
    assert {path.name for path in Path("c").iterdir() if path.is_dir()} == {"rnn-seed1"}


def test_n_grams_are_refused_where_a_network_is_trained(cli: Cli) -> None:
    Path("corpus.txt").write_text(TEXT)
    Path("settings.toml").write_text('cell = "ngram"')
    for given in (["--cell", "ngram"], ["--config", "settings.toml"]):
        refused = cli("train", "corpus.txt", *given).only_error
        assert "textgen ngram RUN" in refused
        assert "textgen compare --cells lstm,ngram" in refused
    assert "'gruu' is not one of" in cli("train", "corpus.txt", "--cell", "gruu").only_error
    refused = cli("gradients", "corpus.txt", "--cells", "lstm,ngram").only_error
    assert "n-grams are not a network; there are lstm, gru, rnn" in refused


def test_other_options_for_the_same_directory_are_refused_in_one_line(story: dict[str, Any]) -> None:
    process = compare(story["folder"], "--seeds", "2")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err == "textgen: c: holds a comparison with other options (seeds was 1). Name another --output\n"


def test_a_failed_run_is_reported_in_one_line_that_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    process = compare(tmp_path, "--tokenizer", "chars")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "did you mean 'char'" in err.splitlines()[-1]
    assert "c/lstm-seed1.log" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_every_shared_option_is_an_option_of_train() -> None:
    names = {name for _, group in SHARED for name in group}
    assert names <= {*option_names(), *PATHS}
    assert not names & {"cell", "seed", "minutes", "epochs", "steps", "run", "corpus"}
