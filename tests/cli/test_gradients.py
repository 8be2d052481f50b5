"""`textgen gradients` as the user meets it: of a run, of a corpus, stopped, taken up again, and refused."""

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
from typing import Any

import pytest

from textgen.cli import main
from textgen.plots import style
from textgen.run import Run
from textgen.settings.config import DROPOUTS
from textgen.system import device
from textgen.training.trainer import Trainer

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
SMALL = "--steps 8 --positions 20 --tokens 200".split()
TRAINED = "--train-steps 5 --hidden-size 8".split()
TRAIN = "--steps 5 --evaluations 1 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


class Cli:
    """Runs textgen in this process, in a folder with corpus.txt and a cache of its own."""

    def __init__(self, run: Callable[..., tuple[int, str, str]]) -> None:
        self._run = run

    def __call__(self, *arguments: object) -> tuple[str, str]:
        """What a command that must succeed wrote to standard output and standard error."""
        code, out, err = self._run(*arguments)
        assert code == 0, err
        return out, err

    def figures(self, *arguments: object) -> dict[str, Any]:
        found = json.loads(self("gradients", *arguments, *SMALL, "--json")[0])
        assert isinstance(found, dict)
        return found

    def refusal(self, *arguments: object) -> str:
        """The one line of a command that must be refused."""
        code, out, err = self._run("gradients", *SMALL, *arguments)
        assert code in (1, 2)
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text(TEXT)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["textgen", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return Cli(run)


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Path:
    cli("train", "corpus.txt", "--run", "run", "--cell", "gru", *TRAIN)
    return tmp_path / "run"


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def no_training(*_: object) -> None:
    raise AssertionError("it trained")


# ---- of a run


def test_a_run_is_measured_and_left_as_it_was(cli: Cli, run: Path) -> None:
    before = fingerprint(run)
    out, err = cli("gradients", "run", *SMALL)
    assert "GRU, run" in out
    assert "The picture is in gradients.png." in err
    assert Path("gradients.png").read_bytes().startswith(b"\x89PNG")
    found = cli.figures("run", "--output", "other.svg")
    assert Path("other.svg").exists()
    assert found["steps"] == 8
    (figures,) = found["cells"].values()
    assert figures["network"] == "1 x 8 gru"
    assert (figures["positions"], len(figures["trained"]["state"]["mean"])) == (20, 9)
    assert figures["reset"]["tokens"] == 200
    assert fingerprint(run) == before


def test_the_same_command_gives_the_same_figures(cli: Cli, run: Path) -> None:
    assert cli.figures("run") == cli.figures("run")


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
        (["run", "--output", "."], "no kind of picture"),
        (["run", "--output", "x.jpg"], "no kind of picture"),
        (["-"], "save it in a file"),
        (["corpus.txt", "--minutes", 1, "--train-steps", 3], "--minutes does not go with --train-steps"),
        (["corpus.txt", "--cells", "lstm,gur"], "did you mean 'gru'"),
        (["corpus.txt", "--cells", "lstm,lstm"], "--cells lstm,lstm: lstm is named twice"),
        (["corpus.txt", "--cells", ""], "unknown cell ''"),
        (["missing.txt"], "missing.txt"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_in_one_line(cli: Cli, arguments: list[object], named: str) -> None:
    err = cli.refusal(*arguments)
    assert named in err
    assert not Path("gradients").exists()
    assert not Path("gradients.png").exists()


def test_a_run_whose_text_is_gone_says_so(cli: Cli, run: Path) -> None:
    Path("corpus.txt").write_text("another one, " * 50)
    assert "the corpus has changed" in cli.refusal("run")
    Path("corpus.txt").unlink()
    assert "corpus.txt: no such file or folder; check the path (the training text of run)" in cli.refusal(
        "run"
    )
    assert "run is a run" in cli.refusal("corpus.txt", "run")
    (run / "model.safetensors").unlink()
    Path("corpus.txt").write_text(TEXT)
    assert "the weights of this complete run are gone" in cli.refusal("run")


@pytest.mark.usefixtures("run")
def test_without_matplotlib_the_figures_come_and_one_line_names_the_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "can_draw", lambda: False)
    out, err = cli("gradients", "run", *SMALL)
    assert "GRU" in out
    assert [line for line in err.splitlines() if "textgen[plot]" in line]
    assert not Path("gradients.png").exists()
    assert "textgen[plot]" in cli.refusal("run", "--output", "x.png")


# ---- of a corpus


def test_a_corpus_trains_all_cells_and_the_second_time_none(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cli.figures("corpus.txt", *TRAINED)
    assert list(first["cells"]) == ["lstm", "gru", "rnn"]
    for cell, figures in first["cells"].items():
        run = Run(f"gradients/corpus/{cell}")
        assert figures["run"] == str(run.path)
        assert run.config.model.cell == cell
        assert (run.config.model.hidden_size, run.config.training.steps) == (8, 5)
        assert figures["trained"] != figures["first"]
    monkeypatch.setattr(Trainer, "train", no_training)
    assert cli.figures("corpus.txt", *TRAINED) == first


@pytest.mark.parametrize("steps", [5, 40])
def test_the_cells_are_trained_alike_whatever_the_recipe_would_give_one_of_them(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Of a text read as often as in 40 steps the recipe drops weights; in 5 the decays of cells lie apart.

    It gives an LSTM a wide embedding in any case, and where the processor gains by it bfloat16.
    """
    cli("train", "corpus.txt", "--run", "chosen", "--steps", 40, "--hidden-size", 80, "--num-layers", 1)
    assert Run("chosen").config.model.weight_drop > 0
    assert Run("chosen").config.model.embedding_dim == 80
    monkeypatch.setattr(device, "cpu_gains_by_bfloat16", lambda: True)
    cli.figures("corpus.txt", "--train-steps", steps, "--hidden-size", 80)
    configs = [Run(f"gradients/corpus/{cell}").config for cell in ("lstm", "gru", "rnn")]
    networks = [{**vars(config.model), "cell": ""} for config in configs]
    assert networks == networks[:1] * 3
    assert [networks[0][name] for name in DROPOUTS] == [0] * len(DROPOUTS)
    assert [config.training for config in configs] == [configs[0].training] * 3
    assert configs[0].training.temporal_activation_penalty == 0


def test_minutes_are_split_evenly_and_a_seed_and_a_place_can_be_named(cli: Cli) -> None:
    found = cli.figures("corpus.txt", "--minutes", 0.01, "--cells", "rnn,gru", "--seed", 7, "--runs", "here")
    assert list(found["cells"]) == ["rnn", "gru"]
    for cell in ("rnn", "gru"):
        training = Run(f"here/{cell}").config.training
        assert (training.minutes, training.seed) == (0.005, 7)


def test_records_and_encodings_of_a_corpus_are_read(cli: Cli) -> None:
    Path("records.jsonl").write_text(json.dumps({"body": TEXT}) + "\n")
    Path("wide.txt").write_text(TEXT, encoding="utf-16")
    short = [*TRAINED, "--cells", "rnn"]
    plain = cli.figures("corpus.txt", *short)["cells"]["rnn"]
    for arguments in (["records.jsonl", "--field", "body"], ["wide.txt", "--encoding", "utf-16"]):
        found = cli.figures(*arguments, *short)["cells"]["rnn"]
        assert found["trained"] == plain["trained"]


def test_runs_of_other_settings_or_another_text_are_not_taken_for_these(cli: Cli) -> None:
    cli.figures("corpus.txt", *TRAINED, "--cells", "rnn")
    assert "hidden_size=8, not 9" in cli.refusal(
        "corpus.txt", "--train-steps", 5, "--hidden-size", 9, "--cells", "rnn"
    )
    assert "steps=5, not 6" in cli.refusal(
        "corpus.txt", "--train-steps", 6, "--hidden-size", 8, "--cells", "rnn"
    )
    Path("folder").mkdir()
    Path("folder/corpus.txt").write_text(TEXT + "More.\n")
    assert "another text" in cli.refusal("folder/corpus.txt", *TRAINED, "--cells", "rnn")


def test_ctrl_c_saves_and_the_same_command_goes_on_from_there(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
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
    assert "The same command again goes on there" in err.splitlines()[-1]
    assert not (tmp_path / "gradients.png").exists()
    assert not list((tmp_path / "gradients" / "corpus").glob(".*"))


def test_a_training_that_was_interrupted_is_taken_up(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cli.figures("corpus.txt", *TRAINED, "--cells", "gru", "--runs", "whole")
    advance = Trainer.advance

    def stop_at_3(self: Trainer) -> None:
        advance(self)
        if self.position.step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "advance", stop_at_3)
    code, _, err = cli._run("gradients", "corpus.txt", *TRAINED, "--cells", "gru", *SMALL)
    assert (code, "stopped at step 3" in err) == (130, True)
    monkeypatch.setattr(Trainer, "advance", advance)
    found = cli.figures("corpus.txt", *TRAINED, "--cells", "gru")
    assert found["cells"]["gru"]["trained"] == whole["cells"]["gru"]["trained"]


def test_a_training_that_fails_is_measured_with_what_it_kept_or_told_in_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textgen.errors import TrainingError

    train = Trainer.train

    def fail_after(self: Trainer, stop: Any) -> None:
        train(self, stop)
        raise TrainingError("the loss was no longer a number.")

    def fail_at_once(self: Trainer, stop: Any) -> None:
        raise TrainingError("the loss was no longer a number.")

    monkeypatch.setattr(Trainer, "train", fail_after)
    assert cli.figures("corpus.txt", *TRAINED, "--cells", "rnn")["cells"]["rnn"]["trained"]
    monkeypatch.setattr(Trainer, "train", fail_at_once)
    code, out, err = cli._run("gradients", "corpus.txt", *TRAINED, "--cells", "gru", *SMALL)
    assert (code, out) == (1, "")
    assert "the loss was no longer a number" in err.splitlines()[-1]
