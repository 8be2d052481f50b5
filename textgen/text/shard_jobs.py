"""Making several shards at a time: each in a process of its own, or by a worker of a dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from textgen.errors import CorpusError
from textgen.system.cluster import cluster_map
from textgen.text.encoding import Progress
from textgen.text.shard_encoding import encode_shard, is_complete, remove_unfinished
from textgen.text.shard_plan import Plan, read_plan

_AHEAD = 2  # shards a process that are handed out: more would only have to be taken back

# Of a worker: what it makes shards of, and where.
_plan: Plan | None = None
_folder = Path()


def encode_shards(
    plan: Plan,
    indices: Sequence[int],
    folder: Path,
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    dask: str | None = None,
) -> None:
    """Make these shards in a folder that has the plan, so many at a time.

    dask: the address of a cluster whose workers make them, as many as there are; they must see the files of
    the text and the folder at the same absolute paths. None: `jobs` processes here do.

    Raises what encode_shard and cluster_map raise, and CorpusError when a process is killed or a worker does
    not see the folder; shards that are complete stay.
    """
    total, done = sum(plan.shards[index].characters for index in indices), 0
    if dask is not None:
        made = _on_cluster(plan, indices, folder, dask)
    else:
        jobs = min(jobs, len(indices))
        made = _in_processes(plan, indices, folder, jobs) if jobs > 1 else _here(plan, indices, folder)
    for index in made:
        done += plan.shards[index].characters
        if progress is not None:
            progress("encoding", done, total)


def _here(plan: Plan, indices: Iterable[int], folder: Path) -> Iterator[int]:
    for index in indices:
        encode_shard(plan, index, folder)
        yield index


def _in_processes(plan: Plan, indices: Sequence[int], folder: Path, jobs: int) -> Iterator[int]:
    """The shards in the order in which they are finished."""
    waiting, running = list(indices)[::-1], dict[Future[None], int]()
    with _workers(plan, folder, jobs) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < _AHEAD * jobs:
                    index = waiting.pop()
                    with _interrupts_held():  # it starts the processes
                        running[pool.submit(_encode, index)] = index
                for finished in wait(running, return_when=FIRST_COMPLETED).done:
                    finished.result()
                    yield running.pop(finished)
        except BrokenProcessPool:
            raise CorpusError(
                "a process that encoded text was killed, perhaps for lack of memory; repeat the command, "
                "with fewer --jobs: what is complete is kept"
            ) from None


def _on_cluster(plan: Plan, indices: Sequence[int], folder: Path, address: str) -> Iterator[int]:
    with closing(cluster_map(address, _encode_on_worker, indices, (plan, folder))) as made:
        for index in made:
            if not is_complete(plan, index, folder):
                raise CorpusError(
                    f"{folder}: shard {index} was made by a worker, but is not there; the workers must share "
                    "this folder, at this path"
                )
            yield index
    remove_unfinished(folder)  # of workers that were killed


def _encode_on_worker(shared: tuple[Plan, Path], index: int) -> int:
    """Make a shard on another machine, perhaps. Raises CorpusError where the folder is not there."""
    plan, folder = shared
    _require_shared(folder, plan.identity)
    if not is_complete(plan, index, folder):  # by a worker that was lost before it could say so
        encode_shard(plan, index, folder)
    return index


@lru_cache(maxsize=2)  # a plan may be long; an error is not cached
def _require_shared(folder: Path, identity: str) -> None:
    """Raise CorpusError unless the plan with this identity is in the folder, as seen from here."""
    plan = read_plan(folder)
    if plan is None or plan.identity != identity:
        raise CorpusError(
            f"{folder}: the worker on {platform.node()} does not see this folder; all workers must share it, "
            "and the text, at the same paths"
        )


@contextmanager
def _workers(plan: Plan, folder: Path, count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that make shards; they are killed if the block fails."""
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork of a process that has threads may hang
    pool = ProcessPoolExecutor(count, context, _begin, (plan, folder))
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block, and never reach processes that are started in it.

    In a terminal it is sent to all processes, but the first one ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(plan: Plan, folder: Path) -> None:
    """Prepare a worker."""
    global _plan, _folder  # what all tasks of a process share
    _plan, _folder = plan, folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other processes use the other cores
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, which may have been killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _encode(index: int) -> None:
    assert _plan is not None
    encode_shard(_plan, index, _folder)
