"""Named pipes, devices and huge or deeply nested files in the place of small ones: one line, at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

pytestmark = pytest.mark.skipif(os.name != "posix", reason="named pipes and devices as POSIX has them")

DEEP = '{"a":' * 3_000 + "1" + "}" * 3_000
RUN_FILES = ("config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors")


@pytest.fixture
def run(make_run, tmp_path):
    """An untrained run, of which `info` can be asked, and a text for it."""
    made = make_run("tiny", end_of_text=True)
    path = made.path / "config.json"
    config = json.loads(path.read_text()) | {"measured": {"parameters": 5, "train_characters": 7}}
    path.write_text(json.dumps(config))
    (tmp_path / "a.txt").write_text("The quick dog.\n")
    return made


def replaced(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(DEEP + "\n")


@pytest.mark.parametrize("kind", ["pipe", "device", "deep"])
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_of_a_run_must_be_one(cli: Cli, run, kind: str, name: str) -> None:
    replaced(run.path / name, kind)
    commands = [["sample", run.path, "--max-new-tokens", 3], ["info", run.path], ["eval", run.path, "a.txt"]]
    refused = [result.only_error for command in commands if (result := cli(*command)).exit_code]
    assert refused
    for error in refused:
        assert name in error
    assert cli("info").exit_code == 0


@pytest.mark.parametrize("kind", ["pipe", "device", "deep"])
def test_settings_and_tokenizers_must_be_files(cli: Cli, tmp_path: Path, kind: str) -> None:
    for name, option in (("a.toml", "--config"), ("a.json", "--config"), ("t.json", "--tokenizer")):
        replaced(tmp_path / name, kind)
        assert name in cli("train", "corpus.txt", option, name, "--steps", 1).only_error
    (tmp_path / "deep.toml").write_text("steps = " + "[" * 3_000 + "]" * 3_000)
    assert "nested too deeply" in cli("train", "corpus.txt", "--config", "deep.toml").only_error


def test_a_huge_file_is_refused(cli: Cli, run, tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**12)  # without taking space
    for option in ("--config", "--tokenizer"):
        assert "larger than" in cli("train", "corpus.txt", option, "huge.json", "--steps", 1).only_error
    for option in ("--prompt-file", "--prompts"):
        assert "larger than 64 MB" in cli("sample", run.path, option, "huge.json").only_error


def test_a_prompt_may_come_from_a_pipe(run, tmp_path: Path) -> None:
    command = f"{sys.executable} -m textgen sample {run.path} --max-new-tokens 1 --prompt-file "
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    for arguments in ("<(echo -n 'The dog')", "/dev/stdin <<< 'The dog'", "- <<< 'The dog'"):
        written = subprocess.check_output(["bash", "-c", command + arguments], env=environment, text=True)
        assert written.startswith("The dog")


def test_an_endless_prompt_is_refused(cli: Cli, run) -> None:
    for option in ("--prompt-file", "--prompts"):
        assert "larger than 64 MB" in cli("sample", run.path, option, "/dev/zero").only_error


@pytest.mark.parametrize("source", ["pipe", "zeros"])
def test_ctrl_c_is_answered_while_a_prompt_is_read(run, tmp_path: Path, source: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    code = (
        "import sys; import textgen.cli.support.prompts as prompts; import textgen.cli\n"
        "prompts.PROMPT_LIMIT = 10**12; print('ready', flush=True); textgen.cli.main()"
    )
    # Zeros without an end that is in sight: they must stay interruptible, not only be bounded.
    name = {"pipe": tmp_path / "pipe", "zeros": "/dev/zero"}[source]
    with subprocess.Popen(
        [sys.executable, "-c", code, "sample", str(run.path), "--prompt-file", str(name)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert process.wait(10) == 130
        assert time.monotonic() - sent < 0.5
        assert process.stderr.read().strip() == "textgen: interrupted"


def test_an_endless_typed_prompt_is_refused(run) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-m", "textgen", "sample", str(run.path), "--interactive"],
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
            stdin=zeros,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "textgen: standard input: a line of 64,000,000 characters; type shorter prompts\n"
