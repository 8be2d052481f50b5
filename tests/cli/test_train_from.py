"""`textgen train --from`: fine-tuning a run."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_fine_tuning_keeps_the_old_embeddings_and_adds_new_ones(cli: Cli, text: str, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    (tmp_path / "new.txt").write_text(text.replace("dogs", "Ωλ"))
    started = cli(
        "train", "new.txt", "--from", "old", "--steps", 1, "--learning-rate", 1e-9, "--run", "new", "--json"
    )
    old, new = Run("old").load_weights(), Run("new").load_weights()
    size = len(old["token_ids"])
    assert len(new["token_ids"]) == size + 3  # the bytes CE A9 and CE BB
    assert new["embedding.weight"][:size] == pytest.approx(old["embedding.weight"], abs=1e-6)
    weights = old["token_counts"] / old["token_counts"].sum()
    assert new["embedding.weight"][size] == pytest.approx(weights @ old["embedding.weight"], abs=1e-5)
    assert started.exit_code == 0
    assert Run("new").tokenizer.fingerprint == Run("old").tokenizer.fingerprint
    assert "Ω" in "".join(cli("sample", "new", "--prompt", "Ω", "--max-new-tokens", 5).stdout)


def test_fine_tuning_learns_a_text_that_is_unlike_the_first_one(cli: Cli, tmp_path: Path) -> None:
    alphabet = "abcdefghijklmnopqrst"
    (tmp_path / "known.txt").write_text(alphabet * 400)
    (tmp_path / "unlike.txt").write_text("".join(random.Random(1).choices(alphabet, k=3000)))
    size = ["--hidden-size", 32, "--batch-size", 8, "--seq-len", 32]
    cli("train", "known.txt", *size, "--steps", 250, "--learning-rate", 0.05, "--run", "known")
    result = json.loads(cli("train", "unlike.txt", "--from", "known", "--steps", 40, "--json").stdout)
    records = Run(result["run"]).metrics()
    assert not [record for record in records if record["kind"] == "rollback"]
    first = next(record["nats_per_token"] for record in records if record["kind"] == "val")
    assert first > math.log(20) + 2, "the text is unlike enough for a uniform guess to be far better"
    assert result["nats_per_token"] < first - 0.5


def test_fine_tuning_keeps_the_original_weights_when_nothing_is_better(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--steps", 60, "--run", "old")
    before = json.loads(cli("eval", "old", "--no-ngram", "--json").stdout)["nats_per_token"]
    worse = cli("train", "corpus.txt", "--from", "old", "--steps", 1, "--learning-rate", 100.0, "--json")
    assert json.loads(worse.stdout)["best_step"] == 0
    assert json.loads(worse.stdout)["nats_per_token"] == pytest.approx(before, rel=1e-4)


def test_fine_tuning_without_a_corpus_reads_the_text_of_the_first_run(cli: Cli, text: str) -> None:
    cli("train", "corpus.txt", "--documents", "line", "--val-fraction", 0.2, *TINY)
    budget = "--steps", 2, "--batch-size", 4, "--seq-len", 16
    assert cli("train", "--from", "runs/corpus", *budget).exit_code == 0
    first, then = (Run(f"runs/{name}").config.data for name in ("corpus", "corpus-2"))
    assert then == dataclasses.replace(first, vocab_size=None, min_frequency=None)
    assert cli("train", "--from", "runs/corpus", "--val", "corpus.txt", *budget).exit_code != 0
    Path("val.txt").write_text(text[:900] + "Another end.\n")
    assert cli("train", "--from", "runs/corpus", "--val", "val.txt", *budget).exit_code == 0
    assert Run("runs/corpus-3").config.data.val == str(Path("val.txt").absolute())
    assert "no corpus" in cli("train", *budget).only_error


def test_text_with_many_tokens_that_the_first_run_never_saw_is_reported(cli: Cli) -> None:
    Path("greek.txt").write_text("\u03b1\u03b2\u03b3 \u03b4\n" * 500)
    cli("train", "corpus.txt", *TINY)
    budget = "--steps", 2, "--batch-size", 4, "--seq-len", 16
    strange = cli("train", "greek.txt", "--from", "runs/corpus", *budget)
    assert "80.0% of the tokens are new to runs/corpus" in strange.stdout
    assert "training from scratch would probably do better" in strange.stdout
    assert " are new to " not in cli("train", "corpus.txt", "--from", "runs/corpus", *budget).stdout


@pytest.mark.parametrize(
    ("division", "is_reported"),
    [
        ([], False),
        (["--val-fraction", 0.05], False),
        (["--val-fraction", 0.4], True),
        (["--val", "corpus.txt"], True),
        (["--val", "other.txt"], False),
    ],
)
def test_validation_on_text_that_the_first_run_trained_on_is_reported(
    cli: Cli, text: str, division: list[object], is_reported: bool
) -> None:
    for name in ("other.txt", "new.txt"):
        Path(name).write_text(text[:500])
    cli("train", "corpus.txt", *TINY, "--run", "old")
    corpus = "new.txt" if "corpus.txt" in division else "corpus.txt"
    out = cli("train", corpus, "--from", "old", "--steps", 1, *division).stdout
    assert "Validation, all" in out
    assert ("Validation reads text that old was trained on" in out) is is_reported


def test_fine_tuning_refuses_another_network_or_tokenizer(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    refused = cli("train", "corpus.txt", "--from", "old", "--hidden-size", 9).only_error
    assert "--hidden-size 9 does not fit --from old" in refused
    refused = cli("train", "corpus.txt", "--from", "old", "--embedding-dim", 1).only_error
    assert "--embedding-dim 1 does not fit --from old" in refused
    assert "--layer-norm does not" in cli("train", "corpus.txt", "--from", "old", "--layer-norm").only_error
    assert "tokenizer" in cli("train", "corpus.txt", "--from", "old", "--tokenizer", "byte").only_error


def test_another_text_is_read_as_that_of_the_run_unless_the_user_says_otherwise(cli: Cli) -> None:
    cli("train", "corpus.txt", "--documents", "line", *TINY, "--run", "old")
    Path("new.txt").write_text(Path("corpus.txt").read_text())
    budget = "--from", "old", "--steps", 1
    out = cli("train", "new.txt", *budget, "--run", "new").stdout
    assert out.startswith("Documents are lines, as in old.\n")
    assert " are new to " not in out
    assert Run("new").config.data.documents == "line"
    out = cli("train", "new.txt", *budget, "--documents", "file", "--run", "whole").stdout
    assert "Documents are" not in out
    assert "of the tokens are new to old" in out  # every line end
    assert Run("whole").config.data.documents == "file"
    Path("new.jsonl").write_text(
        "".join(json.dumps({"text": f"Line {n}: the dogs"}) + "\n" for n in range(90))
    )
    out = cli("train", "new.jsonl", "--field", "text", *budget, "--run", "records").stdout
    assert "Documents are" not in out


def test_a_run_on_records_is_continued_on_records_and_on_plain_text(cli: Cli) -> None:
    lines = Path("corpus.txt").read_text().splitlines()
    for name in ("old.jsonl", "new.jsonl"):
        Path(name).write_text("".join(json.dumps({"body": line}) + "\n" for line in lines))
    cli("train", "old.jsonl", "--field", "body", *TINY, "--run", "old")
    out = cli("train", "new.jsonl", "--from", "old", "--steps", 1, "--run", "new").stdout
    assert out.startswith("The text of records is the field 'body', as in old.\n")
    out = cli("train", "corpus.txt", "--from", "old", "--steps", 1, "--run", "plain").stdout
    assert out.startswith("Documents are lines, because those of old are records.\n")
    assert " are new to " not in out
    records, plain = Run("new"), Run("plain")
    assert (records.config.data.field, plain.config.data.documents) == ("body", "line")
    # The same documents, so that the same text is trained on.
    assert records.measured("train_tokens") == plain.measured("train_tokens")
    Path("other.jsonl").write_text(json.dumps({"title": "dogs"}) + "\n")
    assert "Name it with --field; found: title" in cli("train", "other.jsonl", "--from", "old").only_error
