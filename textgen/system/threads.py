"""CPU threads: how many are used, and how idle ones wait. Neither torch nor NumPy is imported on loading."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from textgen.errors import ConfigError

# From this width on, more threads help. Below it, handing each step's small products to a second thread and
# waiting for it costs more than it saves: see scripts/BENCHMARKS.md, "threads".
MANY_THREADS_HIDDEN_SIZE = 128

# What the linear algebra libraries under NumPy read; OpenBLAS and MKL fall back on the last.
_NUMPY_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def available_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_threads(requested: int | None, *, hidden_size: int) -> int:
    """The number of CPU threads for training.

    requested None: one for a small network, as many as there are processors for a larger one.

    Raises ConfigError for far more threads than there are processors.
    """
    processors = available_processors()
    if requested is not None:
        if requested > 8 * processors:
            raise ConfigError(
                f"threads={requested}: too many for the {processors} processors here; use fewer"
            )
        return requested
    return processors if hidden_size >= MANY_THREADS_HIDDEN_SIZE else 1


def limit_spinning() -> None:
    """Let idle threads of torch spin only for microseconds before they sleep; call it before importing torch.

    A recurrent layer hands out work and waits for it at every time step. With GNU OpenMP's default, waiting
    threads spin so long that on a busy machine they take the processor from the very thread that they wait
    for. Does nothing where the user has set OMP_WAIT_POLICY or GOMP_SPINCOUNT.
    """
    # see scripts/BENCHMARKS.md, "threads"
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def multiply_on_few_threads() -> bool:
    """Limit NumPy's matrix products to two threads; call it before NumPy is imported.

    By default NumPy uses every processor for each product, but those of sampling are too small to gain by it.
    Returns False, and changes nothing, if NumPy is already loaded or the user has set a number of threads.
    """
    if "numpy" in sys.modules or any(name in os.environ for name in _NUMPY_THREADS):
        return False
    os.environ["OMP_NUM_THREADS"] = str(min(2, available_processors()))
    return True


@functools.cache  # once set to one thread, a library seems to have only one
def numpy_threads() -> Callable[[int], None] | None:
    """The function that sets the number of threads of NumPy's products; None where it has to stay at one.

    Only OpenBLAS is known to give the same matrix-vector product on one thread and on two. Any other library
    is set to one thread, so that the same seed gives the same text.
    """
    libraries = _blas_libraries()
    if len(libraries) == 1 and libraries[0].internal_api == "openblas" and libraries[0].num_threads > 1:
        set_threads: Callable[[int], None] = libraries[0].set_num_threads
        return set_threads
    for library in libraries:
        library.set_num_threads(1)
    return None


_users_lock = threading.Lock()
_num_users = 0
_threads_before: list[tuple[Any, int]] = []


@contextmanager
def few_numpy_threads() -> Iterator[None]:
    """In the block NumPy's products use one thread, or what numpy_threads() sets; restored afterwards.

    For a process that is not only ours, such as a notebook. Of nested and concurrent uses, the last one to
    end restores the number of threads.
    """
    global _num_users, _threads_before
    with _users_lock:
        if not _num_users:
            _threads_before = [(library, library.num_threads) for library in _blas_libraries()]
            numpy_threads()  # while the library has all its threads
            for library, _ in _threads_before:
                library.set_num_threads(1)
        _num_users += 1
    try:
        yield
    finally:
        with _users_lock:
            _num_users -= 1
            if not _num_users:
                for library, threads in _threads_before:
                    library.set_num_threads(threads)


@functools.cache
def _blas_libraries() -> list[Any]:
    """threadpoolctl's controllers of the linear algebra libraries that are loaded, NumPy's among them."""
    import numpy  # noqa: F401  so that its library is loaded and can be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
