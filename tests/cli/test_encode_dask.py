"""`textgen encode --dask` on real workers, one of which is killed: files as without a cluster."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.errors import CorpusError
from textgen.text.shard_jobs import _encode_on_worker
from textgen.text.shard_plan import read_plan

if TYPE_CHECKING:
    from distributed import LocalCluster

    from tests.conftest import Cli

SIZE = ("--shard-size", "2000")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_shards_and_the_manifest_are_those_made_here_also_when_a_worker_is_killed(
    cli: Cli, dask_cluster: LocalCluster, text: str
) -> None:
    Path("long.txt").write_text("".join(f"{n} {text}" for n in range(30)))
    options = [
        "encode",
        "long.txt",
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "300",
        "--min-frequency",
        "1",
        *SIZE,
    ]
    assert cli(*options, "--output", "here").exit_code == 0
    address = dask_cluster.scheduler_address
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *options, "--output", "there", "--dask", address],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len([*Path("there").glob("shard-*.json")]) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(dask_cluster.workers[0].pid, signal.SIGKILL)
    made = len([*Path("there").glob("shard-*.json")])
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert 5 <= made < len([*Path("here").glob("shard-*.json")])
    assert files_in(Path("there")) == files_in(Path("here"))


def test_a_worker_that_does_not_see_the_folder_says_so(cli: Cli, tmp_path: Path) -> None:
    assert cli("encode", "corpus.txt", "--output", "here", *SIZE).exit_code == 0
    plan = read_plan(Path("here"))
    elsewhere = tmp_path / "not/shared"
    with pytest.raises(CorpusError, match=rf"^{elsewhere}: the worker on \S+ does not see this folder; all"):
        _encode_on_worker(pickle.loads(pickle.dumps((plan, elsewhere))), 0)
    assert not elsewhere.exists()


def test_a_text_that_a_worker_reads_otherwise_is_refused(cli: Cli, dask_cluster: LocalCluster) -> None:
    assert cli("encode", "corpus.txt", "--output", "here", *SIZE, "--shard", "1/1000").exit_code == 0
    Path("corpus.txt").write_text(Path("corpus.txt").read_text().swapcase())
    address = dask_cluster.scheduler_address
    found = cli("encode", "corpus.txt", "--output", "here", *SIZE, "--dask", address)
    assert found.exit_code == 1
    assert "corpus.txt: has changed since the shards were planned" in found.notes[-1]


def test_it_goes_on_where_it_ended_and_takes_a_share(cli: Cli, dask_cluster: LocalCluster) -> None:
    assert cli("encode", "corpus.txt", "--output", "here", *SIZE).exit_code == 0
    address = dask_cluster.scheduler_address
    first = cli("encode", "corpus.txt", "--output", "there", *SIZE, "--shard", "1/3", "--dask", address)
    assert "still missing" in first.stdout
    assert cli("encode", "corpus.txt", "--output", "there", *SIZE, "--dask", address).exit_code == 0
    assert files_in(Path("there")) == files_in(Path("here"))


def test_jobs_and_dask_are_not_given_together(cli: Cli) -> None:
    found = cli("encode", "corpus.txt", "--output", "here", "--jobs", "2", "--dask", "tcp://127.0.0.1:1")
    assert found.exit_code == 2
    assert "--jobs does nothing with --dask" in found.only_error
