"""`textgen gradients`: of a run, of a corpus, interrupted, resumed, and refused."""

from __future__ import annotations

import hashlib
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

from textgen.plots import style
from textgen.run import Run
from textgen.settings.config import DROPOUTS
from textgen.system import device
from textgen.training.trainer import Trainer

if TYPE_CHECKING:
    from tests.conftest import Cli

    Figures = Callable[..., dict[str, Any]]

SMALL = "--steps 8 --positions 20 --tokens 200".split()
TRAINED = "--train-steps 5 --hidden-size 8".split()
TRAIN = "--steps 5 --evaluations 1 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


@pytest.fixture
def figures(cli: Cli) -> Figures:
    """What `textgen gradients ... --json` prints."""

    def run(*arguments: object) -> dict[str, Any]:
        result = cli("gradients", *arguments, *SMALL, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.fixture
def refusal(cli: Cli) -> Callable[..., str]:
    """The one line of a `textgen gradients ...` that must be refused."""

    def run(*arguments: object) -> str:
        result = cli("gradients", *SMALL, *arguments)
        assert result.exit_code in (1, 2)
        return result.only_error

    return run


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Path:
    assert cli("train", "corpus.txt", "--run", "run", "--cell", "gru", *TRAIN).exit_code == 0
    return tmp_path / "run"


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def no_training(*_: object) -> None:
    raise AssertionError("it trained")


# ---- of a run


def test_a_run_is_measured_and_left_unchanged(figures: Figures, cli: Cli, run: Path) -> None:
    before = fingerprint(run)
    result = cli("gradients", "run", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "GRU, run" in result.stdout
    assert "The picture is in gradients.png." in result.stderr
    assert Path("gradients.png").read_bytes().startswith(b"\x89PNG")
    found = figures("run", "--output", "other.svg")
    assert Path("other.svg").exists()
    assert found["steps"] == 8
    (cell,) = found["cells"].values()
    assert cell["network"] == "1 x 8 gru"
    assert (cell["positions"], len(cell["trained"]["state"]["mean"])) == (20, 9)
    assert cell["reset"]["tokens"] == 200
    assert fingerprint(run) == before


def test_the_same_command_gives_the_same_figures(figures: Figures, run: Path) -> None:
    assert figures("run") == figures("run")


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--cells", "gru"], "--cells is for a CORPUS, and run is a run"),
        (["run", "--train-steps", 3], "--train-steps is for a CORPUS"),
        (["run", "--seed", 0], "--seed is for a CORPUS"),
        (["run", "--encoding", "latin-1"], "--encoding is for a CORPUS"),
        (["run", "corpus.txt"], "run is a run, and one is measured at a time"),
        (["run", "--steps", 2000], "too few to look 2000 steps back"),
        (["corpus.txt", "--steps", 5000], "too few to look 5000 steps back"),
        (["run", "--output", "no/x.png"], "cannot write into"),
        (["run", "--output", "."], "the name must end in one of .png, .svg, .pdf"),
        (["run", "--output", "x.jpg"], "the name must end in one of .png, .svg, .pdf"),
        (["-"], "save it to a file"),
        (["corpus.txt", "--minutes", 1, "--train-steps", 3], "--minutes does not go with --train-steps"),
        (["corpus.txt", "--cells", "lstm,gur"], "did you mean 'gru'"),
        (["corpus.txt", "--cells", "lstm,lstm"], "--cells lstm,lstm: lstm is named twice"),
        (["corpus.txt", "--cells", ""], "unknown cell ''"),
        (["missing.txt"], "missing.txt"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_invalid_options_are_refused_in_one_line(
    refusal: Callable[..., str], arguments: list[object], named: str
) -> None:
    err = refusal(*arguments)
    assert named in err
    assert not Path("gradients").exists()
    assert not Path("gradients.png").exists()


def test_a_missing_or_changed_text_is_reported(refusal: Callable[..., str], text: str, run: Path) -> None:
    Path("corpus.txt").write_text("another one, " * 50)
    assert "the corpus has changed" in refusal("run")
    Path("corpus.txt").unlink()
    assert "corpus.txt: no such file or folder; check the path (the training text of run)" in refusal("run")
    assert "run is a run" in refusal("corpus.txt", "run")
    (run / "model.safetensors").unlink()
    Path("corpus.txt").write_text(text)
    assert "model.safetensors: no such file; " in refusal("run")


@pytest.mark.usefixtures("run")
def test_without_matplotlib_the_table_is_printed_and_one_line_names_the_extra(
    refusal: Callable[..., str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "can_draw", lambda: False)
    result = cli("gradients", "run", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "GRU" in result.stdout
    assert [line for line in result.stderr.splitlines() if "textgen[plot]" in line]
    assert not Path("gradients.png").exists()
    assert "textgen[plot]" in refusal("run", "--output", "x.png")


# ---- of a corpus


def test_a_corpus_trains_all_cells_the_first_time_only(
    figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = figures("corpus.txt", *TRAINED)
    assert list(first["cells"]) == ["lstm", "gru", "rnn"]
    for cell, found in first["cells"].items():
        run = Run(f"gradients/corpus/{cell}")
        assert found["run"] == str(run.path)
        assert run.config.model.cell == cell
        assert (run.config.model.hidden_size, run.config.training.steps) == (8, 5)
        assert found["trained"] != found["first"]
    monkeypatch.setattr(Trainer, "train", no_training)
    assert figures("corpus.txt", *TRAINED) == first


@pytest.mark.parametrize("steps", [5, 40])
def test_all_cells_are_trained_with_the_same_settings_whatever_the_recipe_would_choose(
    figures: Figures, cli: Cli, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """For 40 steps the recipe chooses weight drop; for 5, a weight decay that differs between cells.

    For an LSTM it always chooses a wide embedding, and bfloat16 where the CPU is faster with it.
    """
    sizes = "--steps", 40, "--hidden-size", 80, "--num-layers", 1
    assert cli("train", "corpus.txt", "--run", "chosen", *sizes).exit_code == 0
    assert Run("chosen").config.model.weight_drop > 0
    assert Run("chosen").config.model.embedding_dim == 80
    monkeypatch.setattr(device, "cpu_gains_by_bfloat16", lambda: True)
    figures("corpus.txt", "--train-steps", steps, "--hidden-size", 80)
    configs = [Run(f"gradients/corpus/{cell}").config for cell in ("lstm", "gru", "rnn")]
    networks = [{**vars(config.model), "cell": ""} for config in configs]
    assert networks == networks[:1] * 3
    assert [networks[0][name] for name in DROPOUTS] == [0] * len(DROPOUTS)
    assert [config.training for config in configs] == [configs[0].training] * 3
    assert configs[0].training.temporal_activation_penalty == 0


@pytest.mark.slow
def test_minutes_are_split_evenly_and_the_seed_and_the_folder_can_be_chosen(figures: Figures) -> None:
    found = figures("corpus.txt", "--minutes", 0.01, "--cells", "rnn,gru", "--seed", 7, "--runs", "here")
    assert list(found["cells"]) == ["rnn", "gru"]
    for cell in ("rnn", "gru"):
        training = Run(f"here/{cell}").config.training
        assert (training.minutes, training.seed) == (0.005, 7)


def test_records_and_encodings_of_a_corpus_are_read(figures: Figures, text: str) -> None:
    Path("records.jsonl").write_text(json.dumps({"body": text}) + "\n")
    Path("wide.txt").write_text(text, encoding="utf-16")
    short = [*TRAINED, "--cells", "rnn"]
    plain = figures("corpus.txt", *short)["cells"]["rnn"]
    for arguments in (["records.jsonl", "--field", "body"], ["wide.txt", "--encoding", "utf-16"]):
        found = figures(*arguments, *short)["cells"]["rnn"]
        assert found["trained"] == plain["trained"]


def test_runs_with_other_settings_or_another_text_are_not_reused(
    figures: Figures, refusal: Callable[..., str], text: str
) -> None:
    figures("corpus.txt", *TRAINED, "--cells", "rnn")
    assert "hidden_size=8, not 9" in refusal(
        "corpus.txt", "--train-steps", 5, "--hidden-size", 9, "--cells", "rnn"
    )
    assert "steps=5, not 6" in refusal("corpus.txt", "--train-steps", 6, "--hidden-size", 8, "--cells", "rnn")
    Path("folder").mkdir()
    Path("folder/corpus.txt").write_text(text + "More.\n")
    assert "another text" in refusal("folder/corpus.txt", *TRAINED, "--cells", "rnn")


def test_ctrl_c_saves_the_run_and_the_same_command_continues_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(text)
    arguments = ["gradients", "corpus.txt", "--train-steps", "40000", "--hidden-size", "8", *SMALL]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *arguments], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = tmp_path / "gradients" / "corpus" / "lstm"
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "stopped at step" in err.splitlines()[-1]
    assert "repeat the same command" in err.splitlines()[-1]
    assert not (tmp_path / "gradients.png").exists()
    assert not list((tmp_path / "gradients" / "corpus").glob(".*"))


def test_an_interrupted_training_is_resumed(
    figures: Figures, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = figures("corpus.txt", *TRAINED, "--cells", "gru", "--runs", "whole")
    advance = Trainer.advance

    def stop_at_3(self: Trainer) -> None:
        advance(self)
        if self.position.step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "advance", stop_at_3)
    stopped = cli("gradients", "corpus.txt", *TRAINED, "--cells", "gru", *SMALL)
    assert (stopped.exit_code, "stopped at step 3" in stopped.stderr) == (130, True)
    monkeypatch.setattr(Trainer, "advance", advance)
    found = figures("corpus.txt", *TRAINED, "--cells", "gru")
    assert found["cells"]["gru"]["trained"] == whole["cells"]["gru"]["trained"]


def test_after_a_failed_training_the_kept_weights_are_measured_or_one_line_reports_it(
    figures: Figures, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textgen.errors import TrainingError

    train = Trainer.train

    def fail_after(self: Trainer, stop: Any) -> None:
        train(self, stop)
        raise TrainingError("the loss was no longer a number.")

    def fail_at_once(self: Trainer, stop: Any) -> None:
        raise TrainingError("the loss was no longer a number.")

    monkeypatch.setattr(Trainer, "train", fail_after)
    assert figures("corpus.txt", *TRAINED, "--cells", "rnn")["cells"]["rnn"]["trained"]
    monkeypatch.setattr(Trainer, "train", fail_at_once)
    result = cli("gradients", "corpus.txt", *TRAINED, "--cells", "gru", *SMALL)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the loss was no longer a number" in result.stderr.splitlines()[-1]
