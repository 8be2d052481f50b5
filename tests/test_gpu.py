"""A run that is trained on a GPU, from training to text. With -m slow the same tests run on the CPU alone.

A GPU computes float32 layers in TF32, which has three decimal digits: figures are compared with that in mind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textgen
from textgen import TextModel

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
OPTIONS: dict[str, Any] = {
    "hidden_size": 16, "embedding_dim": 8, "num_layers": 2, "batch_size": 8, "seq_len": 16, "steps": 12,
    "evaluations": 2, "threads": 1, "progress": False, "dropout": 0.1, "input_dropout": 0.1,
    "embedding_dropout": 0.1, "weight_drop": 0.1, "activation_penalty": 1.0, "ema_decay": 0.9,
    "learning_rate": 0.01, "deterministic": True,
}  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
            ],
        ),
    ],
)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "lines.txt").write_text(TEXT)
    return folder


def train(folder: Path, device: str, cell: str, name: str) -> TextModel:
    places = {"run": folder / "runs" / f"{device} {cell} {name}", "cache_dir": folder / "cache"}
    return textgen.train(folder / "lines.txt", device=device, cell=cell, **places, **OPTIONS)


@pytest.fixture(scope="module", params=["lstm", "gru"])
def model(request: pytest.FixtureRequest, folder: Path, device: str) -> TextModel:
    return train(folder, device, request.param, "model")


def test_the_same_seed_trains_the_same_weights_again(folder: Path, device: str, model: TextModel) -> None:
    again = train(folder, device, model.run.config.model.cell, "again").run.load_weights()
    weights = model.run.load_weights()
    assert weights.keys() == again.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name], name)


def test_training_lowers_the_loss(model: TextModel) -> None:
    losses = [record["nats_per_token"] for record in model.run.metrics() if record["kind"] == "train"]
    assert losses[-1] < losses[0]


def test_it_is_evaluated_and_scored_as_on_a_cpu(folder: Path, device: str, model: TextModel) -> None:
    expected = model.evaluate(device="cpu", cache_dir=folder / "cache").loss.nats_per_token
    found = model.evaluate(device=device, cache_dir=folder / "cache").loss.nats_per_token
    assert found == pytest.approx(expected, abs=2e-3)
    text = TEXT[-2000:]
    on_device = textgen.load(model.path, device=device)
    assert on_device.score(text).loss.nats_per_token == pytest.approx(
        model.score(text).loss.nats_per_token, abs=2e-3
    )


def test_it_writes_one_text_and_several(device: str, model: TextModel) -> None:
    on_device = textgen.load(model.path, device=device)
    samples = on_device.generate_many(3, "Line", max_new_tokens=20, seed=1)
    assert [len(sample.text) for sample in samples] == [20, 20, 20]
    assert set("".join(sample.text for sample in samples)) <= set(TEXT)
    assert on_device.generate("Line", max_new_tokens=20, seed=1).text == samples[0].text
    assert "".join(on_device.stream("Line", max_new_tokens=20, seed=1)) == samples[0].text


def test_dynamic_evaluation_learns_as_on_a_cpu(cli: Any, folder: Path, device: str, model: TextModel) -> None:
    def loss(device: str) -> float:
        options = ["--dynamic", "--dynamic-method", "sgd", "--device", device, "--json"]
        result = cli("eval", model.path, *options, "--cache-dir", folder / "cache")
        assert result.exit_code == 0, result.stderr
        return float(json.loads(result.stdout)["dynamic"]["nats_per_token"])

    assert loss(device) == pytest.approx(loss("cpu"), abs=1e-2)


def test_gradients_through_time_are_those_of_a_cpu(
    cli: Any, folder: Path, device: str, model: TextModel
) -> None:
    def norms(device: str) -> list[float]:
        options = ["--steps", "5", "--tokens", "500", "--device", device, "--json"]
        result = cli("gradients", model.path, *options, "--cache-dir", folder / "cache")
        assert result.exit_code == 0, result.stderr
        cell = json.loads(result.stdout)["cells"][model.run.config.model.cell]
        return list(cell["trained"]["state"]["mean"])

    assert norms(device) == pytest.approx(norms("cpu"), rel=0.05)
