"""The GRU's own pass: its arithmetic is the equations', its backward is their derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textgen.models import gru
from textgen.models.cells import run_cell
from textgen.models.gru import gru_pass
from textgen.settings.cells import CellWeights

# Around the number of steps whose factors are made at once, and one step alone.
LENGTHS = (1, 7, 8, 9, 17)


def random_arguments(
    steps: int, batch_size: int, input_size: int, size: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """x, start and the four weights, scaled so that gates are neither shut nor open; all want gradients."""
    torch.manual_seed(steps)
    shapes = (
        (steps, batch_size, input_size),
        (batch_size, size),
        (3 * size, input_size),
        (3 * size, size),
        (3 * size,),
        (3 * size,),
    )
    scales = (1.0, 1.0, input_size**-0.5, size**-0.5, 0.5, 0.5)
    return [
        (scale * torch.randn(shape, dtype=torch.float64)).to(dtype).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def by_equations(x: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    hidden, (last,), _ = run_cell("gru", x.transpose(0, 1), (start,), CellWeights(*weights))
    return hidden.transpose(0, 1), last


def weighted_sum(hidden: Tensor, last: Tensor) -> Tensor:
    """Every number of both results counts with a weight of its own."""
    torch.manual_seed(0)
    weights = [torch.randn(part.shape, dtype=torch.float64).to(part.dtype) for part in (hidden, last)]
    return (hidden * weights[0]).sum() + (last * weights[1]).sum()


def gradients(
    function: Callable[..., tuple[Tensor, Tensor]], arguments: list[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Both results, and the gradients of their weighted sum."""
    hidden, last = function(*arguments)
    loss = weighted_sum(hidden, last)
    return hidden, last, torch.autograd.grad(loss, arguments)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru, "_BLOCK_NUMBERS", 8 * 3 * 6)  # 8 steps of the small sizes below


def test_the_backward_pass_is_the_derivative_of_the_forward_pass() -> None:
    assert torch.autograd.gradcheck(gru_pass, random_arguments(10, 2, 3, 4))


@pytest.mark.parametrize("steps", LENGTHS)
def test_states_and_gradients_are_those_of_the_equations(steps: int) -> None:
    arguments = random_arguments(steps, 3, 5, 6)
    for ours, theirs in zip(gradients(gru_pass, arguments), gradients(by_equations, arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_they_are_so_in_float32_at_a_size_that_goes_through_onednn() -> None:
    arguments = random_arguments(12, 32, 24, 160, torch.float32)
    for ours, theirs in zip(gradients(gru_pass, arguments), gradients(by_equations, arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bfloat16_differs_by_its_rounding_only() -> None:
    short = random_arguments(12, 32, 24, 64, torch.bfloat16)
    full = [argument.detach().double().requires_grad_() for argument in short]
    ours, theirs = gradients(gru_pass, short), gradients(by_equations, full)
    for one, other in zip((*ours[:2], *ours[2]), (*theirs[:2], *theirs[2]), strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - other).norm() < 0.02 * other.norm()


def test_small_states_in_bfloat16_are_as_exact_as_torchs() -> None:
    torch.manual_seed(0)
    layer = torch.nn.GRU(24, 64)
    x, start = 0.05 * torch.randn(12, 32, 24), torch.zeros(32, 64)
    exact = layer(x)[0]
    short = [tensor.detach().bfloat16() for tensor in (x, start, *layer.parameters())]
    ours = gru_pass(*short)[0].float()
    theirs = layer.bfloat16()(short[0])[0].float()
    assert (ours - exact).norm() < 1.3 * (theirs - exact).norm()


@pytest.mark.parametrize("used", [0, 1])
def test_one_of_the_two_results_may_go_unused(used: int) -> None:
    arguments = random_arguments(9, 2, 3, 4)
    ours, theirs = (
        torch.autograd.grad(function(*arguments)[used].square().sum(), arguments)
        for function in (gru_pass, by_equations)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_an_input_that_wants_no_gradient_gets_none_and_the_weights_get_theirs() -> None:
    arguments = random_arguments(9, 2, 3, 4)
    arguments[0] = arguments[0].detach()
    ours, theirs = (
        torch.autograd.grad(function(*arguments)[0].square().sum(), arguments[1:])
        for function in (gru_pass, by_equations)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_second_pass_before_the_first_ones_backward_disturbs_nothing() -> None:
    arguments = random_arguments(9, 2, 3, 4)
    expected = gradients(gru_pass, arguments)[2]
    hidden, last = gru_pass(*arguments)
    gru_pass(*(argument * 2 for argument in arguments))
    loss = weighted_sum(hidden, last)
    assert all(map(torch.equal, torch.autograd.grad(loss, arguments), expected))


def test_nothing_given_is_changed_and_without_a_graph_the_result_is_the_same() -> None:
    arguments = random_arguments(9, 2, 3, 4)
    before = [argument.detach().clone() for argument in arguments]
    hidden, last = gru_pass(*arguments)
    with torch.no_grad():
        again = gru_pass(*arguments)
    assert torch.equal(hidden, again[0])
    assert torch.equal(last, again[1])
    gradients(gru_pass, arguments)
    assert all(map(torch.equal, arguments, before))
