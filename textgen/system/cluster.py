"""Calls of a function on the workers of a dask cluster; the results arrive in the order of the items.

    items ─→ at most MOST_WAITING tasks on the cluster ─→ results, the oldest first

A dask cluster runs whatever code is sent to it, and its answers are unpickled here, so both sides must trust
each other. Workers need textgen in the same version. What is sent is bytes, which only `call` unpickles: a
worker without textgen would break off its connection otherwise, and so would the scheduler, which needs none.
dask is loaded only inside of functions.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from textgen.errors import ConfigError, TextgenError
from textgen.version import VERSION

if TYPE_CHECKING:
    from distributed import Client, Future

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_SECONDS = 10.0  # that the scheduler has to answer, at the start and later
NO_WORKER_SECONDS = 30.0  # that a cluster may be without workers
POLL_SECONDS = 2.0  # between two looks at the cluster
MOST_WAITING = 512  # tasks: what limits memory here on a large cluster
SENT_WITH_EACH = 2**14  # bytes of a shared object that travels with each item, as that costs nothing
LARGEST_SHARED = "16GiB"  # that dask sends without a warning
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "bokeh")


def cluster_map(
    address: str,
    function: Callable[[Shared, Item], Result],
    items: Iterable[Item],
    shared: Shared,
) -> Generator[Result, None, None]:
    """Yield function(shared, item) for each item in order, computed on the cluster at an address.

    function: of a module of textgen, by its name there; it may be called twice for an item, as dask repeats
    the tasks of a worker that is lost. shared: sent once to each worker, which keeps the one object for all
    calls. Items are taken as room for them becomes free. They, `shared` and results must be picklable, and
    results small: textgen waits for each POLL_SECONDS at a time. Closing the iterator, or any exception,
    cancels the tasks.

    Where taking an item raises TextgenError, the results of the items before it come first. Raises
    ConfigError without dask or for an address that cannot be one; TextgenError where the cluster does not
    answer, has no workers, lost them or runs another version of textgen; and what function raises.
    """
    with _connected(address) as client:
        tasks = _Tasks(client, address, function, shared)
        waiting = deque["Future[Any]"]()
        source = _until_error(items)
        for item in source.items:
            waiting.append(tasks.submit(item))
            while waiting and (len(waiting) >= tasks.most_waiting() or waiting[0].status != "pending"):
                yield tasks.result(waiting.popleft())
        while waiting:
            yield tasks.result(waiting.popleft())
        if source.error is not None:
            raise source.error


@dataclass
class _Source(Generic[Item]):
    """Items up to the first TextgenError, which is kept."""

    items: Iterator[Item]
    error: TextgenError | None = None


def _until_error(items: Iterable[Item]) -> _Source[Item]:
    def until() -> Iterator[Item]:
        try:
            yield from items
        except TextgenError as error:
            source.error = error

    source = _Source(until())
    return source


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """A client of the cluster; closed afterwards, which cancels its tasks. Raises as cluster_map."""
    distributed = _library()
    from dask.config import set as dask_config

    if ":" not in address:
        raise ConfigError(f"--dask {address}: not the address of a dask scheduler, such as tcp://HOST:8786")

    class QuietClient(distributed.Client):  # type: ignore[misc, name-defined]
        """A client that prints nothing when it is dropped, after it failed to connect."""

        def __del__(self) -> None:
            with suppress(Exception):
                super().__del__()

    def connect() -> Client:
        return QuietClient(address, timeout=CONNECT_SECONDS, set_as_default=False, direct_to_workers=False)

    try:
        # dask would keep the last thousand messages, which hold the items.
        with dask_config({"distributed.admin.low-level-log-length": 0}):
            client = _within(2 * CONNECT_SECONDS, connect)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # also for TLS without certificates
        raise TextgenError(
            f"--dask {address}: no dask scheduler answers there ({_first_line(error)}). Check it, or "
            "start a cluster: dask scheduler, and dask worker ADDRESS on each machine"
        ) from error
    try:
        yield client
    finally:
        with suppress(OSError, RuntimeError, CancelledError):  # TimeoutError is an OSError
            client.close(timeout=POLL_SECONDS)  # type: ignore[no-untyped-call]


def _within(seconds: float, make: Callable[[], Result]) -> Result:
    """make(), which is given up after some seconds. Raises TimeoutError, and what it raises.

    dask waits without an end for what accepts connections but is no scheduler.
    """
    made: ThreadFuture[Result] = ThreadFuture()

    def work() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return made.result(timeout=seconds)
    except TimeoutError as error:
        if made.done():
            raise
        raise TimeoutError(f"what listens there has not answered within {seconds:.0f} seconds") from error


def _library() -> Any:
    """The module distributed, which logs nothing. Raises ConfigError where it is not installed."""
    try:
        import dask

        # All that it reports is reported here, in one line.
        with dask.config.set({"logging": dict.fromkeys(_LOGGERS, "critical")}):
            import distributed
    except ImportError as error:
        raise ConfigError("--dask needs dask's scheduler: pip install 'textgen[dask]'") from error
    return distributed


class _Tasks:
    """The tasks of one cluster_map."""

    def __init__(self, client: Client, address: str, function: Callable[..., Any], shared: Any) -> None:
        import dask

        self._client, self._address, self._function = client, address, function
        self._name, self._count = f"textgen-{uuid.uuid4().hex}", 0
        self._threads = 0
        self._seen_worker = self._looked = time.monotonic()
        self._wait_for_workers()
        content = pickle.dumps(shared)
        self._shared: bytes | Future[Any] = content
        if len(content) > SENT_WITH_EACH:
            # As the result of a task, it is made again when the workers that have it are lost.
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST_SHARED}):
                self._shared = self._submit(bytes, content, key=f"{self._name}-shared")

    def submit(self, item: Any) -> Future[Any]:
        """Send one item."""
        self._count += 1
        names = {"version": VERSION, "function": pickle.dumps(self._function), "item": pickle.dumps(item)}
        shared = {"shared_name": self._name, "shared": self._shared}
        # While there are more than two of a name for each thread, dask sends each to whatever worker is free;
        # otherwise to those that have the shared object.
        return self._submit(eval, _CALL, names | shared, key=(self._name, self._count))

    def most_waiting(self) -> int:
        """How many tasks may be on the cluster: enough that each thread finds the next one there."""
        if time.monotonic() - self._looked > POLL_SECONDS:
            self._look()
        return min(3 * self._threads + 1, MOST_WAITING)

    def result(self, future: Future[Any]) -> Any:
        """Wait for a result. Raises as cluster_map."""
        from distributed import KilledWorker

        while True:
            try:
                return pickle.loads(future.result(timeout=POLL_SECONDS))
            except KilledWorker as error:
                raise self._error(
                    f"a task ended {error.allowed_failures + 1} workers, one after another; give the workers "
                    "more memory, and see what they print"
                ) from error
            except CancelledError as error:
                self._look()
                raise self._error(
                    "the cluster was restarted, or dropped the tasks; run the command again"
                ) from error
            except TimeoutError:
                if future.status == "error":  # the function raised it
                    raise
                self._look()
            except (ImportError, AttributeError) as error:
                if isinstance(error, AttributeError) and "textgen" not in str(error):
                    raise
                raise self._error(
                    f"a worker has no textgen of this version ({_first_line(error)}); install it where the "
                    f"workers run: {_INSTALL}"
                ) from error

    def _submit(
        self, function: Callable[..., Any], *arguments: Any, key: str | tuple[str, int]
    ) -> Future[Any]:
        try:
            future: Future[Any] = self._client.submit(function, *arguments, key=key, pure=False)
        except (OSError, RuntimeError, AttributeError) as error:  # the client has closed itself
            self._lost(error)
        return future

    def _wait_for_workers(self) -> None:
        self._look()
        while not self._threads:
            time.sleep(POLL_SECONDS / 10)
            self._look()

    def _look(self) -> None:
        """See how many threads the workers have. Raises TextgenError where the cluster cannot go on."""
        try:
            threads = self._client.nthreads(callback_timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, AttributeError, CancelledError) as error:
            self._lost(error)
        self._threads = sum(threads.values())
        self._looked = time.monotonic()
        if self._threads:
            self._seen_worker = self._looked
        elif self._looked - self._seen_worker > NO_WORKER_SECONDS:
            raise self._error(
                f"the cluster has had no worker for {NO_WORKER_SECONDS:.0f} seconds; "
                f"start some: dask worker {self._address}"
            )

    def _lost(self, error: BaseException) -> NoReturn:
        raise self._error(
            "the connection to the scheduler was lost; see whether it still runs, then run the command again"
        ) from error

    def _error(self, message: str) -> TextgenError:
        return TextgenError(f"--dask {self._address}: {message}")


_INSTALL = f"pip install 'textgen[dask]=={VERSION}'"


# dask sends this as it is, and the worker evaluates it with the names that `call` takes.
_CALL = (
    "__import__('importlib').import_module('textgen.system.cluster')"
    ".call(version, function, item, shared_name, shared)"
)
_SHARED_KEPT = 2  # of the commands that last used a worker
_shared_lock = threading.Lock()
_shared = dict[str, Any]()


def call(version: str, function: bytes, item: bytes, shared_name: str, shared: bytes) -> bytes:
    """What a worker runs: the pickled result of a pickled function. Raises TextgenError, as that may too.

    shared_name: of the object in `shared`, which is unpickled once and kept.
    """
    if version != VERSION:
        from distributed import get_worker

        raise TextgenError(
            f"the worker at {get_worker().address} has textgen {VERSION}, and this command is of {version}; "
            f"install that there: pip install 'textgen[dask]=={version}'"
        )
    with _shared_lock:
        kept = _shared.pop(shared_name) if shared_name in _shared else pickle.loads(shared)
        _shared[shared_name] = kept  # the last used is the last
        if len(_shared) > _SHARED_KEPT:
            del _shared[next(iter(_shared))]
    return pickle.dumps(pickle.loads(function)(kept, pickle.loads(item)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
