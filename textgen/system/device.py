"""Device, precision and determinism. torch is imported only inside the functions."""

from __future__ import annotations

import functools
import math
import os
import time
from typing import TYPE_CHECKING

from textgen.errors import ConfigError
from textgen.system.memory import keep_memory

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> str:
    """The torch device for --device: cpu, cuda or mps; auto is cuda if torch sees a GPU, else cpu.

    auto never means mps, which is untested. Raises ConfigError when the device is not available.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: torch sees no CUDA GPU here; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: torch sees no Apple GPU here; use --device cpu")
    return name


def resolve_precision(name: str, device: str, *, cell: str, hidden_size: int) -> str:
    """float32 or bfloat16 for --precision; auto is bfloat16 where it is faster.

    On a CPU that is where bfloat16 products are faster; but a small GRU or RNN, whose time goes into the
    overhead of each step and not into products, stays in float32. On a GPU it is from compute capability 8
    on.
    """
    import torch

    if name != "auto":
        return name
    if device == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    if device == "cpu" and (cell == "lstm" or hidden_size >= 128) and cpu_gains_by_bfloat16():
        return "bfloat16"
    return "float32"


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 products (AVX512-BF16 or AMX), as torch reports."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


@functools.cache  # one answer per process, however busy the machine becomes
def cpu_gains_by_bfloat16() -> bool:
    """Whether the processor multiplies clearly faster in bfloat16 than in float32; both are timed.

    Having the instructions is not enough: some processors with AVX512-BF16 but without AMX are slower with
    them than in float32.
    """
    # see scripts/BENCHMARKS.md, "bfloat16"
    import torch

    if not cpu_multiplies_bfloat16():
        return False
    # 32 windows of 16 characters, 384 units, four gates.
    factors = {
        dtype: (torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    seconds = dict.fromkeys(factors, math.inf)
    for _ in range(10):  # in turn, so that a busy moment affects both
        for dtype, (a, b) in factors.items():
            started = time.perf_counter()
            torch.mm(a, b)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]


def set_up(device: str, *, threads: int, seed: int, deterministic: bool) -> None:
    """Configure torch in this process: threads, random seeds, determinism, and memory use on a CPU."""
    import torch

    if device == "cpu":
        keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed_all(seed)
    if deterministic:
        # cuBLAS reads this when it starts; without it torch's deterministic mode raises an error.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the CPU and of this device.

    torch.manual_seed seeds those of all kinds of devices, which takes as long as a small part of a step.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def widest_float(device: torch.device) -> torch.dtype:
    """The dtype to sum many small numbers in: float64, but float32 on Apple's GPUs, which have no float64."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision's name, float32 or bfloat16."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
