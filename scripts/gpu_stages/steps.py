"""A training step against the least that computes the same network, LSTM and GRU, in bfloat16.

For each number of units, timed in turn:

- step: everything that `textgen train` does between two evaluations (see benchmarks/training.py), without
  dropout and penalties. The embedding is as wide as the layer. Weights and AdamW's moments are float32.
- bare step: torch.nn.Embedding, LSTM or GRU (one call of cuDNN, weights in one block) and Linear, all weights
  in bfloat16; softmax cross-entropy in float32; backward; torch.optim.AdamW, fused. The same batch each time,
  which is already on the device, the zero state, no clipping and no metrics.
- layer: the LSTM or GRU of the bare step alone, forward and backward with the gradient of its input.
- float16 layer: the same in float16, for which torch asks cuDNN for other kernels than for bfloat16.

A share is the time of the bare one divided by that of the step: 1 would be as fast.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from benchmarks.training import new_trainer
from torch import nn
from torch.nn.functional import cross_entropy

from gpu_stages.on_device import in_turn, release_memory, with_peak
from gpu_stages.settings import Settings
from textgen.training.trainer import Trainer

# Of the types in this set torch puts a layer's weights into one block, which cuDNN reads as it is. Of
# bfloat16 they would be copied at each call, and the bare layer would be measured with that.
torch.backends.cudnn.CUDNN_TENSOR_DTYPES.add(torch.bfloat16)

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
UNITS, BATCH_SIZE, SEQ_LEN, ROUNDS = (512, 1024, 2048), 64, 128, 5
TINY_UNITS, TINY_BATCH_SIZE, TINY_SEQ_LEN, TINY_ROUNDS = (8, 16), 4, 8, 3


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """The results for each number of units: one per cell, and one that compares the cells."""
    for units in TINY_UNITS if settings.tiny else UNITS:
        yield from _of_units(units, settings)
        release_memory(settings.device)


def _of_units(units: int, settings: Settings) -> Iterator[dict[str, Any]]:
    batch_size, seq_len = (TINY_BATCH_SIZE, TINY_SEQ_LEN) if settings.tiny else (BATCH_SIZE, SEQ_LEN)
    with tempfile.TemporaryDirectory() as folder:
        names, actions, memory = [], [], []
        for cell in CELLS:
            make = partial(_trainer, f"{folder}/{cell}", cell, units, batch_size, seq_len, settings)
            step, peak = with_peak(make, settings.device)
            vocab_size = step.trainer.model.config.model_vocab_size
            shape = cell, units, batch_size, seq_len, settings.device
            bare, bare_peak = with_peak(partial(BareStep, vocab_size, *shape), settings.device)
            layers = [Layer(*shape, dtype=dtype) for dtype in (torch.bfloat16, torch.float16)]
            actions += [step, bare, *layers]
            names += [(cell, kind) for kind in ("step", "bare_step", "layer", "float16_layer")]
            about = {"step_peak_megabytes": peak, "bare_step_peak_megabytes": bare_peak}
            about["bare_weights_in_one_block"] = all(map(in_one_block, (bare.layer, layers[0].layer)))
            memory.append(about)
        times = in_turn(actions, settings, TINY_ROUNDS if settings.tiny else ROUNDS)
    seconds = dict(zip(names, times, strict=True))
    for cell, of_memory in zip(CELLS, memory, strict=True):
        of_cell = {kind: time for (each, kind), time in seconds.items() if each == cell}
        about = {"cell": cell, "units": units, "batch_size": batch_size, "seq_len": seq_len}
        yield about | _figures(of_cell, batch_size * seq_len) | of_memory
    ratios = {
        f"{kind}_time_of_gru_to_lstm": round(seconds["gru", kind] / seconds["lstm", kind], 3)
        for kind in ("step", "bare_step", "layer")
    }
    yield {"units": units} | ratios


def _figures(seconds: dict[str, float], tokens: int) -> dict[str, float]:
    """Milliseconds of each, tokens per second of the step, and the shares."""
    return {
        **{f"{kind}_milliseconds": round(1e3 * each, 3) for kind, each in seconds.items()},
        "tokens_per_second": round(tokens / seconds["step"]),
        "share_of_bare_step": round(seconds["bare_step"] / seconds["step"], 3),
        "share_of_layer": round(seconds["layer"] / seconds["step"], 3),
    }


def in_one_block(layer: nn.RNNBase) -> bool:
    """Whether all weights are views of one block of memory; on a CPU they need not be."""
    return len({weight.untyped_storage().data_ptr() for weight in layer.parameters()}) == 1


class Step:
    """A training step of textgen."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self) -> None:
        """Take it."""
        self.trainer.advance()


def _trainer(folder: str, cell: str, units: int, batch_size: int, seq_len: int, settings: Settings) -> Step:
    trainer = new_trainer(
        folder,
        corpus=(str(settings.text),),
        cell=cell,
        hidden_size=units,
        embedding_dim=units,
        batch_size=batch_size,
        seq_len=seq_len,
        precision="bfloat16",
        device=settings.device,
    )
    return Step(trainer)


class Layer:
    """Forward and backward pass of torch's own layer. Time comes first, as cuDNN wants it."""

    def __init__(
        self, cell: str, units: int, batch_size: int, seq_len: int, device: str, dtype: torch.dtype
    ) -> None:
        self.layer = CELLS[cell](units, units).to(device, dtype)
        self.x = torch.randn(seq_len, batch_size, units, device=device, dtype=dtype).requires_grad_()
        self.gradient = torch.randn_like(self.x)

    def __call__(self) -> None:
        """Run both."""
        self.layer.zero_grad(set_to_none=True)
        self.x.grad = None
        self.layer(self.x)[0].backward(self.gradient)


class BareStep:
    """A training step of embedding, layer, head, softmax and AdamW, and nothing else."""

    def __init__(
        self, vocab_size: int, cell: str, units: int, batch_size: int, seq_len: int, device: str
    ) -> None:
        self.embedding, self.layer = nn.Embedding(vocab_size, units), CELLS[cell](units, units)
        self.head = nn.Linear(units, vocab_size)
        self.modules = nn.ModuleList([self.embedding, self.layer, self.head]).to(device, torch.bfloat16)
        self.inputs, self.targets = torch.randint(vocab_size, (2, seq_len, batch_size), device=device)
        self.optimizer = torch.optim.AdamW(self.modules.parameters(), lr=1e-3, fused=True)

    def __call__(self) -> None:
        """Take it."""
        outputs, _ = self.layer(self.embedding(self.inputs))  # (T, B, H)
        logits = self.head(outputs).flatten(0, 1).float()  # (T * B, V)
        self.optimizer.zero_grad()
        cross_entropy(logits, self.targets.flatten()).backward()
        self.optimizer.step()
