"""Functions in several processes that form a World, and `textgen train` under torchrun."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from textgen.distributed.world import World

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets for each of its processes."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def _work(function: Callable[..., Any], rank: int, size: int, port: int, results: Any, *args: Any) -> None:
    os.environ.update(environment(rank, size, port))
    import torch

    torch.set_num_threads(1)
    world = World.join()
    results.put((rank, function(world, *args)))


def in_processes(function: Callable[..., T], size: int, *args: Any) -> dict[int, T]:
    """What function(world, *args) returns in each of `size` processes that has returned, by rank."""
    context = multiprocessing.get_context("spawn")
    results, port = context.SimpleQueue(), free_port()
    processes = [
        context.Process(target=_work, args=(function, rank, size, port, results, *args))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = {}
    while any(process.is_alive() for process in processes) or not results.empty():
        while not results.empty():
            rank, result = results.get()
            found[rank] = result
        for process in processes:
            process.join(0.02)
    return found


def torchrun(*arguments: str, processes: int, restarts: int = 0, cwd: Path) -> subprocess.Popen[str]:
    """Start torchrun with `textgen` and these arguments."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, f"--max-restarts={restarts}", "-m", "--", "textgen", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """The processes that a process has started, in the order in which it did."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
