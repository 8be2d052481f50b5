"""AdamW over the model's parameters, and its state as plain tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def build_optimizer(model: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), fused where torch has it.

    Only matrices decay: pulling a bias towards zero takes away an offset, not capacity.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device.type
    # The second moment forgets in about 100 steps instead of torch's 1000: runs here are thousands of steps
    # long, not millions, and the scale of the gradient falls quickly at their start.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), fused=device in ("cpu", "cuda"))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as "<parameter name>/<what>"; empty before the first step."""
    return {
        f"{name}/{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, what = key.rsplit("/", 1)
        parameter = parameters[name]
        # The count of steps stays where the fused optimizer keeps it: on the parameter's device, float32.
        optimizer.state[parameter][what] = value.to(parameter.device).clone()
