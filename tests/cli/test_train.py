"""`textgen train`: what it prints and writes."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.run import Run, vocab_of
from textgen.text.batches import Batch, SequenceBatches
from textgen.training.trainer import Trainer

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_a_run_directory_is_complete(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "corpus.txt", *TINY)
    assert result.exit_code == 0
    run = tmp_path / "runs" / "corpus"
    for name in ("config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "loss.png"):
        assert (run / name).is_file(), name
    assert "textgen sample runs/corpus" in result.stdout
    kinds = [record["kind"] for record in Run(run).metrics()]
    assert kinds.count("val") == 3
    assert kinds.count("train") == 12
    assert kinds[-1] == "final"
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_default_name_that_is_taken_gets_a_number_and_a_given_one_is_refused(
    cli: Cli, tmp_path: Path
) -> None:
    for _ in range(2):
        assert cli("train", "corpus.txt", *TINY).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["corpus", "corpus-2"]
    assert "--resume runs/corpus" in cli("train", "corpus.txt", "--run", "runs/corpus", *TINY).only_error


def test_weights_are_written_once_for_each_best_evaluation(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run whose weights were written last is the one that is sampled from."""
    written: list[dict[str, np.ndarray]] = []
    monkeypatch.setattr("textgen.training.trainer.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("textgen.training.state.save_weights", lambda _, weights: written.append(weights))
    assert cli("train", "corpus.txt", *TINY).exit_code == 1, "there are no weights to evaluate at the end"
    assert 1 <= len(written) <= 3
    assert len({id(weights) for weights in written}) == len(written)


@pytest.mark.parametrize("kind", ["char", "bpe", "word"])
def test_validation_text_is_never_seen_in_training(
    cli: Cli, text: str, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = int(len(text) * 0.9)
    # A word and a character that occur only in the last tenth.
    (tmp_path / "marked.txt").write_text(text[:cut] + text[cut:].replace("dogs", "§xyz"))
    seen: list[np.ndarray] = []
    read = SequenceBatches.__next__

    def watch(batches: SequenceBatches) -> Batch:
        batch = read(batches)
        seen.append(np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1))
        return batch

    monkeypatch.setattr(SequenceBatches, "__next__", watch)
    cli("train", "marked.txt", "--tokenizer", kind, "--epochs", 2, "--hidden-size", 8, "--run", "marked")
    run = Run("marked")
    tokenizer, rows = run.tokenizer, vocab_of(run.load_weights())
    known = {tokenizer.token_text(int(token_id)) for token_id in rows.token_ids}
    assert not {"§", "xyz", "x", "y", "z"} & known
    for window in {tuple(row) for batch in seen for row in batch.tolist()}:
        assert tokenizer.decode(rows.to_token_ids(np.array(window)).tolist()) in text[:cut]


def test_json_is_one_object_and_everything_else_goes_to_standard_error(cli: Cli) -> None:
    result = cli("train", "corpus.txt", *TINY, "--json")
    assert json.loads(result.stdout)["steps"] == 12
    assert "nats/token" in result.stderr


def test_a_pipe_gets_no_progress_bar_and_no_control_characters(cli: Cli) -> None:
    result = cli("train", "corpus.txt", *TINY)
    assert result.stderr == ""
    assert "\r" not in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(("limit", "is_sampled"), [(10**6, False), (4000, True)])
def test_a_vocabulary_learned_from_a_sample_is_reported(
    cli: Cli, text: str, monkeypatch: pytest.MonkeyPatch, limit: int, is_sampled: bool
) -> None:
    monkeypatch.setattr("textgen.text.vocabulary._SAMPLE_CHARACTERS", limit)
    result = cli("train", "corpus.txt", "--tokenizer", "bpe", "--vocab-size", 300, *TINY)
    assert result.exit_code == 0
    found = [
        line for line in result.stdout.splitlines() if line.startswith("The bpe vocabulary is learnt from ")
    ]
    assert len(found) == is_sampled
    if is_sampled:
        taken, total = (int(word.replace(",", "")) for word in found[0].split() if word[0].isdigit())
        assert 0 < taken <= limit < total == int(len(text) * 0.9)


def test_a_tiny_corpus_gets_smaller_batches_and_a_line_says_so(cli: Cli, text: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text(text[:2000])
    result = cli("train", "tiny.txt", "--steps", 3, "--hidden-size", 8)
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if "corpus is small" in line]
    training = Run(tmp_path / "runs" / "tiny").config.training
    assert f"from 32 x 64 to {training.batch_size} x {training.seq_len} tokens" in line
    assert training.batch_size * training.seq_len < 1800


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_windows_line_ends_are_reported_and_can_be_written_in_a_prompt(
    cli: Cli, text: str, tokenizer: str
) -> None:
    Path("windows.txt").write_text(text, newline="\r\n")
    options = "--tokenizer", tokenizer, *TINY
    assert "Windows line ends (\\r\\n)" in cli("train", "windows.txt", *options).stdout
    assert "Windows" not in cli("train", "corpus.txt", *options).stdout
    asked = cli("sample", "runs/windows", "--prompt", "Line 1\\r", "--max-new-tokens", 1, "--json")
    assert json.loads(asked.stdout)["samples"][0]["prompt"] == "Line 1\r"
    assert asked.stderr == "", "no token of it is new"


@pytest.mark.parametrize(
    ("has_instructions", "gains", "remark"),
    [
        (False, False, "bfloat16 is emulated"),
        (True, False, "bfloat16 is slower than float32"),
        (True, True, None),
    ],
)
def test_bfloat16_on_a_cpu_that_is_slower_with_it_is_reported(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, has_instructions: bool, gains: bool, remark: str | None
) -> None:
    monkeypatch.setattr("textgen.training.planning.notes.cpu_multiplies_bfloat16", lambda: has_instructions)
    monkeypatch.setattr("textgen.training.planning.notes.cpu_gains_by_bfloat16", lambda: gains)
    monkeypatch.setattr("textgen.system.device.cpu_gains_by_bfloat16", lambda: gains)
    options = "corpus.txt", *TINY, "--steps", 1, "--device", "cpu"
    out = cli("train", *options, "--precision", "bfloat16").stdout
    remarks = [line for line in out.splitlines() if "--precision float32" in line]
    assert len(remarks) == (remark is not None)
    assert remark is None or remark in remarks[0]
    assert "--precision float32" not in cli("train", *options).stdout


def test_bits_per_character_during_training_are_those_of_the_validation_text(cli: Cli) -> None:
    """Tokens are shorter in a text that the vocabulary was not learned from."""
    Path("other.txt").write_text("".join(f"{n * n}\n" for n in range(400)))
    options = "--tokenizer", "bpe", "--vocab-size", 400, "--val", "other.txt", *TINY
    out = cli("train", "corpus.txt", *options, "--eval-tokens", 10**6).stdout
    last = [line for line in out.splitlines() if "%  step" in line][-1]
    final = json.loads(cli("eval", "runs/corpus", "--json").stdout)
    nats, bits = (float(word) for word in re.findall(r"(\d+\.\d+) (?:nats|bits)", last))
    ratio = final["bits_per_character"] / final["nats_per_token"]
    assert bits / nats == pytest.approx(ratio, rel=1e-3)


def test_the_reported_loss_excludes_penalties(cli: Cli) -> None:
    penalty = ["--activation-penalty", 1000.0, "--temporal-activation-penalty", 1000.0]
    assert cli("train", "corpus.txt", *TINY, *penalty).exit_code == 0
    losses = [
        record["nats_per_token"] for record in Run("runs/corpus").metrics() if record["kind"] == "train"
    ]
    assert max(losses) < 2 * math.log(28)


def test_the_reported_speed_excludes_evaluations_and_saving(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Trainer._evaluate

    def slowly(trainer: Trainer, progress: float) -> bool:
        time.sleep(0.5)
        return evaluate(trainer, progress)

    monkeypatch.setattr(Trainer, "_evaluate", slowly)
    cli("train", "corpus.txt", *TINY)  # 4 x 16 tokens a step
    speeds = [line["tokens_per_second"] for line in Run("runs/corpus").metrics() if line["kind"] == "train"]
    assert len(speeds) == 12
    assert min(speeds) > 2 * 4 * 16 / 0.5


@pytest.mark.slow
def test_the_last_lines_give_the_epochs_and_say_whether_more_time_would_help(cli: Cli) -> None:
    small = "--hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
    short = cli("train", "corpus.txt", "--minutes", 0.01, "--epochs", 900, *small, "--run", "short").stdout
    times = Run("short").metrics()[-1]["epoch"]
    (line,) = [line for line in short.splitlines() if line.startswith("Trained for")]
    assert float(line.split(" s, ")[1].split(" times")[0]) == pytest.approx(times, abs=0.6)
    assert line.endswith("More --minutes would help: up to 900 times through the text.")
    stalled = "--minutes", 5, "--epochs", 900, "--learning-rate", 1e-9, "--evaluations", 4000, "--patience", 1
    early = cli("train", "corpus.txt", *stalled, *small, "--run", "early").stdout
    assert "Stopping early" in early
    assert "would help" not in early
    whole = cli("train", "corpus.txt", "--minutes", 5, "--epochs", 2, *small, "--run", "whole").stdout
    assert " s, 2.0 times through the text. The best weights" in whole
    assert "would help" not in cli("train", "corpus.txt", *TINY, "--run", "steps").stdout
