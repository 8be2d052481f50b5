"""AdamW over the model's parameters, and its state as plain tensors by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


class Group(TypedDict):
    """Parameters that are treated alike."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), fused where torch has it.

    `asynchronous`, which needs fused, leaves clipping and skipping to the kernel, so that nobody waits for
    a GPU to tell the gradient's norm; on a CPU it is quicker to look at it.

    The arithmetic is torch's. Its class `torch.optim.AdamW` does the same, but to make one imports torch's
    compiler, which takes as long as importing torch itself; nothing here is compiled.
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
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, clip_norm: float) -> Tensor:
        """Change every parameter that has a gradient, all gradients scaled down to this norm if it is larger.

        Returns the norm before, a scalar where the parameters are. Nothing changes when it is no number.
        """
        norm = self._norm()
        scale = failed = None
        if self._asynchronous:
            scale = (norm / clip_norm).clamp(min=1.0)
            failed = (~norm.isfinite()).float()
        elif not math.isfinite(norm.item()):
            return norm
        elif norm.item() > clip_norm:
            torch._foreach_mul_(self._gradients(), clip_norm / norm.item())
        for group in self.param_groups:
            self._step_group(group, scale, failed)
        return norm

    def _gradients(self) -> list[Tensor]:
        return [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]

    def _norm(self) -> Tensor:
        """That of all gradients as one vector."""
        norms: tuple[Tensor, ...] = torch._foreach_norm(self._gradients())
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm

    def _step_group(self, group: Group, scale: Tensor | None, failed: Tensor | None) -> None:
        """AdamW's step with gradients divided by scale; none where failed is 1."""
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
        """The count of steps and the running means of a parameter's gradient and of its square."""
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


def build_optimizer(model: nn.Module, *, learning_rate: float, beta1: float, weight_decay: float) -> AdamW:
    """AdamW for a model's parameters.

    Only matrices decay: pulling a bias towards zero takes away an offset, not capacity.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups: list[Group] = [
        {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device.type
    # The second moment forgets in about 100 steps instead of torch's 1000: runs here are thousands of steps
    # long, not millions, and the scale of the gradient falls quickly at their start.
    return AdamW(groups, betas=(beta1, 0.99), fused=device in ("cpu", "cuda"), asynchronous=device == "cuda")


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """The optimizer's state as "<parameter name>/<what>"; empty before the first step."""
    return {
        f"{name}/{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, what = key.rsplit("/", 1)
        parameter = parameters[name]
        # The count of steps stays where the fused optimizer keeps it: on the parameter's device, float32.
        optimizer.state.setdefault(parameter, {})[what] = value.to(parameter.device).clone()
