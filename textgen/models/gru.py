"""The GRU's forward and backward pass over a sequence on a CPU: gru_step of cells.py, arranged for speed.

torch.gru goes step by step through general code and lets autograd record every operation. Here one product
gives what the inputs contribute to all steps, one product per step what the past contributes, and the
backward pass is written out. There, everything that does not depend on the incoming gradient is computed
first, for many steps at once, so that one step back is three operations:

    h' = n + z * (h - n)          dh'  ->  dh' * (h - n) * z * (1 - z)                  into the update gate
    n  = tanh(a + r * c)              ->  dh' * (1 - z) * (1 - n**2)                    into a, from the input
    c  = U_n h + c_n                  ->  dh' * (1 - z) * (1 - n**2) * r                into c, from the past
    r  = s(..)                        ->  dh' * (1 - z) * (1 - n**2) * c * r * (1 - r)  into the reset gate

Each line is dh' times a factor that is known after the forward pass.

Shapes: T time, B batch, E input_size, H hidden_size. Time comes first: a step is then one piece of memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textgen.models.products import linear, step_product, weight_gradient

# The factors of the backward pass are computed for blocks of steps of this many numbers, which fit the cache.
_BLOCK_NUMBERS = 2**16


def gru_pass(
    x: Tensor, start: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Read x (T, B, E), T >= 1, from the state start (B, H), with the weights of one layer in torch's layout.

    Returns the hidden state after each step (T, B, H) and after the last (B, H). All arguments are of one
    floating-point type on a CPU; all of them get first-order gradients.
    """
    hidden, last = _GRUPass.apply(x, start, weight_ih, weight_hh, bias_ih, bias_hh)  # type: ignore[no-untyped-call]
    return hidden, last


class _GRUPass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        steps, batch_size, _ = x.shape
        size = weight_hh.shape[1]
        x = x.contiguous()
        by_logistic = _by_logistic(x.dtype)
        scales, shared = _gate_scales(size, x.dtype)
        bias = torch.addcmul(bias_ih * scales, bias_hh, shared)
        from_input = linear(x, weight_ih * scales.unsqueeze(1), bias)  # (T, B, 3H)
        # The new gate's second bias stays with the past, because the reset gate acts on both.
        bias_past = torch.where(shared == 0, bias_hh * scales, 0)
        multiply = step_product(weight_hh * scales.unsqueeze(1), batch_size, bias_past)
        input_gates, input_new = from_input[:, :, : 2 * size], from_input[:, :, 2 * size :]

        gates = x.new_empty(steps, batch_size, 2 * size)  # reset, update
        sums = x.new_empty(steps, batch_size, size)  # a + r c, or its double
        new = x.new_empty(steps, batch_size, size)
        states = x.new_empty(steps + 1, batch_size, size)
        states[0] = start
        minus_one = x.new_tensor(-1.0)
        hidden = states[0]
        for input_gates_t, input_new_t, gates_t, reset_t, update_t, sum_t, new_t, hidden_t in zip(
            input_gates.unbind(0),
            input_new.unbind(0),
            gates.unbind(0),
            gates[:, :, :size].unbind(0),
            gates[:, :, size:].unbind(0),
            sums.unbind(0),
            new.unbind(0),
            states[1:].unbind(0),
            strict=True,
        ):
            past_gates, past_new = multiply(hidden).split_with_sizes((2 * size, size), 1)
            torch.add(input_gates_t, past_gates, out=gates_t).sigmoid_()
            torch.addcmul(input_new_t, reset_t, past_new, out=sum_t)
            if by_logistic:
                torch.sigmoid(sum_t, out=new_t)
                torch.add(minus_one, new_t, alpha=2, out=new_t)
            else:
                torch.tanh(sum_t, out=new_t)
            hidden = torch.lerp(new_t, hidden, update_t, out=hidden_t)
        ctx.save_for_backward(x, weight_ih, weight_hh, gates, input_new, sums, new, states)
        ctx.set_materialize_grads(False)
        return states[1:], hidden.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight_ih, weight_hh, gates, input_new, sums, new, states = ctx.saved_tensors
        steps, batch_size, size = new.shape
        if d_hidden is None:
            d_hidden = torch.zeros_like(new)
        d_hidden = d_hidden.contiguous()
        multiply = step_product(weight_hh.t().contiguous(), batch_size)
        reset, update = gates.split(size, dim=2)  # (T, B, H) each

        d_past = x.new_empty(steps, batch_size, 3, size)  # of reset, update and new gate, through the past
        d_new = x.new_empty(steps, batch_size, size)  # of the new gate, through the input
        block_steps = max(1, _BLOCK_NUMBERS // (batch_size * size))
        factors = x.new_empty(min(block_steps, steps), batch_size, 3, size)
        d_gates = d_past.flatten(2).unbind(0)
        dh = d_hidden[-1] if d_last is None else d_hidden[-1] + d_last  # (B, H)
        for end in range(steps, 0, -block_steps):
            block = slice(max(0, end - block_steps), end)
            count = end - block.start
            new_factor = _factors(
                reset[block],
                update[block],
                input_new[block],
                sums[block],
                new[block],
                states[block],
                out=factors[:count],
            )  # (count, B, H)
            gradients = []
            for step in range(end - 1, block.start - 1, -1):
                gradients.append(dh)
                torch.mul(dh.unsqueeze(1), factors[step - block.start], out=d_past[step])
                dh = multiply(d_gates[step]).addcmul_(dh, update[step])
                if step:
                    dh += d_hidden[step - 1]
            torch.stack(gradients[::-1], out=d_new[block]).mul_(new_factor)
        flat = d_past.view(steps * batch_size, 3 * size)
        d_bias_hh = flat.sum(0)
        d_weight_hh = weight_gradient(flat, states[:-1].flatten(0, 1))
        d_past[:, :, 2] = d_new
        d_bias_ih = flat.sum(0)
        d_weight_ih = weight_gradient(flat, x.flatten(0, 1))
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = linear(d_past.flatten(2), weight_ih.t())  # (T, B, E)
        return d_x, dh, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh


def _factors(
    reset: Tensor, update: Tensor, input_new: Tensor, sums: Tensor, new: Tensor, before: Tensor, out: Tensor
) -> Tensor:
    """The factors that dh' is multiplied by on its way into each gate, for N steps; all (N, B, H) but out.

    Writes those of the reset gate, the update gate and the new gate's recurrent part into out (N, B, 3, H),
    and returns that of the new gate's input. `before` is the state that each step started from.
    """
    aten = torch.ops.aten
    factor: Tensor = aten.tanh_backward(1 - update, new)  # (1 - z) * (1 - n**2)
    through = (sums - input_new).mul_(factor)  # r c (1 - z) (1 - n**2)
    if _by_logistic(new.dtype):
        through *= 0.5  # both were doubled
    torch.addcmul(through, through, reset, value=-1, out=out[:, :, 0])  # times 1 - r
    aten.sigmoid_backward.grad_input(before - new, update, grad_input=out[:, :, 1])  # (h - n) z (1 - z)
    torch.mul(factor, reset, out=out[:, :, 2])
    return factor


def _by_logistic(dtype: torch.dtype) -> bool:
    """Whether the new gate's tanh(y) is computed as 2 s(2y) - 1, so that all terms of y are doubled.

    In float32 torch's logistic function is much faster than its tanh, and doubling is exact. In bfloat16 the
    difference would lose digits, and tanh is fast enough.
    """
    return dtype == torch.float32


@lru_cache(maxsize=16)
def _gate_scales(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two vectors (3H,) over the rows of the weights.

    The first scales them: by 2 for the new gate where its tanh is computed as a logistic. The second is 1
    where the second bias may be added to the first, and 0 for the new gate, where it may not.
    """
    scales = torch.ones(2, 3 * size, dtype=dtype)
    scales[0, 2 * size :] = 2 if _by_logistic(dtype) else 1
    scales[1, 2 * size :] = 0
    return scales[0], scales[1]
