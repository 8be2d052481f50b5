"""How much of a download from the hub is done, by way of the progress bars of huggingface_hub."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def byte_counter(work: Callable[[int, int], None]) -> Any:
    """A class of bars for huggingface_hub that show nothing, and tell `work` the bytes done and in all.

    The library makes several bars of it, which count files, bytes of the network, and bytes written (with
    Xet storage these differ). Their totals grow while files are found, and several threads advance them.
    """
    from tqdm import tqdm  # here, as it takes time that runs in directories need not wait

    lock = threading.Lock()
    most = 0

    class ByteCounter(tqdm):  # type: ignore[type-arg]  # tqdm is generic for type checkers alone
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            options.pop("name", None)
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            with lock:
                self.n += n or 0
                self._tell()

        def refresh(self, *arguments: Any, **options: Any) -> None:  # the total has grown
            with lock:
                self._tell()

        def _tell(self) -> None:
            nonlocal most
            if self._counts_bytes and self.total and self.n >= most:
                most = int(self.n)
                work(most, int(self.total))

    return ByteCounter
