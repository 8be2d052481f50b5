"""Scoring lines and records on a real dask cluster: the output is that of the command without it."""

from __future__ import annotations

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.errors import ConfigError, RunError
from textgen.evaluation import cluster_scoring
from textgen.evaluation.cluster_scoring import RunCopy, ScoringSettings, score_on_cluster
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import PlainText
from textgen.run import TOKENIZER, WEIGHTS, Run
from textgen.text.lines import LONGEST_IN_MEMORY

if TYPE_CHECKING:
    from distributed import LocalCluster

LINES = [f"Line {n}: the dog was {n * n % 89} years old, {'very ' * (n % 13)}old!" for n in range(3_000)]
CPU = ScoringSettings("cpu")


@pytest.fixture
def run(make_run) -> Run:
    return make_run(text="".join(LINES[:200]) + "\n", end_of_text=True)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A text, whose first line is long, and a table; read in several blocks."""
    first, second = tmp_path / "a.txt", tmp_path / "b.csv"
    first.write_text("\n".join(["old " * (LONGEST_IN_MEMORY // 4 + 10), *LINES]))
    with second.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([["text", "n"], *([line, n] for n, line in enumerate(LINES))])
    return [first, second]


def command(run: Run, files: list[Path], *options: str) -> list[str]:
    """The command as a process: in this one, NumPy may already use more threads."""
    paths = map(str, files)
    return [sys.executable, "-m", "textgen", "score", str(run.path), *paths, "--lines", *options]


def start(run: Run, files: list[Path], *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(run, files, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def test_the_output_is_that_without_a_cluster_also_when_a_worker_is_killed(
    run: Run, files: list[Path], dask_cluster: LocalCluster
) -> None:
    files, options = [files[1]] * 3, ["--json", "--field", "text"]
    local = subprocess.run(command(run, files, *options), capture_output=True, check=True).stdout
    process = start(run, files, *options, "--dask", dask_cluster.scheduler_address)
    assert process.stdout is not None
    begun = process.stdout.read(1000)
    os.kill(dask_cluster.workers[0].pid, signal.SIGKILL)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert begun + rest == local
    assert len(local.splitlines()) == len(files) * len(LINES)


def test_long_lines_are_scored_as_without_a_cluster_sent_or_not(
    run: Run, files: list[Path], dask_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = files[0].read_text()[: LONGEST_IN_MEMORY + 20_000]
    blocks = [text[:50_000], text[50_000:]]
    expected = [
        (line.number, report) for line, report in PlainText(blocks, "file").each_alone(Scorer.from_run(run))
    ]
    for longest_sent in (2**22, 1000):
        monkeypatch.setattr(cluster_scoring, "LONGEST_SENT", longest_sent)
        copy = RunCopy(run, CPU)
        scored = score_on_cluster(dask_cluster.scheduler_address, copy, [PlainText(blocks, "file")])
        found = [(line.number, report) for _, line, report in scored]
        assert [number for number, _ in found] == [number for number, _ in expected]
        for (_, report), (_, alone) in zip(found, expected, strict=True):
            assert report.size == alone.size
            assert report.loss.total_nats == pytest.approx(alone.loss.total_nats, rel=1e-6)


def test_interrupting_it_ends_its_tasks_and_exits_with_130(
    run: Run, files: list[Path], dask_cluster: LocalCluster
) -> None:
    process = start(run, [files[1]] * 40, "--field", "text", "--dask", dask_cluster.scheduler_address)
    assert process.stdout is not None
    process.stdout.read(1000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.strip()) == (130, b"textgen: interrupted")
    deadline = time.monotonic() + 10
    while dask_cluster.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not dask_cluster.scheduler.tasks


def test_an_error_on_a_worker_is_one_line_that_names_the_run_here(
    run: Run, dask_cluster: LocalCluster
) -> None:
    damaged = bytearray((run.path / WEIGHTS).read_bytes())
    damaged[-1] ^= 255
    (run.path / WEIGHTS).write_bytes(damaged)
    copy = RunCopy(run, CPU)
    with pytest.raises(RunError, match=rf"^{run.path / WEIGHTS}: ") as raised:
        next(score_on_cluster(dask_cluster.scheduler_address, copy, [PlainText(["The dog"], "file")]))
    assert "\n" not in str(raised.value)
    unknown = RunCopy(run, ScoringSettings("cpu", label="red"))
    with pytest.raises((ConfigError, RunError)):
        next(score_on_cluster(dask_cluster.scheduler_address, unknown, [PlainText(["The dog"], "file")]))


def test_a_copy_is_sent_without_its_scorer_and_checked_when_it_arrives(run: Run) -> None:
    copy = RunCopy(run, CPU)
    size = len(pickle.dumps(copy))
    assert copy.scorer is copy.scorer
    assert len(pickle.dumps(copy)) == size
    sent = pickle.loads(pickle.dumps(copy))
    sent._files[TOKENIZER] = sent._files[TOKENIZER] + b" "
    with pytest.raises(RunError, match=r"tokenizer\.json arrived damaged; run the command again"):
        _ = sent.scorer


def test_a_run_without_weights_is_refused_before_anything_is_sent(run: Run) -> None:
    (run.path / WEIGHTS).unlink()
    with pytest.raises(RunError, match="no weights yet"):
        RunCopy(run, CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a.txt", "--dask", "tcp://h:1"], "--dask does nothing without --lines"),
        (["a.txt", "a.txt"], "more than one FILE does nothing without --lines"),
        (["a.txt", "--lines", "--context", "--dask", "tcp://h:1"], "--context does not go with --dask"),
        (["-", "-", "--lines"], "name it once"),
        (["a.txt", "--lines", "--dask", "h"], "--dask h: not the address of a dask scheduler"),
    ],
)
def test_what_does_not_go_together_is_refused(cli, run: Run, options: list[str], message: str) -> None:
    Path("a.txt").write_text("The dog\n")
    found = cli("score", run.path, *options)
    assert found.exit_code == 2
    assert message in found.only_error


def test_several_files_are_scored_one_after_the_other(cli, run: Run) -> None:
    Path("a.txt").write_text("The dog\n\nold\n")
    Path("b.txt").write_text("old\n")
    found = cli("score", run.path, "a.txt", "b.txt", "--lines", "--json")
    figures = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(each["file"], each["line"]) for each in figures] == [
        ("a.txt", 1), ("a.txt", 2), ("a.txt", 3), ("b.txt", 1),
    ]  # fmt: skip
    assert figures[2]["bits_per_character"] == pytest.approx(figures[3]["bits_per_character"], rel=1e-5)
    single = cli("score", run.path, "b.txt", "--lines", "--json")
    assert "file" not in json.loads(single.stdout)
