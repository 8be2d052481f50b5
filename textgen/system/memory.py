"""Memory: kept between training steps, checked before training, and running out of it as one line."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from textgen.errors import TrainingError

# As glibc's malloc.h numbers them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Keep freed memory in this process, because the next training step needs as much again.

    By default glibc gets each large block from the system and returns it when it is freed, and the system
    clears all its pages every time. The process stays as large as its largest step. Does nothing where the C
    library is not glibc.
    """
    # see scripts/BENCHMARKS.md, "kept memory"
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return
    mallopt(_M_MMAP_MAX, 0)  # allocate large blocks on the heap like small ones
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)  # and never return the top of the heap


def total_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(parameters: int, device: str) -> None:
    """Refuse to train a network that does not fit into this machine's memory.

    Linux grants more memory than there is, and kills the process without a message when it is used; so this
    is checked before the weights are made.

    Raises TrainingError.
    """
    # Weights, gradients and AdamW's two moments in float32; for a GPU only the weights are made here.
    needed = parameters * 4 * (4 if device == "cpu" else 1)
    memory = total_memory()
    if memory is not None and needed > memory:
        raise TrainingError(
            f"out of memory: training {parameters:,} weights takes at least {needed / 1e9:,.1f} GB, and "
            f"this machine has {memory / 1e9:,.1f} GB. Use a smaller --hidden-size or fewer --num-layers."
        )


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn running out of memory in the block, on a CPU or a GPU, into a TrainingError; other errors pass."""
    import torch

    # For a GPU torch has an exception class; on a CPU only the message of the RuntimeError tells.
    messages = ("not enough memory", "can't allocate memory", "Storage size calculation overflowed")
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_out_of_memory and not any(message in str(error) for message in messages):
            raise
        raise TrainingError(
            "out of memory: the network or its batches are too large for this machine. "
            "Use a smaller --batch-size, --seq-len or --hidden-size."
        ) from error
