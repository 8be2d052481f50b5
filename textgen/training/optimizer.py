"""AdamW for the model's parameters, and its state as tensors by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


class Group(TypedDict):
    """Parameters with the same learning rate and weight decay."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), fused where torch has it.

    `asynchronous`, which needs fused, leaves clipping, and skipping of failed steps, to the kernel, so that
    the CPU does not wait for the gradient norm of a GPU. On a CPU it is faster to read the norm.

    The arithmetic is torch's own. torch.optim.AdamW is not used because making one imports torch's compiler,
    which is slow to load and not needed here.
    """

    def __init__(
        self, groups: list[Group], *, betas: tuple[float, float], fused: bool, asynchronous: bool = False
    ) -> None:
        self.param_groups = groups
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}  # filled by the first step
        self._betas = betas
        self._fused = fused
        self._asynchronous = asynchronous

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, clip_norm: float) -> Tensor:
        """Update every parameter that has a gradient, with all gradients clipped to a norm of clip_norm.

        Returns the norm before clipping, a scalar on the parameters' device. Nothing changes if that is not
        finite.
        """
        norm = self._norm()
        scale = failed = None
        if self._asynchronous:
            scale = (norm / clip_norm).clamp(min=1.0)
            failed = (~norm.isfinite()).float()
        elif not math.isfinite(norm.item()):
            return norm
        elif norm.item() > clip_norm:
            torch._foreach_mul_(self.gradients(), clip_norm / norm.item())
        for group in self.param_groups:
            self._step_group(group, scale, failed)
        return norm

    def gradients(self) -> list[Tensor]:
        """The gradients of all parameters that have one, always in the same order."""
        return [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]

    def _norm(self) -> Tensor:
        """The norm of all gradients as one vector."""
        norms: tuple[Tensor, ...] = torch._foreach_norm(self.gradients())
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm

    def _step_group(self, group: Group, scale: Tensor | None, failed: Tensor | None) -> None:
        """One AdamW step with the gradients divided by scale; no step if failed is 1. None: 1 and 0."""
        pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
        states = [self._state_of(parameter) for parameter, _ in pairs]
        adamw(
            [parameter for parameter, _ in pairs],
            [gradient for _, gradient in pairs],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=self._fused,
            grad_scale=scale,
            found_inf=failed,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's step count, and the running means of its gradient and of its square."""
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


def build_optimizer(model: nn.Module, *, learning_rate: float, beta1: float, weight_decay: float) -> AdamW:
    """AdamW for a model's parameters.

    Weight decay applies to matrices only: decaying a bias does not reduce the capacity of the network.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups: list[Group] = [
        {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device.type
    # beta2 0.99, not torch's 0.999, averages over about 100 steps instead of 1000: runs here have thousands
    # of steps, not millions, and the scale of the gradient falls quickly at their start.
    return AdamW(groups, betas=(beta1, 0.99), fused=device in ("cpu", "cuda"), asynchronous=device == "cuda")


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """The optimizer's state under the names "<parameter>/<kind>"; empty before the first step."""
    return {
        f"{name}/{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, what = key.rsplit("/", 1)
        parameter = parameters[name]
        # The step count too is float32 on the parameter's device, as the fused kernel needs it.
        optimizer.state.setdefault(parameter, {})[what] = value.to(parameter.device).clone()
