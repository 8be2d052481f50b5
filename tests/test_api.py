"""The Python interface: train, load and resume, and what a TextModel does."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import textgen
from textgen import TextgenError, TextModel
from textgen.errors import ConfigError, Interrupted, RunError

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
TINY: dict[str, Any] = {
    "hidden_size": 8, "embedding_dim": 4, "batch_size": 4, "seq_len": 16, "evaluations": 2, "threads": 1,
}  # fmt: skip
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "poems.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> TextModel:
    return textgen.train(
        folder / "poems.txt", steps=30, run=folder / "runs" / "poems", cache_dir=folder / "cache",
        progress=False, **TINY,
    )  # fmt: skip


def train(folder: Path, name: str, **options: Any) -> TextModel:
    places = {"run": folder / "runs" / name, "cache_dir": folder / "cache"}
    return textgen.train(folder / "poems.txt", **{"progress": False, **places, **TINY, **options})


def test_generating_streaming_and_the_command_write_the_same_text(model: TextModel, folder: Path) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 60, "temperature": 0.9, "seed": 3}
    sample = model.generate("Line", **settings)
    assert sample.text == "".join(model.stream("Line", **settings))
    command = ["sample", str(model.path), "--prompt", "Line", "--seed", "3", "--temperature", "0.9"]
    result = subprocess.run(
        [sys.executable, "-m", "textgen", *command, "--max-new-tokens", "60"],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.stdout == f"Line{sample.text}\n"


def test_a_text_ends_before_a_stop_string(model: TextModel) -> None:
    text = model.generate("Line 1", max_new_tokens=200, seed=1).text
    stop = text[20:22]
    assert model.generate("Line 1", max_new_tokens=200, seed=1, stop=stop).text == text[: text.index(stop)]
    assert model.generate("Line 1", max_new_tokens=200, seed=1, stop=[stop]).finish_reason == "stop"


def test_several_texts_are_drawn_at_once(model: TextModel) -> None:
    samples = model.generate_many(3, "Line", max_new_tokens=20, seed=5)
    assert len({sample.text for sample in samples}) == 3
    assert samples[0].text == model.generate("Line", max_new_tokens=20, seed=5).text


def test_evaluating_gives_the_figure_that_training_ended_with(model: TextModel, folder: Path) -> None:
    # The final record is of the network alone.
    report = textgen.load(model.path, ngram=False).evaluate(cache_dir=folder / "cache")
    final = json.loads((model.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert report.bits_per_character == pytest.approx(final["bits_per_character"], rel=1e-6)
    assert model.evaluate(window=5, cache_dir=folder / "cache").loss != report.loss


def test_the_score_of_the_validation_text_is_its_evaluation(model: TextModel, folder: Path) -> None:
    val = TEXT[-model.evaluate(cache_dir=folder / "cache").size.characters :]
    evaluated = model.evaluate(cache_dir=folder / "cache").bits_per_character
    assert model.score(val).bits_per_character == pytest.approx(evaluated, rel=1e-5)


def test_what_the_network_reads_is_what_encode_gives(model: TextModel) -> None:
    ids = torch.from_numpy(model.encode("Line 12: the"))[None]
    logits, _ = model.network(ids)
    losses = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert losses < math.log(logits.shape[-1])


def test_loading_and_writing_need_no_torch(model: TextModel) -> None:
    code = (
        f"import sys, textgen; model = textgen.load({str(model.path)!r})\n"
        "model.generate('Line', max_new_tokens=5); model.score('Line 1'); repr(model)\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_training_twice_gives_the_same_weights_and_leaves_torch_as_it_was(folder: Path) -> None:
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    first, second = (train(folder, f"twice-{n}", steps=5) for n in (1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2
    for name, weight in first.run.load_weights().items():
        assert (weight == second.run.load_weights()[name]).all()


def test_training_may_start_from_a_model_and_read_a_settings_file(model: TextModel, folder: Path) -> None:
    (folder / "settings.toml").write_text("learning_rate = 0.5\nsteps = 3\n")
    later = textgen.train(
        config=folder / "settings.toml", from_run=model, run=folder / "runs" / "later",
        cache_dir=folder / "cache", progress=False, learning_rate=0.25,
    )  # fmt: skip
    training = later.run.config.training
    assert (training.learning_rate, training.steps) == (0.25, 3)
    assert later.run.config.from_run == str(model.path)


def test_another_text_that_training_continues_on_is_read_as_that_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = train(folder, "lines", steps=3, documents="line")
    (folder / "more.txt").write_text(TEXT)
    capsys.readouterr()
    places = {"run": folder / "runs" / "more", "cache_dir": folder / "cache"}
    more = textgen.train(folder / "more.txt", from_run=lines, steps=3, **places)
    assert more.run.config.data.documents == "line"
    assert capsys.readouterr().out.startswith(f"Documents are lines, as in {lines.path}.\n")


def test_without_progress_nothing_is_printed_and_with_it_the_notes_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(folder, "silent", steps=3)
    assert capsys.readouterr() == ("", "")
    train(folder, "printed", steps=3, progress=True)
    out, _ = capsys.readouterr()
    assert out.startswith("Corpus: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden_size": 3}, "did you mean 'hidden_size'"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"cell": "lstn"}, "cell='lstn'"),
        ({"resume": "runs/poems"}, "textgen.resume"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(folder, "wrong", **options)
    assert not (folder / "runs" / "wrong").exists()


def test_other_mistakes_are_textgen_errors_too(model: TextModel, folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        model.generate(temprature=0.5)
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        model.stream(temprature=0.5)
    with pytest.raises(ConfigError, match="no text"):
        model.score("")
    with pytest.raises(ConfigError, match="window=0"):
        model.evaluate(window=0)
    with pytest.raises(RunError, match="no such run"):
        textgen.load(folder / "runs" / "none")
    with pytest.raises(RunError, match="complete"):
        textgen.resume(model.path, cache_dir=folder / "cache", progress=False)
    with pytest.raises(TextgenError):
        textgen.train(folder / "none.txt", progress=False)


@pytest.mark.slow
def test_an_interrupted_training_is_resumed_to_the_same_weights(folder: Path) -> None:
    whole = train(folder, "whole", steps=1500)
    path = folder / "runs" / "stopped"

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not (path / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(Interrupted, match=r"textgen\.resume"):
        train(folder, "stopped", steps=1500)
    watcher.join()
    assert textgen.load(path).generate("Line", max_new_tokens=5, seed=1).tokens
    resumed = textgen.resume(path, cache_dir=folder / "cache", progress=False)
    for name, weight in whole.run.load_weights().items():
        assert (weight == resumed.run.load_weights()[name]).all()


def test_writing_leaves_numpys_threads_as_they_were(model: TextModel) -> None:
    """Also while two texts are written in turn, and when a stream is not read to its end."""
    code = (
        "import textgen\n"
        "from threadpoolctl import threadpool_info\n"
        "blas = lambda each: each['user_api'] == 'blas'\n"
        "threads = lambda: [each['num_threads'] for each in filter(blas, threadpool_info())]\n"
        f"import numpy; before = threads(); model = textgen.load({str(model.path)!r})\n"
        "model.encode('Line'); model.score('Line 1'); model.generate(max_new_tokens=3)\n"
        "first, second = model.stream(max_new_tokens=5), model.stream(max_new_tokens=9)\n"
        "next(first); next(second); list(first); list(second)\n"
        "third = model.stream(); next(third); third.close()\n"
        "assert threads() == before, (before, threads())\n"
        "assert before and before[0] == 2, before\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
