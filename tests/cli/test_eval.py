"""`textgen eval`: the loss of a run on its own text and on another one."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_eval_prints_the_result_of_training(cli: Cli, text: str) -> None:
    trained = json.loads(cli("train", "corpus.txt", *TINY, "--json").stdout)
    evaluated = json.loads(cli("eval", "runs/corpus", "--no-ngram", "--json").stdout)
    names = "nats_per_token bits_per_character bits_per_byte perplexity_per_token tokens characters".split()
    assert {name: trained[name] for name in names} == {name: evaluated[name] for name in names}
    assert evaluated["tokens"] == len(text) - int(len(text) * 0.9)
    assert evaluated["bits_per_character"] == pytest.approx(evaluated["nats_per_token"] / math.log(2))
    printed = cli("eval", "runs/corpus", "--no-ngram").stdout
    assert f"{evaluated['nats_per_token']:.4f} nats/token" in printed
    assert f"{evaluated['bits_per_byte']:.4f} bits/byte" in printed


def test_a_window_changes_the_loss_and_a_missing_part_is_an_error(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    carried = json.loads(cli("eval", "runs/corpus", "--json").stdout)
    windowed = json.loads(cli("eval", "runs/corpus", "--window", 4, "--json").stdout)
    assert windowed["tokens"] == carried["tokens"]
    assert windowed["nats_per_token"] != carried["nats_per_token"]
    assert "no test part" in cli("eval", "runs/corpus", "--part", "test").only_error


def test_eval_reads_another_file_and_counts_unseen_tokens(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY)
    (tmp_path / "other.txt").write_text("the dogs 😀 and § cats")
    figures = json.loads(cli("eval", "runs/corpus", "other.txt", "--json").stdout)
    assert figures["characters"] == 21
    assert figures["bytes"] == 25
    assert figures["unseen_tokens"] == 6  # four bytes and two
    assert "6 tokens that training never saw" in cli("eval", "runs/corpus", "other.txt").stdout


def test_text_from_standard_input_is_kept_when_the_training_folder_is_deleted(
    cli: Cli, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    cli("train", "-", *TINY, "--run", "one")
    shutil.rmtree(Run("one").training_directory)
    assert cli("eval", "one").exit_code == 0
