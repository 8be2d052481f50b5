"""A checkpoint is whole or refused, and what is gone is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from textgen.errors import RunError
from textgen.models.language_model import LanguageModel, ModelConfig
from textgen.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    newest_checkpoint,
    remove_others,
    save_checkpoint,
)
from textgen.training.metrics import MetricsLog
from textgen.training.optimizer import AdamW, build_optimizer, load_optimizer_tensors, optimizer_tensors


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        progress={"step": step, "seconds": 1.5},
        weights={"w": torch.arange(6.0).reshape(2, 3)},
        optimizer={"w/exp_avg": torch.ones(2, 3)},
        carried={"state/0": torch.ones(1, 2, 3, dtype=torch.bfloat16)},
        best={"w": np.ones((2, 3), np.float32)},
    )


def test_a_checkpoint_comes_back_as_it_was_types_included(tmp_path: Path) -> None:
    saved = checkpoint(7)
    found = load_checkpoint(save_checkpoint(tmp_path, saved))
    assert found.progress == saved.progress
    assert found.carried["state/0"].dtype == torch.bfloat16
    for part in ("weights", "optimizer", "carried"):
        for name, tensor in getattr(saved, part).items():
            assert torch.equal(getattr(found, part)[name], tensor)
    assert np.array_equal(found.best["w"], saved.best["w"])


def test_the_newest_is_that_of_the_highest_step_and_the_others_go(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        path = save_checkpoint(tmp_path, checkpoint(step))
    assert newest_checkpoint(tmp_path) == path
    (tmp_path / ".step-120.x1y2").mkdir()  # half built by a process that was killed
    remove_others(tmp_path, keep={9, 100})
    assert {entry.name for entry in tmp_path.iterdir()} == {"step-9", "step-100"}


@pytest.mark.parametrize("name", ["weights.safetensors", "progress.json", "best.safetensors"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))
    (path / name).write_bytes((path / name).read_bytes()[:-9])
    with pytest.raises(RunError, match=r"damaged.*Remove it, then start the run again") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step))
    with pytest.raises(RunError, match="Remove it, then --resume goes on from step-2"):
        load_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path, checkpoint(3))
    tmp_path.joinpath("blocked").write_text("a file where a folder is needed")
    with pytest.raises(RunError, match="cannot be written"):
        save_checkpoint(tmp_path / "blocked", checkpoint(4))
    assert newest_checkpoint(tmp_path) == first


def test_measurements_that_are_missing_stop_a_resume(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0)
    log.path.unlink()
    with pytest.raises(RunError, match="shorter"):
        log.start()


def test_lines_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("train", step=1, epoch=0.1, nats_per_token=2.0)
    kept, size = log.path.read_text(), log.size
    log.append("train", step=2, epoch=0.2, nats_per_token=1.0)
    log.size = size
    log.start()
    assert log.path.read_text() == kept


def test_the_optimizer_goes_on_from_its_tensors() -> None:
    def steps(model: LanguageModel, optimizer: AdamW, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.tensor([[0, 1, 2, 1]]))[0].square().sum().backward()
            optimizer.step(1.0)

    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=3, embedding_dim=4, hidden_size=5)
    whole, resumed = LanguageModel(config), LanguageModel(config)
    resumed.load_state_dict(whole.state_dict())
    first = build_optimizer(whole, learning_rate=0.01, beta1=0.9, weight_decay=0.1)
    steps(whole, first, 3)
    before = build_optimizer(resumed, learning_rate=0.01, beta1=0.9, weight_decay=0.1)
    steps(resumed, before, 2)
    after = build_optimizer(resumed, learning_rate=0.01, beta1=0.9, weight_decay=0.1)
    load_optimizer_tensors(resumed, after, optimizer_tensors(resumed, before))
    steps(resumed, after, 1)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_only_matrices_decay() -> None:
    model = LanguageModel(ModelConfig(model_vocab_size=3, embedding_dim=4, hidden_size=5))
    optimizer = build_optimizer(model, learning_rate=0.1, beta1=0.9, weight_decay=0.5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1.0)
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if parameter.ndim == 2 else 1.0
        assert torch.allclose(parameter, before[name] * factor), name
