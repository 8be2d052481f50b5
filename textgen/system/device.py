"""Where the network runs, and in which arithmetic. torch is imported inside the functions only."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textgen.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> str:
    """cpu, cuda or mps for a --device; auto takes a CUDA GPU if there is one.

    mps is never chosen by auto: it is untested. Raises ConfigError when the device is not there.
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
    """float32 or bfloat16 for a --precision; auto takes bfloat16 where it is faster.

    On a CPU that is where its products are faster; a small GRU or RNN, whose time goes into step-by-step
    overhead and not into products, stays in float32. On a GPU it is compute capability 8 and above.
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


@functools.cache  # one answer for the process, whatever else runs when it is asked again
def cpu_gains_by_bfloat16() -> bool:
    """Whether the processor multiplies faster in bfloat16 than in float32, as a product of each tells.

    The instructions alone do not say. Training one layer of 384 units on one core, an AMD EPYC with
    AVX512-BF16 gains by them; on an Intel Xeon with the same but without AMX, as a virtual machine may see
    it, a product takes twice as long as in float32, and float32 trains 1.6 times as fast.
    """
    import torch

    if not cpu_multiplies_bfloat16():
        return False
    # 32 windows of 16 characters, 384 units, four gates.
    factors = {
        dtype: (torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    seconds = dict.fromkeys(factors, math.inf)
    for _ in range(10):  # in turn, that a busy moment meet both
        for dtype, (a, b) in factors.items():
            started = time.perf_counter()
            torch.mm(a, b)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]


# From this width on every processor helps; below, handing each step's small products to a second one and
# waiting for it costs what it saves. Measured with two processors, both passes over batches of 32 x 64:
# an LSTM 1.0 times as fast on both at 64 units, 1.3 at 128, 1.5 at 256, 1.7 at 512.
MANY_THREADS_HIDDEN_SIZE = 128


def available_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_threads(requested: int | None, *, hidden_size: int) -> int:
    """CPU threads to use: as asked for, else one for a small network and every processor for others.

    Raises ConfigError for more threads than could do any good.
    """
    processors = available_processors()
    if requested is not None:
        if requested > 8 * processors:
            raise ConfigError(
                f"threads={requested}: too many for the {processors} processors here; use fewer"
            )
        return requested
    return processors if hidden_size >= MANY_THREADS_HIDDEN_SIZE else 1


def wait_briefly() -> None:
    """Let idle threads of torch spin for microseconds before they sleep; works only before torch is imported.

    A recurrent layer hands out work and waits for it at every time step. Threads that spin as long as GNU
    OpenMP's default says keep, where another program takes a processor, the very thread from running that
    they wait for. Measured on two cores with a layer of 384 units: beside one busy process 500 tokens/s with
    the default and 21,000 with this; alone no difference beyond noise. What the user has set is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def multiply_on_few_threads() -> bool:
    """Let NumPy's products take two threads at most; works only before NumPy is imported.

    NumPy by itself takes all processors for each product, and sampling makes one after another, too short for
    many. Returns whether it was done: what the user set stays.
    """
    if "numpy" in sys.modules or any(name in os.environ for name in _NUMPY_THREADS):
        return False
    os.environ["OMP_NUM_THREADS"] = str(min(2, available_processors()))
    return True


# What linear algebra under NumPy reads; OpenBLAS and MKL take the last where their own is missing.
_NUMPY_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


@functools.cache  # asked again after setting one thread, the library would seem to have no more
def numpy_threads() -> Callable[[int], None] | None:
    """What sets the threads of NumPy's products at any time; None where two may not be had or not be trusted.

    OpenBLAS alone is known to give the same product of a matrix and a vector on one thread and on two;
    another library is set to one, that the same seed give the same text.
    """
    import numpy  # noqa: F401  so that its library is there to be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    if len(libraries) == 1 and libraries[0].internal_api == "openblas" and libraries[0].num_threads > 1:
        set_threads: Callable[[int], None] = libraries[0].set_num_threads
        return set_threads
    for library in libraries:
        library.set_num_threads(1)
    return None


def keep_memory() -> None:
    """Let memory that is freed stay with the process: the next training step asks for as much again.

    The C library of Linux (glibc) gets large blocks from the system and gives them back at once, and the
    system clears every page of them anew. Measured on two cores, an LSTM's forward and backward pass in
    bfloat16, batch 32 x 64: with this 1.5 times as fast at 384 units, 1.9 times at 512. The process stays as
    large as its largest step. Elsewhere this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return
    mallopt(_M_MMAP_MAX, 0)  # large blocks come from the heap like small ones
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)  # and stay there


# As malloc.h of glibc numbers them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def set_up(device: str, *, threads: int, seed: int, deterministic: bool) -> None:
    """Set threads, seeds, determinism and the way of memory for this process."""
    import torch

    if device == "cpu":
        keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed_all(seed)
    if deterministic:
        # cuBLAS reads this when it starts; without it torch refuses to promise determinism.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def total_memory() -> int | None:
    """The bytes of memory that this machine has; None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(parameters: int, device: str) -> None:
    """Refuse to train a network that this machine cannot hold.

    Linux grants more memory than it has, and ends the process without a word when it is used; so the
    question comes before the weights. Raises TrainingError.
    """
    # Weights, gradients and AdamW's two moments in float32; for a GPU the weights alone are made here.
    needed = parameters * 4 * (4 if device == "cpu" else 1)
    memory = total_memory()
    if memory is not None and needed > memory:
        raise TrainingError(
            f"out of memory: {parameters:,} weights take at least {needed / 1e9:,.1f} GB in training, and "
            f"this machine has {memory / 1e9:,.1f} GB. Use a smaller --hidden-size or fewer --num-layers."
        )


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn running out of memory, on a CPU or a GPU, into one line for the user; a bug stays what it is.

    Raises TrainingError.
    """
    import torch

    # On a GPU it is a class of its own; on a CPU only the words of a RuntimeError tell.
    words = ("not enough memory", "can't allocate memory", "Storage size calculation overflowed")
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_one = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_one and not any(word in str(error) for word in words):
            raise
        raise TrainingError(
            "out of memory: the network or its batches are too large for this machine. "
            "Use a smaller --batch-size, --seq-len or --hidden-size."
        ) from error


def widest_float(device: torch.device) -> torch.dtype:
    """The type to sum many small numbers in: float64, which Apple's GPUs do not have."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision's name."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
