"""The processes that train one run together, and all that they exchange.

    torchrun, or textgen train --processes N
        ├─ process of rank 0   reads the text, creates the run, keeps the clock, writes files
        ├─ process of rank 1   ┐ compute the gradients of their sequences;
        └─ ...                 ┘ their files are those that rank 0 sends
    World.sum: after each step all have the same gradients, and so the same weights

Numbers travel by gloo, gradients on GPUs by NCCL. torch.distributed is loaded only where there is more than
one process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from textgen.errors import ConfigError, LostProcessError
from textgen.text.batches import Rows

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

POLL_SECONDS = 0.05
# Rank 0 may be busy for so long while the others wait in an exchange: it evaluates, samples and saves.
TIMEOUT = timedelta(minutes=30)


class World:
    """The processes of a training: this one has `rank`, from 0 on, of `size`; alone it is rank 0 of 1.

    All of them must call each method that exchanges something, in the same order. They raise
    LostProcessError when another process has ended. Alone, nothing is exchanged, and each returns at once.

    local_size: how many of the processes are on this machine.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, local_size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.local_size = local_size
        self._store: Store | None = None
        self._gradients: ProcessGroup | None = None  # None: the default group, of gloo
        self._announced = 0

    @classmethod
    def join(cls, environment: Mapping[str, str] = os.environ) -> World:
        """The world that torchrun's variables in the environment describe; without them a world of one.

        Waits for the other processes. Raises LostProcessError when they do not come.
        """
        if "RANK" not in environment:
            return cls()
        try:
            rank, size, local_size, local_rank = (
                int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
            )
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"RANK is set, but {error} is not as torchrun sets it; start the processes with torchrun, "
                "or unset RANK"
            ) from error
        world = cls(rank, size, local_size=local_size)
        if size > 1:
            if torch.cuda.is_available():
                torch.cuda.set_device(local_rank % torch.cuda.device_count())
            # torchrun's store may outlive processes that it has started again.
            world._connect(attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
        return world

    def _connect(self, attempt: str) -> None:
        from torch import distributed
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        with _reporting_lost_processes():
            store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
            self._store = PrefixStore(f"textgen/{attempt}", store)
            distributed.init_process_group(
                "gloo", store=self._store, rank=rank, world_size=size, timeout=TIMEOUT
            )

    @property
    def is_first(self) -> bool:
        """Whether this process has rank 0, which writes files and talks to the user."""
        return self.rank == 0

    def use_device(self, device: str) -> None:
        """Exchange gradients on this kind of device from here on; all processes must call this."""
        if self.size > 1 and device == "cuda":
            from torch import distributed

            if self.local_size > (gpus := torch.cuda.device_count()):
                raise ConfigError(
                    f"{self.local_size} processes, but {gpus} GPUs: each needs one; start fewer processes, "
                    "or use --device cpu"
                )
            with _reporting_lost_processes():
                self._gradients = distributed.new_group(backend="nccl", timeout=TIMEOUT)

    def threads(self, total: int) -> int:
        """How many of the CPU threads that all processes of a machine have together are this one's."""
        return max(1, total // self.local_size)

    def share(self, rows: Rows) -> Rows:
        """The sequences of a batch that this process has."""
        return rows.divided(self.size)[self.rank]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up each tensor over all processes, in place. All have the same dtype and device.

        The sum is the same, bit for bit, in all processes, and each time for the same number of them.
        """
        if self.size == 1:
            return
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _reporting_lost_processes():
            distributed.all_reduce(flat, group=self._gradients)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(
            list(tensors), [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
        )

    def gathered(self, tensor: Tensor, dim: int) -> Tensor:
        """The tensors of all processes along a dimension, in the order of ranks; alone, the tensor itself."""
        if self.size == 1:
            return tensor
        from torch import distributed

        found = [tensor] * self.size
        with _reporting_lost_processes():
            distributed.all_gather_object(found, tensor.cpu())
        return torch.cat(found, dim=dim)

    def exchanged(self, numbers: Sequence[float]) -> list[list[float]]:
        """The numbers of each process, by rank."""
        if self.size == 1:
            return [list(numbers)]
        from torch import distributed

        own = torch.tensor(numbers, dtype=torch.float64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with _reporting_lost_processes():
            distributed.all_gather(found, own)
        return [each.tolist() for each in found]

    def from_first(self, value: T) -> T:
        """The value of rank 0, for which the others wait as long as it takes; their own is ignored."""
        if self.size == 1:
            return value
        from torch import distributed

        assert self._store is not None
        self._announced += 1
        key = f"value {self._announced}"
        with _reporting_lost_processes():
            if self.is_first:
                self._store.set(key, "")
            else:  # not Store.wait, which a signal cannot interrupt and which gives up in the end
                while not self._store.check([key]):
                    time.sleep(POLL_SECONDS)
            found = [value]
            distributed.broadcast_object_list(found, src=0)
        return found[0]

    def may_report(self) -> bool:
        """Whether this process is the first to ask: when all fail together, one message is enough."""
        if self._store is None:
            return True
        with contextlib.suppress(RuntimeError):  # the store is gone with the launcher
            return bool(self._store.add("messages", 1) == 1)
        return True

    def leave(self) -> None:
        """End the exchange; the processes go their own ways. Nothing may be exchanged any more."""
        if self.size > 1:
            from torch import distributed

            distributed.destroy_process_group()


@contextmanager
def _reporting_lost_processes() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError, pickle.UnpicklingError) as error:
        raise LostProcessError("another process of this training was lost") from error


def launch_id(environment: Mapping[str, str] = os.environ, launcher: int | None = None) -> str | None:
    """What torchrun calls this launch, the same after it has restarted its processes; None without it.

    launcher: the process that starts the others; None: the parent of this one.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    launcher = os.getppid() if launcher is None else launcher
    started = ""
    with contextlib.suppress(OSError, IndexError):  # systems without /proc
        stat = Path(f"/proc/{launcher}/stat").read_text(encoding="ascii", errors="replace")
        started = stat.rpartition(")")[2].split()[19]
    return f"{environment['TORCHELASTIC_RUN_ID']} {launcher} {started}"
