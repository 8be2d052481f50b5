"""Products through oneDNN and through torch.mm are the same products."""

from __future__ import annotations

import pytest
import torch

from textgen.models import products
from textgen.models.products import linear, step_product, weight_gradient

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.05}
# (N, K, M): too small for oneDNN, large enough, and sizes that fill no vector.
SHAPES = ((3, 4, 5), (64, 96, 128), (101, 67, 131))


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("rows", "columns", "width"), SHAPES)
def test_linear_and_its_gradients_are_torchs(dtype: torch.dtype, rows: int, columns: int, width: int) -> None:
    arguments = [
        random(2, rows, columns, dtype=dtype),
        random(width, columns, dtype=dtype),
        random(width, dtype=dtype),
    ]
    weight = random(2, rows, width, dtype=dtype)
    results = []
    for function in (linear, torch.nn.functional.linear):
        leaves = [argument.clone().requires_grad_() for argument in arguments]
        result = function(*leaves)
        results.append((result, torch.autograd.grad((result * weight).sum(), leaves)))
    scale = TOLERANCES[dtype] * columns**0.5
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0.02, atol=scale)
    torch.testing.assert_close(
        results[0][1], results[1][1], rtol=0.02, atol=TOLERANCES[dtype] * rows**0.5 * 2
    )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("rows", "columns", "width"), SHAPES)
def test_a_weights_gradient_is_the_sum_over_rows_of_outer_products(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, rows: int, columns: int, width: int
) -> None:
    monkeypatch.setattr(
        products, "_SMALLEST_GRADIENT", products._SMALLEST
    )  # or the products here are too small
    gradient, x = random(rows, width, dtype=dtype), random(rows, columns, dtype=dtype)
    expected = torch.einsum("nm,nk->mk", gradient.double(), x.double())
    found = weight_gradient(gradient, x)
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=TOLERANCES[dtype] * rows**0.5)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("rows", "columns", "width"), SHAPES)
def test_a_step_product_multiplies_and_adds_and_its_results_stay(
    dtype: torch.dtype, rows: int, columns: int, width: int
) -> None:
    weight = random(width, columns, dtype=dtype)
    bias = random(width, dtype=dtype)
    inputs = [random(rows, columns, dtype=dtype) for _ in range(2)]
    for multiply, offset in (
        (step_product(weight, rows, bias), bias.double()),
        (step_product(weight, rows), 0),
    ):
        found = [multiply(x) for x in inputs]
        for result, x in zip(found, inputs, strict=True):
            expected = x.double() @ weight.double().T + offset
            torch.testing.assert_close(
                result.double(), expected, rtol=0.02, atol=TOLERANCES[dtype] * columns**0.5
            )


def test_without_onednn_torchs_own_products_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = random(64, 96, dtype=torch.float32), random(128, 96, dtype=torch.float32)
    expected = (
        linear(x, weight),
        weight_gradient(x, weight.t()[:64]),
        step_product(weight, 64)(x),
    )
    # What would be called is taken away, so that a call of it fails.
    monkeypatch.delattr(torch.ops.mkldnn, "_linear_pointwise", raising=False)
    monkeypatch.setattr(products, "_HAS_ONEDNN", False)
    found = linear(x, weight), weight_gradient(x, weight.t()[:64]), step_product(weight, 64)(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_switching_onednn_off_in_torch_switches_it_off_here(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = random(64, 96, dtype=torch.float32), random(128, 96, dtype=torch.float32)
    assert products._suits_onednn(x, x.numel() * len(weight)) == products._HAS_ONEDNN
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not products._suits_onednn(x, x.numel() * len(weight))
    torch.testing.assert_close(linear(x, weight), x @ weight.T, rtol=1e-4, atol=1e-4)
