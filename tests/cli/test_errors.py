"""Mistakes of the user: any command reports them in one line and exits with a code other than 0."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli, MakeRun

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "no corpus"),
        (["train", "missing.txt"], "missing.txt"),
        (["train", "a text, not its path " * 20], "name a file"),
        (["train", "caf\udce9.txt"], "not UTF-8"),
        (["train", "corpus.txt", "--minutes", "inf"], "finite"),
        (["train", "corpus.txt", "--hiden-size", "3"], "--hidden-size"),
        (["train", "corpus.txt", "--hidden-size", "0"], "at least 1"),
        (["train", "corpus.txt", "--steps", "1", "--minutes", "1"], "one budget"),
        (["train", "corpus.txt", "--device", "cuda", "--steps", "1"], "cuda"),
        (["train", "corpus.txt", "--resume", "runs/x"], "leave out CORPUS"),
        (["train", "--resume", "runs/x", "--seed", "3"], "leave out --seed"),
        (["train", "--resume", "runs/x"], "no such run"),
        (["train", "corpus.txt", "--from", "runs/x"], "no such run"),
        (["train", "corpus.txt", "--tokenizer", "nowhere.json"], "nowhere.json"),
        (["train", "corpus.txt", "--tokenizer", "byte", "--vocab-size", "9"], "--vocab-size"),
        (["eval", "runs/x"], "no such run"),
        (["info", "runs/x"], "no such run"),
        (["sample"], "no trained run"),
        (["evaluate"], "evaluate"),
    ],
)
def test_a_mistake_gives_one_line_and_a_non_zero_exit(
    cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in cli(*arguments).only_error
    assert not (tmp_path / "runs").exists()


def test_a_mistyped_name_gets_a_suggestion(cli: Cli, tmp_path: Path) -> None:
    assert "did you mean 'train'?" in cli("trian", "corpus.txt").only_error
    cli("train", "corpus.txt", *TINY)
    assert "did you mean runs/corpus?" in cli("sample", "corpus").only_error
    assert "corpus.txt: a file, not a run" in cli("sample", "corpus.txt").only_error
    (tmp_path / "sections.toml").write_text("[modle]\nhidden_size = 8\n")
    assert "did you mean 'model'?" in cli("train", "corpus.txt", "--config", "sections.toml").only_error
    (tmp_path / "text.toml").write_text('hidden_size = "8"\n')
    assert "must be a whole number, not '8'" in cli("train", "--config", "text.toml").only_error
    (tmp_path / "one.toml").write_text('corpus = "corpus.txt"\n')
    assert cli("train", "--config", "one.toml", *TINY).exit_code == 0
    assert cli("train", "--config", "runs/corpus", "--steps", 2).exit_code == 0, "a run's directory"


@pytest.mark.parametrize(
    ("flag", "value"), [("--dropout", 1), ("--hidden-size", 0), ("--learning-rate", "nan")]
)
def test_an_option_out_of_range_is_named_as_it_was_typed(
    cli: Cli, tmp_path: Path, flag: str, value: object
) -> None:
    assert f"'{flag}': " in cli("train", "corpus.txt", flag, value).only_error
    assert not (tmp_path / "runs").exists()


def test_an_option_that_would_do_nothing_is_refused(cli: Cli, text: str, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text(text[:500])
    (tmp_path / "records.jsonl").write_text('{"text": "some words"}\n' * 50)
    refused = [
        ["--val", "val.txt", "--val-fraction", 0.2],
        ["--no-early-stopping", "--patience", 2],
    ]
    for options in refused:
        assert cli("train", "corpus.txt", *TINY, *options).only_error
    assert cli("train", "records.jsonl", "--field", "text", "--documents", "line", *TINY).only_error
    cli("train", "corpus.txt", *TINY)
    assert "--part" in cli("eval", "runs/corpus", "val.txt", "--part", "test").only_error
    assert "--field" in cli("eval", "runs/corpus", "--field", "text").only_error


def test_an_empty_path_is_not_the_current_folder(cli: Cli) -> None:
    assert "empty" in cli("train", "", *TINY).only_error
    assert "--val" in cli("train", "corpus.txt", "--val", "", *TINY).only_error


def test_a_network_too_large_for_any_memory_is_a_one_line_error(cli: Cli, tmp_path: Path) -> None:
    for size in (10**8, 10**10):
        assert "out of memory" in cli("train", "corpus.txt", "--hidden-size", size, "--steps", 1).only_error
    assert not (tmp_path / "runs").exists()


def test_a_network_too_large_for_this_machine_is_refused_before_it_is_built(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, named, advice in [(4, "logits", "--batch-size"), (64, "weights", "--hidden-size")]:
        given = ["corpus.txt", *TINY, "--steps", 1, "--hidden-size", size]
        assert cli("train", *given, "--run", f"of-{size}").exit_code == 0
        config = Run(f"of-{size}").config
        logits = config.training.batch_size * config.training.seq_len * config.model.model_vocab_size
        needed = 16 * config.measured["parameters"] + 12 * logits
        for memory, exit_code in [(needed, 0), (needed - 1, 1)]:
            with monkeypatch.context() as patched:
                patched.setattr("textgen.system.memory.total_memory", lambda memory=memory: memory)
                result = cli("train", *given)
            assert result.exit_code == exit_code
        assert named in result.only_error
        assert advice in result.only_error


def test_a_complete_run_without_its_weights_says_where_a_copy_is(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    weights = Path("runs/corpus/model.safetensors")
    before = weights.read_bytes()
    weights.unlink()
    error = cli("sample", "runs/corpus").only_error
    assert "model.safetensors: no such file; copy it from runs/corpus/training/step-" in error
    copy = Path(error.strip().split()[-1])
    shutil.copyfile(copy, weights)
    assert cli("sample", "runs/corpus", "--max-new-tokens", 3).exit_code == 0
    assert np.array_equal(*(np.frombuffer(content[-64:]) for content in (before, weights.read_bytes())))
    weights.unlink()
    shutil.rmtree("runs/corpus/training")
    assert "textgen train --config runs/corpus" in cli("sample", "runs/corpus").only_error


def test_a_tokenizer_of_another_run_is_refused_by_every_command(cli: Cli) -> None:
    cli("train", "corpus.txt", "--tokenizer", "bpe", "--vocab-size", 400, *TINY, "--run", "bpe")
    cli("train", "corpus.txt", "--tokenizer", "byte", *TINY, "--run", "bytes")
    shutil.copyfile("bytes/tokenizer.json", "bpe/tokenizer.json")
    assert "bpe/tokenizer.json: has changed since the run was made" in cli("sample", "bpe").only_error
    Path("bpe/files.json").unlink()
    for command in (["sample", "bpe"], ["eval", "bpe", "corpus.txt"], ["score", "bpe", "corpus.txt"]):
        assert "do not belong together" in cli(*command).only_error


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOENT, "the file or its folder was removed while textgen was running"),
        (errno.ENOSPC, "free some space and try again"),
        (errno.EACCES, "check its permissions"),
    ],
)
def test_an_error_of_the_operating_system_is_one_line_with_advice(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(root: Path) -> list[Run]:
        raise OSError(number, "", "runs/a/config.json")

    monkeypatch.setattr("textgen.run.all_runs", refuse)
    error = cli("info").only_error
    assert error.startswith("textgen: runs/a/config.json: ")
    assert advice in error


MANY_DIGITS = "9" * 400


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "corpus.txt", "--hidden-size", MANY_DIGITS],
        ["train", "corpus.txt", "--hidden-size", "9" * 5_000],
        ["train", "corpus.txt", "--dropout", "x" + MANY_DIGITS],
        ["train", "corpus.txt", "--config", "number.toml"],
        ["train", "corpus.txt", "--config", "hex.toml"],
        ["train", "corpus.txt", "--config", "string.toml"],
        ["train", "corpus.txt", "--config", "name.toml"],
        ["sample", "--num-samples", MANY_DIGITS],
    ],
)
def test_a_number_of_hundreds_of_digits_is_not_repeated(
    cli: Cli, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "number.toml").write_text(f"hidden_size = {MANY_DIGITS}")
    (tmp_path / "hex.toml").write_text(f"hidden_size = 0x{'f' * 9_000}")  # which Python does not even write
    (tmp_path / "string.toml").write_text(f'hidden_size = "{MANY_DIGITS}"')
    (tmp_path / "name.toml").write_text(f"hidden_size_{MANY_DIGITS} = 3")
    error = cli(*arguments).only_error
    assert len(error) < 250
    assert "digits" in error or "characters)" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "corpus.txt"],
        ["compare", "corpus.txt"],
        ["gradients", "runs/x"],
        ["sample", "--novelty"],
        ["eval", "runs/x"],
        ["inspect", "runs/x"],
        ["score", "runs/x", "http://localhost/x"],
    ],
)
def test_an_empty_cache_folder_is_not_the_current_one(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert "--cache-dir '': not a folder" in cli(*arguments, "--cache-dir", "").only_error
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_that_is_not_utf_8_is_read_but_never_written_to_settings(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "runs/good")
    odd = "runs/b\udcff"
    try:
        shutil.copytree("runs/good", odd)
    except OSError:
        pytest.skip("the file system has only names in UTF-8")
    assert cli("inspect", odd, "--characters", 200).exit_code == 0
    page = (tmp_path / "inspect-b\udcff.html").read_text(encoding="utf-8")
    assert "b\\udcff" in page
    assert cli("score", odd, "corpus.txt", "--json").exit_code == 0
    error = cli("train", "corpus.txt", "--from", odd, *TINY).only_error
    assert "b\\udcff': the name is not UTF-8; rename the folder" in error


ALL = [
    ["info"],
    ["info", "runs/tiny"],
    ["info", "--json"],
    ["sample", "runs/tiny"],
    ["sample", "runs/tiny", "--num-samples", "2"],
    ["score", "runs/tiny", "corpus.txt"],
    ["score", "runs/tiny", "corpus.txt", "--lines"],
    ["score", "runs/tiny", "corpus.txt", "--tokens"],
    ["eval", "runs/tiny", "corpus.txt"],
    ["eval", "runs/tiny", "corpus.txt", "--json"],
    ["inspect", "runs/tiny", "corpus.txt"],
    ["--help"],
    ["gradients", "--help"],
]


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_output_that_nobody_reads_ends_every_command_quietly(
    make_run: MakeRun, tmp_path: Path, text: str, arguments: list[str]
) -> None:
    run = make_run("tiny", text=text, end_of_text=True)
    (tmp_path / "corpus.txt").write_text(text[:900])
    config = json.loads((run.path / "config.json").read_text())
    config["measured"] = {"parameters": 5, "train_characters": 7}
    (run.path / "config.json").write_text(json.dumps(config))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "textgen", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode in (0, 1)
