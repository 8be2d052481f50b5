"""The loss and its penalties are as defined in the paper, in float32, for any window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textgen.training.loss import (
    activation_penalty,
    activation_regularization,
    mean_loss,
    temporal_activation_penalty,
    temporal_activation_regularization,
)


def test_the_loss_is_the_mean_over_all_tokens_of_all_sequences() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    by_hand = [-logits[b, t].log_softmax(0)[targets[b, t]].item() for b in range(2) for t in range(3)]
    assert mean_loss(logits, targets).item() == pytest.approx(sum(by_hand) / 6, rel=1e-6)


def test_the_activation_penalty_is_the_mean_square() -> None:
    assert activation_penalty(torch.tensor([[[1.0, -2.0], [3.0, 0.0]]])).item() == 14 / 4


def test_the_temporal_penalty_is_the_mean_square_of_successive_differences_within_a_sequence() -> None:
    outputs = torch.tensor([[[1.0], [3.0], [0.0]], [[50.0], [50.0], [51.0]]])  # (2, 3, 1)
    assert temporal_activation_penalty(outputs).item() == (4 + 9 + 0 + 1) / 4


def test_the_temporal_penalty_of_constant_outputs_and_of_windows_of_one_token_is_zero() -> None:
    for outputs in (torch.full((2, 5, 3), 7.0), torch.ones(2, 1, 3)):
        outputs.requires_grad_()
        penalty = temporal_activation_penalty(outputs)
        penalty.backward()
        assert penalty.item() == 0
        assert outputs.grad is not None
        assert not outputs.grad.any()


@pytest.mark.parametrize("penalty", [activation_penalty, temporal_activation_penalty])
def test_in_bfloat16_the_mean_is_taken_in_float32(penalty: object) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(8, 64, 100).bfloat16()
    assert callable(penalty)
    assert penalty(outputs).dtype == torch.float32
    assert penalty(outputs).item() == pytest.approx(penalty(outputs.double()).item(), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (activation_regularization, activation_penalty),
        (temporal_activation_regularization, temporal_activation_penalty),
    ],
)
def test_regularization_adds_the_gradient_of_the_penalty(
    fast: Callable[[Tensor, float], Tensor], slow: Callable[[Tensor], Tensor], steps: int
) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, steps, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, steps, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad((outputs * weights).sum() + 0.7 * slow(outputs), outputs)
    regularized = fast(outputs, 0.7)
    assert torch.equal(regularized, outputs)
    (found,) = torch.autograd.grad((regularized * weights).sum(), outputs)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)  # the slow one is computed in float32
