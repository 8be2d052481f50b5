"""Timing and memory on a device that works asynchronously."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from benchmarks.measure import alternate, machine, seconds

from gpu_stages.settings import Settings

Action = Callable[[], object]
T = TypeVar("T", bound=Action)
SECONDS, TINY_SECONDS = 0.1, 0.005  # of one timing
MOST_REPEATS = 50


def describe(device: str) -> dict[str, Any]:
    """The machine, the versions that matter on a GPU, and the device's name."""
    facts = machine() | {"device": device}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_megabytes": round(properties.total_memory / 1e6),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def synchronize(device: str) -> None:
    """Wait until the device has done all that was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def in_turn(actions: Sequence[Action], settings: Settings, rounds: int) -> list[float]:
    """Median seconds of one call of each action; they are timed in turn, each timing being many calls."""
    counts = [_repeats(action, settings) for action in actions]
    timed = [_repeated(*pair, settings.device) for pair in zip(actions, counts, strict=True)]
    medians = alternate(*timed, rounds=rounds)
    return [median / count for median, count in zip(medians, counts, strict=True)]


def _repeats(action: Action, settings: Settings) -> int:
    """How many calls one timing takes, by the second call: the first one also chooses kernels."""
    once = _repeated(action, 1, settings.device)
    once()
    wanted = TINY_SECONDS if settings.tiny else SECONDS
    return min(MOST_REPEATS, max(1, round(wanted / max(seconds(once), 1e-6))))


def _repeated(action: Action, count: int, device: str) -> Action:
    def repeated() -> None:
        for _ in range(count):
            action()
        synchronize(device)

    return repeated


def with_peak(make: Callable[[], T], device: str) -> tuple[T, float | None]:
    """What `make` makes, and the most megabytes of the device that making and calling it twice took.

    Not counted is what was in use before. None on a CPU.
    """
    release_memory(device)
    if device != "cuda":
        return make(), None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    action = make()
    action()
    action()
    synchronize(device)
    return action, round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def release_memory(device: str) -> None:
    """Give memory that is no longer used back to the device."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
