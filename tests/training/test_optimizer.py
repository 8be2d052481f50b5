"""AdamW takes the same steps as torch's class, without loading torch's compiler."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.training.optimizer import (
    AdamW,
    Group,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
)


def groups_of(module: nn.Module) -> list[Group]:
    """Matrices, which decay, and vectors, which do not."""
    return [
        Group(params=[p for p in module.parameters() if (p.ndim == 2) == matrix], lr=0.1, weight_decay=decay)
        for matrix, decay in ((True, 0.5), (False, 0.0))
    ]


WAYS = [
    {"fused": True, "asynchronous": False},
    {"fused": True, "asynchronous": True},
    {"fused": False, "asynchronous": False},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("clip_norm", [0.1, 1e9])
def test_steps_equal_those_of_torchs_adamw_with_clipping(
    way: dict[str, bool], clip_norm: float, each_device: str
) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.LSTM(3, 4).to(each_device), nn.LSTM(3, 4).to(each_device)
    theirs.load_state_dict(ours.state_dict())
    optimizers = (
        AdamW(groups_of(ours), betas=(0.9, 0.99), **way),
        torch.optim.AdamW(groups_of(theirs), betas=(0.9, 0.99), fused=way["fused"]),
    )
    for _ in range(3):
        for module, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            module(torch.ones(5, 2, 3, device=each_device))[0].square().sum().backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
        norm = optimizers[0].step(clip_norm)
        optimizers[1].step()
        torch.testing.assert_close(norm, expected)
        assert norm > 0.1, "the lower bound does clip"
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_beta1_is_the_weight_of_earlier_gradients() -> None:
    steps = {}
    for beta1 in (0.0, 0.5, 0.9):
        module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(module.weight)
        optimizer = build_optimizer(module, learning_rate=0.1, beta1=beta1, weight_decay=0.0)
        for gradient in (1.0, 0.0):
            before = module.weight.item()
            module.weight.grad = torch.full_like(module.weight, gradient)
            optimizer.step(1.0)
        # Without a gradient: the bias-corrected first moment over the root of the second.
        steps[beta1] = before - module.weight.item()
        mean = beta1 * (1 - beta1) / (1 - beta1**2)
        square = 0.99 * 0.01 / (1 - 0.99**2)
        assert steps[beta1] == pytest.approx(0.1 * mean / square**0.5, abs=1e-6)
    assert 0 == steps[0.0] < steps[0.5] < steps[0.9]


def test_a_parameter_without_a_gradient_does_not_change() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = AdamW([Group(params=[used, unused], lr=0.1, weight_decay=0.5)], betas=(0.9, 0.99), fused=True)
    used.sum().backward()
    optimizer.step(1.0)
    assert used.tolist() != [1, 1]
    assert unused.tolist() == [1, 1]
    optimizer.zero_grad()
    assert used.grad is None


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_failed_step_changes_nothing_and_does_not_count(way: dict[str, bool], broken: float) -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 4)
    optimizer = AdamW(groups_of(module), betas=(0.9, 0.99), **way)
    module(torch.ones(3)).sum().backward()
    optimizer.step(1.0)
    tensors = [*module.parameters(), *(t for state in optimizer.state.values() for t in state.values())]
    before = [tensor.detach().clone() for tensor in tensors]
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, broken)
    assert not optimizer.step(1.0).isfinite()
    assert all(torch.equal(one, other) for one, other in zip(tensors, before, strict=True))


def test_making_and_using_it_does_not_load_torchs_compiler() -> None:
    code = (
        "import sys, torch; from textgen.training.optimizer import build_optimizer\n"
        "model = torch.nn.Linear(2, 2)\n"
        "optimizer = build_optimizer(model, learning_rate=1, beta1=0.9, weight_decay=0)\n"
        "model(torch.ones(2)).sum().backward(); optimizer.step(1.0); optimizer.zero_grad()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_another_optimizer_continues_from_the_tensors_of_the_first() -> None:
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
