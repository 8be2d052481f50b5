"""Parts of a training step; the whole of it is tested by training runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.text.batches import Batch, Rows
from textgen.training.step import TrainStep, drop_state, step_seed


def test_drop_state_resets_whole_sequences_in_every_part_and_layer_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    state = tuple(torch.rand(2, 1000, 3) + 1 for _ in range(2))
    before = [part.clone() for part in state]
    dropped = drop_state(state, 0.1, Rows.whole(1000))
    zero = (dropped[0][0, :, 0] == 0).nonzero().flatten()
    assert 60 < len(zero) < 140
    for part, old in zip(dropped, before, strict=True):
        assert (part[:, zero] == 0).all()
        old[:, zero] = 0
        assert torch.equal(part, old)
    assert all((part > 0).all() for part in state), "the state passed in is not changed"


def test_drop_state_with_probability_0_drops_nothing_and_with_1_everything() -> None:
    state = (torch.ones(1, 5, 2),)
    assert torch.equal(drop_state(state, 0.0, Rows.whole(5))[0], state[0])
    assert not drop_state(state, 1.0, Rows.whole(5))[0].any()


def test_the_same_seed_drops_the_same_states() -> None:
    state = (torch.ones(1, 50, 2),)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(drop_state(state, 0.5, Rows.whole(50))[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def train_step_of(device: str = "cpu", dropout: float = 0.2, **options: float) -> TrainStep:
    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=5, embedding_dim=4, hidden_size=6, dropout=dropout)
    model = LanguageModel(config).to(device)
    return TrainStep(model, TrainingConfig(steps=1, **options))  # type: ignore[arg-type]


def batch() -> Batch:
    tokens = np.arange(14).reshape(2, 7) % 5
    return Batch(tokens[:, :-1], tokens[:, 1:], starts_epoch=False)


def test_another_one_continues_exactly_from_the_tensors_of_the_first(each_device: str) -> None:
    one, other = (train_step_of(each_device, ema_decay=0.9) for _ in range(2))
    for step in range(1, 4):
        one(batch(), learning_rate=0.1, step=step, seed=step)
    given = one.weights(), one.optimizer_tensors(), one.carried()
    # On the CPU, as a checkpoint has them.
    weights, optimizer, carried = ({k: v.detach().cpu().clone() for k, v in part.items()} for part in given)
    expected = one(batch(), learning_rate=0.1, step=4, seed=4)
    other.load(weights=weights, optimizer=optimizer, carried=carried, loss_count=36, loss_steps=3)
    assert other(batch(), learning_rate=0.1, step=4, seed=4) == expected
    assert other.nats_per_token == one.nats_per_token
    for name, tensor in one.carried().items():
        assert torch.equal(other.carried()[name], tensor), name


def test_the_averaged_weights_are_evaluated_and_the_others_trained() -> None:
    train_step = train_step_of(ema_decay=0.9)
    for step in range(1, 4):
        train_step(batch(), learning_rate=0.1, step=step, seed=step)
    raw = train_step.model.head.weight.detach().clone()
    average = train_step.carried()["average/head.weight"].clone()
    with train_step.eval_weights():
        assert torch.equal(train_step.model.head.weight, average)
    assert not torch.equal(raw, average)
    assert torch.equal(train_step.model.head.weight, raw)


def test_a_gradient_that_is_not_finite_changes_no_weight_and_is_counted(each_device: str) -> None:
    train_step = train_step_of(each_device)
    train_step(batch(), learning_rate=0.1, step=1, seed=1)
    before = {name: tensor.detach().clone() for name, tensor in train_step.weights().items()}
    handle = train_step.model.head.bias.register_hook(lambda gradient: gradient * torch.nan)
    train_step(batch(), learning_rate=0.1, step=2, seed=2)
    handle.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in train_step.weights().items())
    assert train_step.failed_steps == 1
    train_step(batch(), learning_rate=0.1, step=3, seed=3)
    assert not torch.equal(train_step.model.head.bias, before["head.bias"])
    train_step.reset_loss()
    assert (train_step.failed_steps, train_step.loss_count, train_step.loss_steps) == (0, 0, 0)


def test_the_losses_of_some_steps_are_those_of_a_cpu(each_device: str) -> None:
    def losses(device: str) -> list[float]:
        step_of = train_step_of(device, dropout=0.0, activation_penalty=1.0, temporal_activation_penalty=1.0)
        return [step_of(batch(), learning_rate=0.05, step=step, seed=step)[0].item() for step in range(1, 11)]

    found = losses(each_device)
    assert found == pytest.approx(losses("cpu"), rel=1e-4)
    assert found[-1] < 0.9 * found[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_step_does_not_wait_for_the_gpu() -> None:
    train_step = train_step_of("cuda", ema_decay=0.9, activation_penalty=1.0, temporal_activation_penalty=1.0)
    starts = np.array([True, False])
    documents = Batch(batch().inputs, batch().targets, starts_epoch=False, starts_document=starts)
    for step in range(1, 4):  # the first ones allocate memory
        train_step(documents, learning_rate=0.1, step=step, seed=step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4, 8):
            train_step(documents, learning_rate=0.1, step=step, seed=step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_each_step_of_each_run_has_random_numbers_of_its_own_and_after_a_rollback_others() -> None:
    seeds = [
        step_seed(seed, rollbacks, step) for seed in range(10) for rollbacks in (0, 1) for step in range(50)
    ]
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == 1000, "torch's CPU generator takes 32 bits"
    assert seeds[0] == step_seed(0, 0, 0)


@pytest.mark.parametrize("parts", [2, 3])
def test_micro_batches_have_the_gradient_of_the_whole_batch(parts: int, each_device: str) -> None:
    options = {"dropout": 0.3, "activation_penalty": 0.5, "temporal_activation_penalty": 0.5}
    whole = train_step_of(each_device, **options)
    divided = train_step_of(each_device, accumulate=parts, **options)
    tokens = np.random.default_rng(0).integers(5, size=(6, 10))
    windows = [tokens[:, start : start + 5] for start in (0, 4)]
    for step, window in enumerate(windows, start=1):
        batch = Batch(window[:, :-1], window[:, 1:], starts_epoch=step == 1)
        found = [each(batch, learning_rate=0.01, step=step, seed=step) for each in (whole, divided)]
        assert found[0][0].item() == pytest.approx(found[1][0].item(), abs=1e-6)
        assert found[0][1].item() == pytest.approx(found[1][1].item(), abs=1e-6)
    for name, tensor in whole.weights().items():
        assert torch.allclose(divided.weights()[name], tensor, atol=1e-5), name
