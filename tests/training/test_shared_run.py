"""Training in one process and in several: the same gradients, the same curve, and the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.distributed.processes import in_processes
from textgen.distributed.world import World
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.given import UserOptions
from textgen.system.progress import Reporter
from textgen.text.batches import Rows, SequenceBatches
from textgen.text.model_vocab import ModelVocab
from textgen.text.remote.texts import RemoteTexts
from textgen.text.shuffle import DocumentOrder
from textgen.training.new_run import new_run
from textgen.training.shared_run import SharedRun, received_session
from textgen.training.step import TrainStep, step_seed

STEPS = 200
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lstm with all parts": (
        {"cell": "lstm", "num_layers": 2, "dropout": 0.2, "weight_drop": 0.1, "input_dropout": 0.1,
         "embedding_dropout": 0.1, "residual": True, "layer_norm": True},
        {"activation_penalty": 0.5, "temporal_activation_penalty": 0.5, "ema_decay": 0.9, "accumulate": 2},
    ),
    "gru": ({"cell": "gru", "num_layers": 2, "dropout": 0.3, "tie_weights": True}, {"vary_seq_len": True}),
    "rnn": ({"cell": "rnn", "weight_drop": 0.2}, {"temporal_activation_penalty": 1.0}),
}  # fmt: skip


def train(world: World, name: str) -> dict[str, Any]:
    """The first gradients, all losses, and the final weights and carried tensors of some steps."""
    model_options, training_options = RECIPES[name]
    config = TrainingConfig(steps=STEPS, batch_size=9, seq_len=12, learning_rate=0.01, **training_options)
    vocab = ModelVocab.from_counts(np.ones(11, np.int64))
    torch.manual_seed(5)
    model = LanguageModel(
        ModelConfig(model_vocab_size=11, embedding_dim=8, hidden_size=8, **model_options), vocab
    )
    tokens = np.random.default_rng(0).integers(11, size=3000).astype(np.uint8)
    order = DocumentOrder(tokens, 0, seed=3, block_tokens=300)
    batches = SequenceBatches(
        order, vocab, config.batch_size, config.seq_len, 3,
        vary_seq_len=config.vary_seq_len, part=world.share(Rows.whole(config.batch_size)),
    )  # fmt: skip
    step = TrainStep(model, config, world)
    gradients, losses = [], []
    for number in range(1, STEPS + 1):
        seed = step_seed(9, 0, number)
        loss, norm = step(next(batches), learning_rate=0.003, step=number, seed=seed)
        losses.append((loss.item(), norm.item()))
        if number == 1:
            gradients = [gradient.clone().numpy() for gradient in step.optimizer.gradients()]
    tensors = step.weights() | step.carried()
    return {
        "gradients": gradients,
        "losses": np.array(losses),
        "nats": step.nats_per_token,
        "tensors": {key: value.detach().numpy() for key, value in tensors.items()},
    }


def train_all(world: World) -> dict[str, dict[str, Any]]:
    return {name: train(world, name) for name in RECIPES}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_all(World())
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_compute_the_gradients_and_the_curve_of_one(
    alone: dict[str, dict[str, Any]], size: int
) -> None:
    found = in_processes(train_all, size)
    for name, expected in alone.items():
        ranks = [found[rank][name] for rank in range(size)]
        for each in ranks:
            for mine, theirs in zip(each["gradients"], expected["gradients"], strict=True):
                assert np.abs(mine - theirs).max() < 1e-6, name
            assert np.abs(each["losses"] - expected["losses"]).max() < 1e-3, name
            assert each["nats"] == pytest.approx(expected["nats"], abs=1e-4)
            # Bit for bit the same in all processes.
            for key, tensor in ranks[0]["tensors"].items():
                assert np.array_equal(tensor, each["tensors"][key]), (name, key)
                assert tensor.shape == expected["tensors"][key].shape, (name, key)


def sum_and_train(world: World) -> tuple[np.ndarray, dict[str, Any]]:
    torch.manual_seed(world.rank)
    large = torch.randn(100_003)  # which travels in several pieces
    world.sum([large])
    return large.numpy(), train(world, "lstm with all parts")


@pytest.mark.slow
def test_a_number_of_processes_repeats_bit_for_bit() -> None:
    first, second = (in_processes(sum_and_train, 3) for _ in range(2))
    for large, trained in [*first.values(), *second.values()]:
        assert np.array_equal(large, first[0][0])
        assert np.array_equal(trained["losses"], first[0][1]["losses"])
        for key, tensor in trained["tensors"].items():
            assert np.array_equal(tensor, first[0][1]["tensors"][key]), key


class Receiving(World):
    """A world whose rank 0 has sent something."""

    def __init__(self, sent: SharedRun | None) -> None:
        super().__init__()
        self._sent = sent

    def from_first(self, value: Any) -> Any:
        return self._sent


def test_a_machine_without_the_encoded_text_encodes_it_again(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    options = {"corpus": (str(tmp_path / "text.txt"),), "run": str(tmp_path / "run"), "steps": 2}
    options |= {"cache_dir": str(tmp_path / "here"), "hidden_size": 8, "seq_len": 16}
    begun = new_run(UserOptions.from_names(options), Reporter(None))
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.json")}
    weights = begun.trainer.model.weights()
    sent = SharedRun(begun.run.path, files, tmp_path / "not here", weights, is_resumed=False)
    with received_session(Receiving(sent), RemoteTexts(tmp_path / "there")) as session:
        assert session is not None
        assert session.path == begun.run.path != session.run.path
        assert session.store.path.parent == tmp_path / "there"
        assert np.array_equal(session.store.tokens("train"), begun.store.tokens("train"))
        for name, array in session.trainer.model.weights().items():
            assert np.array_equal(array, weights[name]), name
    assert not session.run.path.exists()
    with received_session(Receiving(None), RemoteTexts(tmp_path / "there")) as nothing:
        assert nothing is None
