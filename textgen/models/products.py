"""Matrix products on a CPU in the library that does them fastest.

torch.mm hands float32 to Intel's MKL, which on other makers' processors leaves the wide instructions unused;
oneDNN, which torch also contains, uses them (see BENCHMARKS.md, "matrix products"). So float32 and bfloat16
go to oneDNN where torch has it and the product is large enough to pay for the call; everything else goes to
torch.mm. The values agree to rounding.

Shapes: N rows (any number), B rows of one time step, K columns read, M columns written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

StepProduct = Callable[[Tensor], Tensor]
"""x (B, K) -> x @ weight.T + bias (B, M), a new tensor."""

# With fewer multiplications, a call into oneDNN takes longer than the whole product in torch.mm. For the
# gradient of a weight, three arrays must also be converted to oneDNN's format.
_SMALLEST, _SMALLEST_GRADIENT = 2**19, 2**25


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., N, K) @ weight.T + bias, for a weight (M, K) and a bias (M,) or none: (..., N, M).

    Like torch.nn.functional.linear, but without second-order gradients.
    """
    if x.dtype != torch.float32 or not _suits_onednn(x, x.numel() * len(weight)):
        return torch.nn.functional.linear(x, weight, bias)
    product: Tensor = _Linear.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return product.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _multiply(gradient, weight.t(), None) if wanted[0] else None,
            weight_gradient(gradient, x) if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        x.contiguous(), weight.contiguous(), bias, "none", [], ""
    )
    return product


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of linear's weight (M, K), from that of its result (N, M) and its x (N, K)."""
    multiplications = gradient.numel() * x.shape[1]
    if (
        x.dtype != torch.float32
        or multiplications < _SMALLEST_GRADIENT
        or not _suits_onednn(x, multiplications)
    ):
        return torch.mm(gradient.t(), x)
    like = torch.empty(gradient.shape[1], x.shape[1]).to_mkldnn()
    product, _ = torch.ops.aten.mkldnn_linear_backward_weights(
        gradient.to_mkldnn(), x.to_mkldnn(), like, False
    )
    dense: Tensor = product.to_dense()
    return dense


def step_product(weight: Tensor, batch_size: int, bias: Tensor | None = None) -> StepProduct:
    """A function that multiplies by one weight (M, K), packed once, in many steps of batch_size rows."""
    if not _suits_onednn(weight, batch_size * weight.numel()):
        columns = weight.t().contiguous()  # (K, M)
        if bias is None:
            return lambda x: torch.mm(x, columns)
        return lambda x: torch.addmm(bias, x, columns)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), batch_size)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(x, packed, bias, "none", [], "")


def _suits_onednn(x: Tensor, multiplications: int) -> bool:
    if x.device.type != "cpu" or not _HAS_ONEDNN or not torch.backends.mkldnn.enabled:
        return False
    if x.dtype == torch.bfloat16:
        # torch.mm uses oneDNN too, but cannot keep a weight in the order that its kernel reads.
        return _TAKES_BFLOAT16
    return x.dtype == torch.float32 and multiplications >= _SMALLEST


def _has_onednn() -> bool:
    """Whether this torch has the calls above: internal ones of its compiler, without any guarantee."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    ) and hasattr(torch.ops.aten, "mkldnn_linear_backward_weights")


def _takes_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 here: without AVX-512 it refuses, where torch.mm does not."""
    return hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported") and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


_HAS_ONEDNN = _has_onednn()
_TAKES_BFLOAT16 = _HAS_ONEDNN and _takes_bfloat16()
