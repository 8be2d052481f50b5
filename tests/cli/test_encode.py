"""`textgen encode`: shards made by anyone, at any time, and the commands that read them."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.text.shard_plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Cli

TRAIN = "--steps", 2, "--hidden-size", 8, "--no-ngram", "--device", "cpu", "--cache-dir", "cache"


@pytest.fixture
def textgen(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, in a folder with a text of a few hundred lines."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    words = ["alpha", "beta", "gamma", "naïve", "delta", "don't"]
    lines = [" ".join(rng.choice(words) for _ in range(rng.randint(2, 12))) for _ in range(400)]
    Path("a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return cli


ENCODE = "encode", "a.txt", "--documents", "line", "--shard-size", 1500


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def test_training_on_encoded_text_is_training_on_the_text(textgen: Cli) -> None:
    done = textgen(*ENCODE, "--output", "encoded", "--json")
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["shards"] == figures["made"] > 5
    assert figures["missing"] == 0
    for corpus, options, run in (("encoded", (), "one"), ("a.txt", ("--documents", "line"), "other")):
        trained = textgen("train", corpus, *options, *TRAIN, "--run", run)
        assert trained.exit_code == 0, trained.stderr
    first, second = (
        json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1]) for run in ("one", "other")
    )
    assert first["nats_per_token"] == second["nats_per_token"]
    assert Path("one/model.safetensors").read_bytes() == Path("other/model.safetensors").read_bytes()
    losses = [
        json.loads(textgen("eval", *arguments, "--json", "--no-ngram", "--cache-dir", "cache").stdout)
        for arguments in (("one",), ("other", "encoded"), ("one", "encoded", "--part", "val"))
    ]
    assert len({loss["nats_per_token"] for loss in losses}) == 1
    assert textgen("train", "--from", "one", *TRAIN, "--run", "next").exit_code == 0
    before = content("encoded")
    assert "made 0 of" in textgen(*ENCODE, "--output", "encoded").stdout
    assert content("encoded") == before


def test_shards_of_several_makers_are_put_together(textgen: Cli) -> None:
    textgen(*ENCODE, "--output", "whole")
    for number in (1, 2, 3):
        done = textgen(*ENCODE, "--output", f"part{number}", "--shard", f"{number}/3")
        assert "still missing" in done.stdout
    Path("together").mkdir()
    for number in (3, 1, 2):
        for path in Path(f"part{number}").iterdir():
            shutil.copy(path, "together")
    done = textgen(*ENCODE, "--output", "together")
    assert "made 0 of" in done.stdout
    assert content("together") == content("whole")
    for name in ("manifest.json", "train-000002.bin", "shard-000001.json"):  # damaged, or lost
        Path("whole", name).write_bytes(Path("whole", name).read_bytes()[:-1])
        assert textgen(*ENCODE, "--output", "whole").exit_code == 0
        assert content("whole") == content("together")
    for number in (2, 1):
        done = textgen(*ENCODE, "--output", "shared", "--shard", f"{number}/2")
    assert "complete:" in done.stdout
    assert content("shared") == content("whole")


def test_the_tokenizer_and_labels_of_a_run_are_used(textgen: Cli) -> None:
    rows = [{"text": f"row {number}", "kind": "ab"[number % 2]} for number in range(80)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = "--field", "text", "--label-field", "kind"
    assert textgen("train", "a.jsonl", *labelled, *TRAIN, "--run", "run").exit_code == 0
    rows.append({"text": "new", "kind": "0 comes first in the alphabet"})
    Path("b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    done = textgen("encode", "b.jsonl", "--run-config", "run", "--output", "encoded", "--shard-size", 200)
    assert done.exit_code == 0, done.stderr
    manifest = json.loads(Path("encoded/manifest.json").read_text())
    assert manifest["labels"] == ["a", "b", "0 comes first in the alphabet"]
    assert Path("encoded/tokenizer.json").read_bytes() == Path("run/tokenizer.json").read_bytes()
    assert textgen("train", "encoded", "--from", "run", *TRAIN, "--run", "next").exit_code == 0
    textgen(*ENCODE, "--output", "foreign", "--tokenizer", "byte")
    assert "another tokenizer" in textgen("train", "foreign", "--from", "run", *TRAIN).only_error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "-", "--output", "x"), "standard input can be read only once"),
        (("encode", "a.txt", "--output", "x", "--shard", "3/2"), "give I/N with I from 1 to N"),
        (("encode", "a.txt", "--output", "x", "--shard", "0/2"), "give I/N with I from 1 to N"),
        (("encode", "a.txt", "--output", "a.txt"), "not a folder; name another --output"),
        (("encode", "a.txt", "--output", "other"), "holds other files; name another --output"),
        (("encode", "a.txt", "--output", "encoded"), "with other options; name another --output"),
        (("encode", "encoded", "--output", "x"), "is encoded already"),
        (("encode", "none.txt", "--output", "x"), "no such file or folder"),
        (("encode", "a.txt", "--output", "x", "--run-config", "none"), "none"),
        (("train", "encoded", "--documents", "file"), "leave out --documents, or encode it again"),
        (("train", "encoded/manifest.json"), "the manifest of encoded text; name its folder: encoded"),
        (("train", "encoded", "a.txt"), "cannot be read together with other texts"),
        (("train", "part"), "some shards are missing; run the same textgen encode again"),
        (("compare", "part"), "some shards are missing; run the same textgen encode again"),
        (("info", "encoded"), "encoded text, not a run. Train on it with: textgen train encoded"),
        (("export", "part", "html"), "encoded text, not a run. Train on it with: textgen train part"),
    ],
)
def test_what_cannot_be_done_is_one_line(textgen: Cli, arguments: tuple[str, ...], message: str) -> None:
    textgen(*ENCODE, "--output", "encoded")
    textgen(*ENCODE, "--output", "part", "--shard", "1/2")
    Path("other").mkdir()
    Path("other/letter.txt").write_text("not yours")
    assert message in textgen(*arguments).only_error


def test_an_output_in_which_nothing_was_encoded_is_removed(textgen: Cli) -> None:
    Path("mine").mkdir()
    for folder in ("new", "mine"):
        assert "no such file" in textgen("encode", "none.txt", "--output", folder).only_error
    assert not Path("new").exists()
    assert Path("mine").is_dir()


def test_another_tokenizer_than_that_of_run_config_is_refused_by_its_name(textgen: Cli) -> None:
    assert textgen("train", "a.txt", *TRAIN, "--run", "run").exit_code == 0
    refused = textgen("encode", "a.txt", "--output", "x", "--run-config", "run", "--tokenizer", "bpe")
    assert "--tokenizer does not go with --run-config" in refused.only_error


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room and run the command again"),
        (errno.EROFS, "name an --output that you can write to"),
        (errno.EIO, "run the command again"),
    ],
)
def test_a_failing_disk_says_what_to_do(
    textgen: Cli, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def fails(plan: Plan, folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Plan, "write", fails)
    assert advice in textgen(*ENCODE, "--output", "new").only_error


def test_a_text_that_changed_or_a_shard_of_another_text_is_refused(textgen: Cli) -> None:
    textgen(*ENCODE, "--output", "encoded", "--shard", "1/2")
    text = Path("a.txt").read_text(encoding="utf-8")
    Path("a.txt").write_text(text.replace("alpha", "omega"), encoding="utf-8")  # of the same size
    error = textgen(*ENCODE, "--output", "encoded").only_error
    assert "a.txt: has changed since the shards were planned" in error
    assert textgen(*ENCODE, "--output", "new").exit_code == 0
    shutil.copy("encoded/shard-000000.json", "new/shard-000000.json")
    Path("new/manifest.json").unlink()
    assert "a shard of another text" in textgen(*ENCODE, "--output", "new").only_error


def test_a_run_reads_only_the_encoded_text_that_it_was_trained_on(textgen: Cli) -> None:
    textgen(*ENCODE, "--output", "encoded")
    assert textgen("train", "encoded", *TRAIN, "--run", "run").exit_code == 0
    before = content("encoded")
    shutil.rmtree("encoded")
    assert "no such file" in textgen("eval", "run").notes[-1]
    textgen("encode", "a.txt", "--tokenizer", "byte", "--output", "encoded")
    assert "has changed since run was started" in textgen("eval", "run").notes[-1]
    shutil.rmtree("encoded")
    textgen(*ENCODE, "--output", "encoded", "--jobs", 2)
    assert content("encoded") == before
    assert textgen("eval", "run").exit_code == 0


def started(*arguments: object) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with the workers that it starts."""
    command = [sys.executable, "-m", "textgen", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_run_again_it_makes_the_same_bytes(textgen: Cli, jobs: int) -> None:
    Path("a.txt").write_bytes(Path("a.txt").read_bytes() * 3)
    encode = (*ENCODE, "--tokenizer", "bpe", "--jobs", jobs)
    begun = time.monotonic()
    assert started(*encode, "--output", "whole").wait() == 0
    whole_seconds = time.monotonic() - begun
    rng, killed = random.Random(jobs), 0
    while killed < 3:
        process = started(*encode, "--output", "encoded")
        time.sleep(rng.uniform(0.2, 0.9) * whole_seconds)
        killed += process.poll() is None
        process.kill()  # its workers end by themselves
        process.wait()
        wait_for(lambda process=process: not group_exists(process.pid))
        if Path("encoded/manifest.json").exists():
            assert content("encoded").keys() >= {"plan.json", "manifest.json"}
            shutil.rmtree("encoded")
    assert textgen(*encode, "--output", "encoded").exit_code == 0
    assert content("encoded") == content("whole")
    assert not [path for path in Path("encoded").iterdir() if path.name.startswith(".")]


def group_exists(pid: int) -> bool:
    """Whether any process is left of those that a process has started in its session."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
def test_ctrl_c_ends_it_and_its_processes_in_one_line(textgen: Cli) -> None:
    Path("a.txt").write_bytes(Path("a.txt").read_bytes() * 100)
    command = [sys.executable, "-m", "textgen", *map(str, ENCODE), "--output", "encoded", "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(lambda: any(Path("encoded").glob("shard-*.json")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.decode().split("\n")[-2:]) == (130, ["textgen: interrupted", ""])
    assert b"Traceback" not in stderr
