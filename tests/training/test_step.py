"""Parts of a step that can be seen alone; the whole of it is tested by training runs."""

from __future__ import annotations

import numpy as np
import torch

from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.text.batches import Batch
from textgen.training.step import TrainStep, drop_state


def test_forgetting_zeroes_whole_lanes_in_every_part_and_layer_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    state = tuple(torch.rand(2, 1000, 3) + 1 for _ in range(2))
    before = [part.clone() for part in state]
    forgotten = drop_state(state, 0.1)
    zero = (forgotten[0][0, :, 0] == 0).nonzero().flatten()
    assert 60 < len(zero) < 140
    for part, old in zip(forgotten, before, strict=True):
        assert (part[:, zero] == 0).all()
        old[:, zero] = 0
        assert torch.equal(part, old)
    assert all((part > 0).all() for part in state), "the state that was given is not changed"


def test_a_share_of_nothing_forgets_nothing_and_of_all_everything() -> None:
    state = (torch.ones(1, 5, 2),)
    assert torch.equal(drop_state(state, 0.0)[0], state[0])
    assert not drop_state(state, 1.0)[0].any()


def test_the_same_seed_forgets_the_same_lanes() -> None:
    state = (torch.ones(1, 50, 2),)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(drop_state(state, 0.5)[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def learner_of(**options: float) -> TrainStep:
    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=5, embedding_dim=4, hidden_size=6, dropout=0.2)
    return TrainStep(LanguageModel(config), TrainingConfig(steps=1, **options))  # type: ignore[arg-type]


def batch() -> Batch:
    tokens = np.arange(14).reshape(2, 7) % 5
    return Batch(tokens[:, :-1], tokens[:, 1:], starts_epoch=False)


def test_what_a_learner_gave_makes_another_go_on_exactly() -> None:
    one, other = (learner_of(ema_decay=0.9) for _ in range(2))
    for number in range(1, 4):
        one.step(batch(), learning_rate=0.1, number=number)
    given = one.weights(), one.optimizer_tensors(), one.carried()
    weights, optimizer, carried = ({k: v.detach().clone() for k, v in part.items()} for part in given)
    expected = one.step(batch(), learning_rate=0.1, number=4)
    other.load(weights=weights, optimizer=optimizer, carried=carried, loss_count=36)
    assert other.step(batch(), learning_rate=0.1, number=4) == expected
    assert other.nats_per_token == one.nats_per_token
    for name, tensor in one.carried().items():
        assert torch.equal(other.carried()[name], tensor), name


def test_the_average_is_what_is_judged_and_the_weights_are_what_is_trained() -> None:
    learner = learner_of(ema_decay=0.9)
    for number in range(1, 4):
        learner.step(batch(), learning_rate=0.1, number=number)
    raw = learner.model.head.weight.detach().clone()
    average = learner.carried()["average/head.weight"].clone()
    with learner.eval_weights():
        assert torch.equal(learner.model.head.weight, average)
    assert not torch.equal(raw, average)
    assert torch.equal(learner.model.head.weight, raw)


def test_a_gradient_that_is_no_number_changes_no_weight_and_is_counted() -> None:
    learner = learner_of()
    learner.step(batch(), learning_rate=0.1, number=1)
    before = {name: tensor.detach().clone() for name, tensor in learner.weights().items()}
    handle = learner.model.head.bias.register_hook(lambda gradient: gradient * torch.nan)
    learner.step(batch(), learning_rate=0.1, number=2)
    handle.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.weights().items())
    assert learner.failed_steps == 1
    learner.step(batch(), learning_rate=0.1, number=3)
    assert not torch.equal(learner.model.head.bias, before["head.bias"])
    learner.reset_loss()
    assert (learner.failed_steps, learner.loss_count) == (0, 0)
