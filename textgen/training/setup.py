"""What comes before the trainer: setting up torch, and the weights that a run began with."""

from __future__ import annotations

import numpy as np
import torch

from textgen.distributed.world import World
from textgen.errors import ConfigError, RunError
from textgen.models.cost import num_parameters
from textgen.run import Run, load_weights
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.system.device import resolve_device, set_up
from textgen.system.memory import require_memory

INITIAL = "initial.safetensors"  # in training/, of a run that started from another: its initial weights


def require_training_memory(model: ModelConfig, training: TrainingConfig, world: World) -> None:
    """Raises TrainingError when the network and its batches do not fit into this machine's memory, and
    ConfigError when a batch has too few sequences to be divided as it shall be.
    """
    parts = world.size * training.accumulate
    if training.batch_size < parts:
        by = [f"{world.size} processes"] if world.size > 1 else []
        by += [f"--accumulate {training.accumulate}"] if training.accumulate > 1 else []
        raise ConfigError(
            f"batch_size={training.batch_size}: too small for {' and '.join(by)}, which divide it; "
            f"use a --batch-size of at least {parts}, and a text that is long enough for it"
        )
    sequences = -(-training.batch_size // parts)
    logits = sequences * training.seq_len * model.model_vocab_size
    require_memory(num_parameters(model), logits, training.device)


def set_up_training(training: TrainingConfig, world: World) -> None:
    """Prepare torch as a resolved config says. Raises ConfigError when its device is not there."""
    assert training.threads is not None  # resolved
    set_up(
        resolve_device(training.device),
        threads=world.threads(training.threads),
        seed=training.seed,
        deterministic=training.deterministic,
    )


def use_all_threads(training: TrainingConfig) -> None:
    """Let torch use the threads of all processes of this machine, when the others have ended."""
    assert training.threads is not None  # resolved
    torch.set_num_threads(training.threads)


def initial_weights(run: Run) -> dict[str, np.ndarray] | None:
    """The weights that a run began with, if it started from another run; None: the seed draws them.

    Raises RunError when they are missing, because the order of the model vocabulary is lost with them.
    """
    path = run.training_directory / INITIAL
    if path.is_file():
        return load_weights(path, run.config.model)
    if run.config.from_run is None:
        return None
    if run.weights_kind != "float32":
        raise RunError(
            f"{run.path}: was exported without the weights that its training began with; name the run that "
            "it was exported from"
        )
    raise RunError(
        f"{path}: no such file; the weights that {run.path} began with are missing, without which it can be "
        "neither resumed nor measured by gradients. "
        f"Start a new run from its best weights with: textgen train --from {run.path}"
    )
