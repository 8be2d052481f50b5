"""The n-gram companion that training builds: of the training text alone, and only where it helps."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.with_ngrams import Losses
from textgen.ngram.companion import Companion
from textgen.run import NGRAM, WEIGHTS, Run, vocab_of
from textgen.training.ngrams import WORTH_KEEPING, Built
from textgen.training.planning import counting

if TYPE_CHECKING:
    from tests.conftest import Cli

SIZES = "--evaluations 2 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
TINY = ["--steps", "12", *SIZES]
TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))


@pytest.fixture
def cli(cli: Cli, tmp_path: Path) -> Cli:
    (tmp_path / "corpus.txt").write_text(TEXT)
    return cli


def trained(cli: Cli, *arguments: object) -> dict[str, Any]:
    done = cli("train", *arguments, *TINY, "--run", "run", "--json")
    assert done.exit_code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def companion(run: str = "run") -> Companion:
    found = Run(run).load_companion(vocab_of(Run(run).load_weights()))
    assert found is not None
    return found


def test_training_builds_what_helps_and_says_what_each_part_gives(cli: Cli) -> None:
    done = cli("train", "corpus.txt", *TINY, "--run", "run")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("n-grams of up to 9 tokens")]
    final = next(record for record in Run("run").metrics() if record["kind"] == "final")
    built = final["ngram"]
    for name in ("network", "ngrams", "together"):
        assert f"{built[f'{name}_nats_per_token']:.4f}" in line
    assert built["network_nats_per_token"] == pytest.approx(final["nats_per_token"], rel=1e-5)
    assert built["network_nats_per_token"] - built["together_nats_per_token"] > WORTH_KEEPING
    assert built["tokens"] == final["tokens"]
    assert built["bytes"] == (Run("run").path / NGRAM).stat().st_size
    assert companion().weight == built["network_weight"] < 1
    assert companion().model.order == built["order"] == 9


def test_no_ngram_leaves_it_out_and_the_network_is_the_same(cli: Cli) -> None:
    with_ngrams = trained(cli, "corpus.txt")
    weights = (Run("run").path / WEIGHTS).read_bytes()
    Run("run").path.rename("other")
    without = trained(cli, "corpus.txt", "--no-ngram")
    assert not Run("run").has_companion
    assert "ngram" not in without
    assert (Run("run").path / WEIGHTS).read_bytes() == weights
    assert without["nats_per_token"] == with_ngrams["nats_per_token"]


def test_n_grams_that_gain_too_little_are_not_kept(cli: Cli, tmp_path: Path) -> None:
    draw = random.Random(1)
    # No token says anything of the next, so that nothing is better than the frequencies.
    (tmp_path / "noise.txt").write_text("".join(draw.choice("aaab") for _ in range(20_000)))
    options = "--steps 60 --evaluations 2 --hidden-size 8 --embedding-dim 4 --batch-size 4".split()
    done = cli("train", "noise.txt", *options, "--run", "run")
    assert "not kept, as they gain" in done.stdout
    assert not Run("run").has_companion
    assert "keeps them" not in done.stdout  # since they gain nothing
    assert cli("eval", "run").stdout == cli("eval", "run", "--no-ngram").stdout


def test_the_line_says_how_to_keep_what_gains_a_little() -> None:
    def line(gain: float, num_bytes: int | None = None) -> str:
        losses = Losses(*(Loss(100 * nats, 100, 0) for nats in (2.0, 2.2, 2.0 - gain)))
        return Built(5, 0.9, losses, 1.0, 1.0, is_shortened=False, num_bytes=num_bytes).line(Path("my/run"))

    assert line(0.007).endswith("not kept, as they gain less than 0.01: textgen ngram my/run keeps them")
    assert line(-0.001).endswith("not kept, as they gain nothing")
    assert "kept" not in line(0.02, 1000)


def test_of_a_text_that_takes_long_to_count_pieces_are_counted_and_the_command_counts_all(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ("corpus.txt", "--minutes", 0.02, *SIZES, "--run", "run")
    # So that 10.12 s are enough for 5,000 of the text's 12,000 characters.
    monkeypatch.setattr(counting, "SECONDS_PER_TOKEN", 10.12 / 5000)
    done = cli("train", *budget)
    assert done.exit_code == 0, done.stderr
    size = Run("run").measured("train_tokens")
    (plan,) = [line for line in done.stdout.splitlines() if line.startswith("n-grams: ")]
    assert f"{5000 / size:.0%} of the text, evenly spread, is counted in 10 s" in plan
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("n-grams of up to 9 tokens")]
    assert "of the training text, evenly spread: textgen ngram run counts more" in line
    assert companion().model.share == pytest.approx(5000 / size, rel=0.01)
    assert Run("run").metrics()[-1]["ngram"]["share_counted"] == companion().model.share
    whole = cli("ngram", "run")
    assert "of the training text" not in whole.stdout
    assert companion().model.share == 1
    # A budget in steps allows all the time that it takes.
    done = cli("train", "corpus.txt", *TINY, "--run", "steps")
    assert "s after training (--no-ngram: not counted)" in done.stdout
    assert "textgen ngram" not in done.stdout


def test_no_count_comes_from_validation_text(cli: Cli, tmp_path: Path) -> None:
    marker = "zxwvqkjb"  # no two of its letters follow each other in the training text
    (tmp_path / "train.txt").write_text(TEXT + "".join(sorted(marker)) * 3)
    (tmp_path / "val.txt").write_text(TEXT[:3000] + marker * 40 + TEXT[:3000])
    trained(cli, "train.txt", "--val", "val.txt")
    run = Run("run")
    vocab = vocab_of(run.load_weights())
    ids = vocab.to_model_ids(run.tokenizer.encode(marker))
    assert (ids < vocab.size).all()
    after = companion().model.read(ids[None])[0][0]  # (T, V)
    following = np.exp(after[np.arange(len(ids) - 1), ids[1:]])
    assert following.max() < 0.05  # in the validation text it is nearly 1


def test_documents_and_labels_are_read_from_their_start_token(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f"{'ab'[n % 2]},the {'cat' if n % 2 else 'dog'} {n % 9}\n" for n in range(400))
    (tmp_path / "table.csv").write_text("kind,text\n" + rows)
    trained(cli, "table.csv", "--field", "text", "--label-field", "kind")
    run, ngrams = Run("run"), companion().model
    vocab = vocab_of(run.load_weights())
    end = vocab.to_model_ids(np.array([run.tokenizer.end_of_text_id]))
    assert ngrams.start_id == end[0] == run.config.model.start_id
    first = np.exp(ngrams.read(end[None])[0][0, -1])
    assert first[vocab.to_model_ids(run.tokenizer.encode("t"))[0]] > 0.9
    figures = json.loads(cli("eval", "run", "--json").stdout)
    assert figures["nats_per_token"] < figures["network"]["nats_per_token"]
    assert cli("sample", "run", "--label", "a", "--seed", 1).exit_code == 0
    assert cli("score", "run", "table.csv", "--field", "text", "--label", "b").exit_code == 0


def test_a_run_that_is_resumed_before_its_end_has_the_same_companion(cli: Cli) -> None:
    trained(cli, "corpus.txt")
    run = Run("run").path
    content, metrics = (run / NGRAM).read_bytes(), Run("run").metrics()
    # As if it had been killed while the companion was built.
    (run / NGRAM).unlink()
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:-1]))
    assert cli("train", "--resume", "run").exit_code == 0
    assert (run / NGRAM).read_bytes() == content
    assert Run("run").metrics()[-1]["ngram"] == metrics[-1]["ngram"]
    again = json.loads(cli("train", "--resume", "run", "--json").stdout)
    assert again["ngram"] == metrics[-1]["ngram"]


def test_a_run_without_validation_text_has_none(cli: Cli) -> None:
    assert "ngram" not in trained(cli, "corpus.txt", "--val-fraction", 0)
    assert not Run("run").has_companion
