"""Memory: kept between training steps, checked before training, and running out of it as one line."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textgen.errors import TrainingError

# As glibc's malloc.h numbers them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


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
    """Bytes of memory that this process may use at most: of the machine, or of its container if that is less.

    None where the system does not say (Windows).
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(machine, int(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no such limit, or "max"
        return machine


def require_memory(parameters: int, logits: int, device: str) -> None:
    """Refuse to train a network that does not fit into this machine's memory.

    logits: how many a batch has: batch_size x seq_len x model_vocab_size.

    Linux grants more memory than there is, and kills the process without a message when it is used; so this
    is checked before the weights are made.

    Raises TrainingError.
    """
    # Weights, gradients and AdamW's two moments in float32; for a GPU only the weights are made here. Beside
    # the logits there are their logarithms and their gradients.
    weights, activations = (16 * parameters, 12 * logits) if device == "cpu" else (4 * parameters, 0)
    memory = total_memory()
    if memory is None or weights + activations <= memory:
        return
    if weights > activations:
        what, advice = f"{parameters:,} weights", "a smaller --hidden-size or fewer --num-layers"
    else:
        what = f"a network with batches of {logits:,} logits"
        advice = "a smaller --batch-size, --seq-len or --vocab-size, or --tokenizer byte"
    raise TrainingError(
        f"out of memory: training {what} takes at least {(weights + activations) / 1e9:,.1f} GB, and this "
        f"machine has {memory / 1e9:,.1f} GB. Use {advice}."
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
