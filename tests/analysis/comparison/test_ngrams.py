"""The n-grams of a comparison: judged as networks are, and counted once for a text and its tokens."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from textgen.analysis.comparison import ngrams as comparison_ngrams
from textgen.analysis.comparison.ngrams import evaluate_ngrams, kept_ngrams, measure_ngrams
from textgen.errors import RunError
from textgen.evaluation.cross_entropy import Loss
from textgen.ngram.model import PRUNE_FROM, NGramModel
from textgen.run import Run
from textgen.system.progress import Reporter
from textgen.text.model_vocab import ModelVocab
from textgen.text.token_costs import TokenCosts
from textgen.training import ngrams as training_ngrams

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 6 --evaluations 1 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
LINES = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
NO_START = LINES.replace("\n", " ")  # neither a newline nor an end of text, that a text could begin after
UNSEEN_LAST = LINES + "New are: é, ü, ß!\n"
TOKEN_IDS = np.array([7, 3, 9, 3, 5, 5, 7, 9, 8, 3, 7, 5, 3, 3, 9])  # 8 and 9 are unseen


def by_single_tokens(
    model: NGramModel, token_ids: np.ndarray, costs: TokenCosts, start_id: int | None
) -> Loss:
    """What evaluate_ngrams computes, token by token."""
    nats, unseen, state = 0.0, 0, model.start(1)
    before = start_id
    for target in costs.vocab.to_model_ids(token_ids).tolist():
        if before is not None:
            state = model.advance(state, np.array([before]))
        if target == costs.vocab.size:
            nats, unseen = nats + costs.unseen_nats, unseen + 1
        elif before is None:
            nats += costs.first_nats(target)
        else:
            nats += costs.seen_nats - float(model.log_probs(state)[0, target])
        before = target
    return Loss(nats, len(token_ids), unseen)


@pytest.mark.parametrize("start_id", [None, 0])
@pytest.mark.parametrize("token_ids", [TOKEN_IDS, TOKEN_IDS[2:], TOKEN_IDS[:1], TOKEN_IDS[:0]])
@pytest.mark.parametrize("at_once", [1, 4, 2**13])
def test_reading_many_tokens_at_once_equals_reading_single_ones(
    monkeypatch: pytest.MonkeyPatch, start_id: int | None, token_ids: np.ndarray, at_once: int
) -> None:
    monkeypatch.setattr(comparison_ngrams, "_MOST_AT_ONCE", at_once)
    vocab = ModelVocab(np.array([3, 5, 7]), np.array([40, 30, 20]))
    text = np.random.default_rng(1).integers(0, 3, 90)
    model, costs = NGramModel.train(text, 3, 4, start_id=start_id), TokenCosts(vocab, 10 - 3)
    found = evaluate_ngrams(model, token_ids, costs, start_id)
    expected = by_single_tokens(model, token_ids, costs, start_id)
    assert found.total_nats == pytest.approx(expected.total_nats, rel=1e-6)
    assert (found.tokens, found.unseen_tokens) == (expected.tokens, expected.unseen_tokens)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (LINES, []),
        (NO_START, []),
        (UNSEEN_LAST, []),
        (LINES, ["--documents", "line"]),
        (LINES, ["--tokenizer", "bpe", "--vocab-size", "300"]),
    ],
    ids=["newline", "no-start", "unseen", "documents", "bpe"],
)
def test_the_loss_is_what_eval_says_of_the_n_grams_of_a_run(
    cli: Cli, tmp_path: Path, text: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside a network other n-grams are pruned than of a model that is compared alone.
    monkeypatch.setattr(training_ngrams, "prune_from", lambda _: PRUNE_FROM)
    Path("corpus.txt").write_text(text, encoding="utf-8")
    done = cli("train", "corpus.txt", *TINY, *options, "--run", "run")
    assert done.exit_code == 0, done.stderr
    expected = json.loads(cli("eval", "run", "--json").stdout)["ngrams"]
    found = measure_ngrams(Run("run"), tmp_path / "cache" / "textgen")
    for name in ("nats_per_token", "bits_per_character"):
        assert getattr(found, name) == pytest.approx(expected[name], rel=1e-6)
    assert (found.tokens, found.unseen_tokens) == (expected["tokens"], expected["unseen_tokens"])
    assert found.unseen_tokens > 0 or text != UNSEEN_LAST


@pytest.fixture
def run(cli: Cli) -> Run:
    Path("corpus.txt").write_text(LINES)
    assert cli("train", "corpus.txt", *TINY, "--no-ngram", "--run", "run").exit_code == 0
    return Run("run")


def test_n_grams_are_counted_once_for_a_text_and_its_tokens(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def keep() -> Any:
        return kept_ngrams(tmp_path, run, tmp_path / "cache" / "textgen", Reporter(sys.stderr))

    first = keep()
    assert str(first) in capsys.readouterr().err
    assert first.order == 9
    assert first.parameters > 1000
    path = tmp_path / "ngram.json"
    again = path.read_bytes()
    monkeypatch.setattr(comparison_ngrams, "measure_ngrams", lambda *_: dataclasses.replace(first, order=2))
    assert keep() == first
    assert path.read_bytes() == again
    assert capsys.readouterr().err == ""
    content = json.loads(again)
    for name in ("corpus", "tokenizer"):
        path.write_text(json.dumps(content | {"text": content["text"] | {name: "another"}}))
        assert keep().order == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: {"text": content["text"]},
        lambda content: content | {"figures": content["figures"] | {"parameters": "many"}},
        lambda content: content | {"figures": content["figures"] | {"nats_per_token": float("nan")}},
        lambda content: content | {"figures": content["figures"] | {"tokens": -1}},
        lambda content: content | {"figures": content["figures"] | {"seeds": 3}},
    ],
)
def test_a_damaged_file_is_named(run: Run, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "ngram.json"
    arguments = tmp_path, run, tmp_path / "cache" / "textgen", Reporter(sys.stderr)
    kept_ngrams(*arguments)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(RunError, match=r"ngram\.json: cannot be read; remove it"):
        kept_ngrams(*arguments)
