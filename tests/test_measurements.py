"""metrics.jsonl is read in little time and memory, and a record that is none is said."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import RunError
from textgen.measurements import (
    MeasurementSummary,
    figures_with_ngrams,
    read_measurements,
    summarize_measurements,
)

TRAIN = {
    "kind": "train", "step": 7, "epoch": 0.5, "nats_per_token": 2.25, "gradient_norm": 0.5,
    "learning_rate": 0.001, "tokens_per_second": 12_345, "seconds": 1.5,
}  # fmt: skip
VAL = {
    "kind": "val", "step": 8, "epoch": 0.6, "nats_per_token": 2.0, "tokens": 99, "best": True, "seconds": 2.0,
}  # fmt: skip
WORSE = VAL | {"step": 9, "best": False, "nats_per_token": 2.5}
FINAL = {"kind": "final", "step": 10, "epoch": 1.0, "seconds": 3.0}
ROLLBACK = {
    "kind": "rollback", "step": 9, "epoch": 0.7, "back_to": 0, "reason": "NaN", "nats_per_token": None,
    "lowest": 2.0, "halvings": 1, "seconds": 2.5,
}  # fmt: skip
OTHER = {"kind": "of a later version", "step": 9, "epoch": 0.7, "seconds": 2.5, "more": [1]}


def written(path: Path, *records: Any) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) + "\n" for record in records]
    path.write_text("".join(lines))
    return path


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [TRAIN, VAL, WORSE, ROLLBACK, OTHER, FINAL]
    path = written(tmp_path / "metrics.jsonl", *records)
    assert list(read_measurements(path)) == records
    assert summarize_measurements(path) == MeasurementSummary(FINAL, VAL, FINAL)
    assert list(read_measurements(tmp_path / "missing")) == []
    assert summarize_measurements(tmp_path / "missing") == MeasurementSummary()


def test_a_last_line_without_its_end_does_not_count(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl", VAL, WORSE, json.dumps(FINAL))
    assert list(read_measurements(path)) == [VAL, WORSE]
    assert summarize_measurements(path) == MeasurementSummary(WORSE, VAL, is_cut_short=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\n", "is not JSON"),
        ("{\n", "is not JSON"),
        ("[1]\n", "is not a measurement"),
        ({"kind": "val", "step": 1}, "epoch must be a number"),
        ({"step": 1}, "is not a measurement"),
        (TRAIN | {"kind": 3}, "is not a measurement"),
        (TRAIN | {"step": -1}, "step must be a whole number"),
        (TRAIN | {"step": 1.5}, "step must be a whole number"),
        (TRAIN | {"step": True}, "step must be a whole number"),
        (TRAIN | {"seconds": "3"}, "seconds must be a number"),
        (TRAIN | {"seconds": 10**400}, "seconds must be a number"),
        (TRAIN | {"nats_per_token": float("nan")}, "is not JSON"),
        (json.dumps(TRAIN).replace("2.25", "1e999") + "\n", "nats_per_token must be a number"),
        (VAL | {"best": 1}, "best must be true or false"),
        (FINAL | {"nats_per_token": 2.0}, "bits_per_character must be a number"),
        (ROLLBACK | {"back_to": None}, "back_to must be a whole number"),
        ('{"a":' * 3_000 + "1" + "}" * 3_000 + "\n", "is nested too deeply"),
        ('"' + "x" * 2**17 + '"\n', "too long"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: list(read_measurements(path)), summarize_measurements])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, read: Any, line: Any, message: str) -> None:
    path = written(tmp_path / "metrics.jsonl", TRAIN, line, FINAL)
    with pytest.raises(RunError, match=f"line 2: .*{message}"):
        read(path)


def test_a_summary_of_a_long_file_equals_that_of_all_its_records(tmp_path: Path) -> None:
    middle = [TRAIN | {"step": step} for step in range(30_000)]
    for end in ([], [WORSE], [FINAL], [TRAIN]):
        path = written(tmp_path / "metrics.jsonl", *middle, VAL, *middle, WORSE, *end)
        records = list(read_measurements(path))
        summary = summarize_measurements(path)
        assert summary.last == records[-1]
        assert summary.best == VAL
        assert (summary.final is not None) == (end == [FINAL])
    with path.open("a") as file:
        file.write(json.dumps(TRAIN | {"step": -1}) + "\n")
    with pytest.raises(RunError, match="line 60004: step"):
        summarize_measurements(path)


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux counts it")
def test_a_million_records_take_little_time_and_memory(make_run, tmp_path: Path) -> None:
    run = make_run("long")
    config = json.loads((run.path / "config.json").read_text())
    config["measured"] = {"parameters": 5, "train_characters": 7}
    (run.path / "config.json").write_text(json.dumps(config))
    with run.metrics_path.open("w") as file:
        line = (
            json.dumps(TRAIN | {"nats_per_token": 2.123456789012345, "gradient_norm": 0.12345678901}) + "\n"
        )
        for _ in range(10):
            file.write(line * 100_000)
    code = (
        "import re, textgen.cli as cli\n"
        "try: cli.main()\n"
        "finally: print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = subprocess.check_output(
        [sys.executable, "-c", code, "info"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path.cwd()), "OPENBLAS_NUM_THREADS": "1"},
        text=True,
    ).splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "not complete" in lines[0]
    assert int(lines[1]) < 300_000, "kB"
    # Processor time, as the machine may be busy.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 2


def test_the_loss_with_ngrams_is_that_of_the_file_that_the_run_has() -> None:
    measured = {"together_nats_per_token": 1.5, "network_nats_per_token": 2.0, "bytes": 99}
    final = {"nats_per_token": 2.0, "bits_per_character": 2.8, "ngram": measured}
    found = figures_with_ngrams(final, 99)
    assert found == {"nats_per_token": 1.5, "bits_per_character": pytest.approx(2.1)}
    assert figures_with_ngrams(final, 98) is None
    assert figures_with_ngrams(final | {"ngram": measured | {"together_nats_per_token": None}}, 99) is None
    assert figures_with_ngrams({"bits_per_character": 2.8}, 99) is None
