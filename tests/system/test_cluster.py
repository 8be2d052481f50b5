"""Calls on a real dask cluster: in order, few at a time, with workers that die and clusters that are gone."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from textgen.errors import ConfigError, CorpusError, TextgenError
from textgen.system import cluster
from textgen.system.cluster import SENT_WITH_EACH, cluster_map

if TYPE_CHECKING:
    from distributed import LocalCluster

# The functions that are called must be known to the workers, which cannot import a file of tests: so it is
# `eval`, of an expression that is shared, with the names of the item.
SQUARE = "__import__('time').sleep(0.02) or (n * n, __import__('os').getpid())"
RAISE = "(_ for _ in ()).throw(__import__('textgen.errors').errors.CorpusError('the third') if n == 3 else 0)"


def names(numbers: range) -> Iterator[dict[str, Any]]:
    return ({"n": n} for n in numbers)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(*arguments: str, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """A process of dask, which imports first what is in the folder."""
    command = [sys.executable, "-m", *arguments, "--no-dashboard"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=folder)


@pytest.fixture
def scheduler() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a scheduler that has no workers."""
    port = free_port()
    process = start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as asked:
            if not asked.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.05)
    yield f"tcp://127.0.0.1:{port}", process
    process.kill()
    process.wait()


@pytest.mark.parametrize("shared", [SQUARE, SQUARE + "#" * 2 * SENT_WITH_EACH], ids=["small", "large"])
def test_results_come_in_order_from_all_workers_and_few_items_are_taken_ahead(
    dask_cluster: LocalCluster, shared: str
) -> None:
    taken = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for item in names(range(100)):
            taken += 1
            yield item

    processes = list[int]()
    for n, (square, process) in enumerate(
        cluster_map(dask_cluster.scheduler_address, eval, counted(), shared)
    ):
        assert square == n * n
        assert taken <= n + 1 + 3 * 2 + 1  # of two workers with a thread each
        processes.append(process)
    assert taken == 100
    assert sorted(Counter(processes).values())[0] >= 20  # of two workers
    assert len({*processes}) == 2


def test_the_tasks_of_a_killed_worker_are_done_again(dask_cluster: LocalCluster) -> None:
    found = []
    shared = SQUARE + "#" * 2 * SENT_WITH_EACH  # which the killed worker may have alone
    for square, process in cluster_map(dask_cluster.scheduler_address, eval, names(range(100)), shared):
        if len(found) == 20:
            os.kill(process, signal.SIGKILL)
        found.append((square, process))
    assert [square for square, _ in found] == [n * n for n in range(100)]
    assert found[20][1] not in {process for _, process in found[40:]}


def test_an_error_of_the_function_is_raised_here(dask_cluster: LocalCluster) -> None:
    with pytest.raises(CorpusError, match=r"^the third$"):
        list(cluster_map(dask_cluster.scheduler_address, eval, names(range(3, 4)), RAISE))


def test_what_comes_before_an_error_of_the_items_is_not_lost(dask_cluster: LocalCluster) -> None:
    def items() -> Iterator[dict[str, Any]]:
        yield from names(range(3))
        raise CorpusError("unreadable")

    results = cluster_map(dask_cluster.scheduler_address, eval, items(), SQUARE)
    assert [square for square, _ in itertools.islice(results, 3)] == [0, 1, 4]
    with pytest.raises(CorpusError, match="unreadable"):
        next(results)


def test_closing_it_cancels_the_tasks(dask_cluster: LocalCluster) -> None:
    results = cluster_map(dask_cluster.scheduler_address, eval, names(range(1000)), SQUARE)
    next(results)
    assert dask_cluster.scheduler.tasks
    results.close()
    deadline = time.monotonic() + 10
    while dask_cluster.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not dask_cluster.scheduler.tasks


def test_a_task_that_ends_every_worker_gives_one_line(
    dask_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster.scheduler, "allowed_failures", 0)
    fatal = "__import__('os').kill(__import__('os').getpid(), 9)"
    with pytest.raises(TextgenError, match=r"a task ended 1 workers, .* more memory"):
        list(cluster_map(dask_cluster.scheduler_address, eval, names(range(1)), fatal))


def test_a_worker_with_another_version_is_named(
    dask_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = "99.1", cluster.VERSION
    monkeypatch.setattr(cluster, "VERSION", here)
    with pytest.raises(
        TextgenError, match=rf"worker at tcp://\S+ has textgen {there}, .* of {here}; install"
    ):
        list(cluster_map(dask_cluster.scheduler_address, eval, names(range(1)), SQUARE))


def test_a_worker_without_textgen_gives_one_line_and_goes_on_running(
    scheduler: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "textgen").mkdir()
    (tmp_path / "textgen/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'textgen'\")")
    address, _ = scheduler
    worker = start("distributed.cli.dask_worker", address, "--no-nanny", folder=tmp_path)
    try:
        for _ in range(2):
            with pytest.raises(TextgenError, match=r"a worker has no textgen .*No module named 'textgen'"):
                list(cluster_map(address, eval, names(range(1)), SQUARE))
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def test_a_cluster_without_workers_is_given_up(
    scheduler: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "NO_WORKER_SECONDS", 0.5)
    with pytest.raises(TextgenError, match=r"the cluster has had no worker .* start some: dask worker tcp"):
        next(cluster_map(scheduler[0], eval, names(range(1)), SQUARE))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_goes_away_is_given_up(
    scheduler: tuple[str, subprocess.Popen[bytes]], end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2.0)
    address, process = scheduler
    timer = threading.Timer(1.5, process.send_signal, [end])
    timer.start()
    with pytest.raises(
        TextgenError, match=r"the connection to the scheduler was lost; see .* run the command"
    ):
        next(cluster_map(address, eval, names(range(1)), SQUARE))
    timer.join()


def test_what_listens_but_is_no_scheduler_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TextgenError, match=rf"--dask {address}: no dask scheduler answers there"):
            next(cluster_map(address, eval, names(range(1)), SQUARE))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "ftp://127.0.0.1:1", "tls://127.0.0.1:1", "a:b"])
def test_where_there_is_no_scheduler_the_message_says_how_to_start_one(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.3)
    with pytest.raises(
        TextgenError, match=r"no dask scheduler answers there .*: dask scheduler, and dask worker"
    ):
        next(cluster_map(address, eval, names(range(1)), SQUARE))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--dask node1: not the address of a dask scheduler, such as"):
        next(cluster_map("node1", eval, names(range(1)), SQUARE))


def test_loading_it_loads_no_dask() -> None:
    code = (
        "import sys, textgen.system.cluster; sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
