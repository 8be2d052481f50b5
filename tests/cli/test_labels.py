"""Documents that are conditioned on a label: from the field of a table to samples of each kind."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.text.store import TokenStore

if TYPE_CHECKING:
    from tests.conftest import Cli

RUN = "--steps 600 --evaluations 2 --hidden-size 96 --embedding-dim 32 --batch-size 16 --seq-len 32".split()
SHORT = "--steps 8 --evaluations 2 --hidden-size 8 --embedding-dim 8 --batch-size 4 --seq-len 16".split()
THINGS = ("cat", "dog", "bird", "house", "river")


def line(kind: str, draw: random.Random) -> str:
    thing, time = draw.choice(THINGS), draw.choice(["now", "today"])
    return f"where is the {thing} {time}?" if kind == "question" else f"the {thing} is here {time}."


@pytest.fixture
def table(cli: Cli) -> Path:
    draw = random.Random(4)
    kinds = [draw.choice(["question", "answer"]) for _ in range(900)]
    with Path("table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["kind", "text"])
        rows.writerows((kind, line(kind, draw)) for kind in kinds)
    return Path("table.csv")


def train(cli: Cli, *arguments: object) -> Run:
    outcome = cli("train", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return Run("run")


def test_samples_are_of_the_kind_that_their_label_names(cli: Cli, table: Path) -> None:
    run = train(cli, table, "--field", "text", "--label-field", "kind", *RUN, "--run", "run")
    assert run.config.model.labels == ("answer", "question")
    for label, end in [("answer", "."), ("question", "?")]:
        outcome = cli("sample", "run", "--label", label, "--num-samples", 100, "--seed", 1, "--json")
        texts = [sample["text"] for sample in json.loads(outcome.stdout)["samples"]]
        assert sum(text.rstrip().endswith(end) for text in texts) >= 95
    # With the right label a text is less surprising than with the wrong one, and than without.
    questions = Path("questions.txt")
    draw = random.Random(5)
    questions.write_text("".join(line("question", draw) + "\n" for _ in range(30)))
    bits = [
        json.loads(cli("score", "run", "questions.txt", *label, "--json").stdout)["bits_per_character"]
        for label in (["--label", "question"], [], ["--label", "answer"])
    ]
    assert bits[0] < bits[1] < bits[2]
    unknown = cli("sample", "run", "--label", "questions")
    assert unknown.exit_code != 0
    assert (
        "unknown label 'questions'; did you mean 'question'?; the labels are answer, question"
        in unknown.stderr
    )
    again = cli("eval", "run", "--no-ngram", "--json")
    assert json.loads(again.stdout)["nats_per_token"] == run.facts()["best"]["nats_per_token"]
    adapted = json.loads(cli("eval", "run", "--dynamic", "--json").stdout)
    assert adapted["nats_per_token"] == pytest.approx(run.facts()["best"]["nats_per_token"], rel=1e-5)


def test_a_label_is_no_token_of_the_text_and_counts_in_no_figure(cli: Cli, table: Path) -> None:
    labelled = train(cli, table, "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    cli("train", table, "--field", "text", *SHORT, "--run", "plain")
    plain = Run("plain")
    for name in ("train_tokens", "val_tokens", "train_characters", "documents", "characters_per_token"):
        assert labelled.measured(name) == plain.measured(name)
    assert np.array_equal(labelled.load_weights()["token_counts"], plain.load_weights()["token_counts"])
    shapes = {name: array.shape for name, array in labelled.load_weights().items()}
    assert shapes.pop("label_embedding.weight") == (2, 8)
    assert shapes == {name: array.shape for name, array in plain.load_weights().items()}


def test_each_stored_document_has_its_own_label(cli: Cli, table: Path) -> None:
    run = train(cli, table, "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    corpus = run.open_corpus()
    store = TokenStore.open_or_build(corpus, run.tokenizer, Path("cache"), labels=run.config.model.labels)
    for part in ("train", "val"):
        labels = store.labels(part)
        assert labels is not None
        ends = np.flatnonzero(store.tokens(part) == run.tokenizer.end_of_text_id)
        documents = np.split(store.tokens(part), ends)
        texts = [run.tokenizer.decode(ids[ids != run.tokenizer.end_of_text_id].tolist()) for ids in documents]
        assert len(texts) == len(labels)
        assert all((number == 2) == text.endswith("?") for text, number in zip(texts, labels, strict=True))


@pytest.mark.parametrize(
    "options", [["--val-order", "end"], ["--no-shuffle"], ["--tie-weights"], ["--cell", "gru"]]
)
def test_labels_go_with_the_other_options_and_with_resuming(
    cli: Cli, table: Path, options: list[str]
) -> None:
    run = train(cli, table, "--field", "text", "--label-field", "kind", *SHORT, *options, "--run", "run")
    again = json.loads(cli("train", "--config", "run", "--run", "again", "--json").stdout)
    assert again["nats_per_token"] == run.facts()["best"]["nats_per_token"]


def test_training_on_from_a_run_keeps_its_labels_and_learns_new_ones(cli: Cli, table: Path) -> None:
    train(cli, table, "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    outcome = cli("train", "--from", "run", "--steps", 3, "--run", "further")
    assert outcome.exit_code == 0, outcome.stderr
    assert Run("further").config.model.labels == ("answer", "question")
    records = [{"text": f"oh, {thing}!", "kind": "a cry"} for thing in THINGS * 20]
    Path("cries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    new = ["--field", "text", "--label-field", "kind"]
    outcome = cli("train", "cries.jsonl", "--from", "run", *new, "--steps", 3, "--run", "cries")
    assert outcome.exit_code == 0, outcome.stderr
    assert Run("cries").config.model.labels == ("answer", "question", "a cry")
    old, grown = Run("run").load_weights(), Run("cries").load_weights()
    assert grown["label_embedding.weight"].shape == (3, 8)
    assert np.allclose(grown["label_embedding.weight"][:2], old["label_embedding.weight"], atol=0.05)


def test_the_torch_engine_reads_labels_as_the_numpy_engine_does(cli: Cli, table: Path) -> None:
    from textgen.generation.numpy_engine.engine import NumpyEngine
    from textgen.generation.torch_engine import TorchEngine

    run = train(cli, table, "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    model = LanguageModel.from_pretrained(run.path)
    engines = NumpyEngine(run.config.model, run.load_weights()), TorchEngine(model)
    V = run.config.model.model_vocab_size
    ids = np.array([[V + 1, 3, V], [V + 2, 4, 0]])
    logits = [engine.read(ids) for engine in map(_started, engines)]
    assert np.allclose(logits[0], logits[1], atol=1e-5)
    import torch

    direct, _ = model(torch.from_numpy(ids))
    assert np.allclose(logits[0], direct.detach().numpy(), atol=1e-5)
    assert not np.allclose(logits[0][0, 0], logits[0][1, 0])


def _started(engine):  # type: ignore[no-untyped-def]
    engine.reset_state(2)
    return engine


def test_labels_of_a_parquet_file_are_those_of_its_rows(cli: Cli) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = {"text": [f"number {n}" for n in range(80)], "kind": [n % 3 if n % 5 else None for n in range(80)]}
    parquet.write_table(pyarrow.table(rows), "rows.parquet")
    run = train(cli, "rows.parquet", "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    assert run.config.model.labels == ("0", "1", "2")
    corpus = run.open_corpus()
    labels = [label for part in ("train", "val") for label in corpus.labels(part)]
    assert sorted(map(str, labels)) == sorted(str(kind) for kind in rows["kind"])


def test_records_without_a_label_are_read_without_one(cli: Cli) -> None:
    records = [{"text": f"number {n}", "kind": [1, True, None, ""][n % 4]} for n in range(80)]
    records += [{"text": "no kind at all"}]
    Path("some.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run = train(cli, "some.jsonl", "--field", "text", "--label-field", "kind", *SHORT, "--run", "run")
    assert run.config.model.labels == ("1", "true")


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        ({"text": "a", "kind": None}, [], "no record of the training text has a label"),
        ({"text": "a", "kind": {"of": 1}}, [], "a.jsonl:1: the field 'kind' is not a label"),
        ({"text": "a"}, ["--documents", "line"], "does not apply"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    cli: Cli, record: dict[str, object], options: list[str], message: str
) -> None:
    lines = [json.dumps(record | {"text": f"text {n}"}) + "\n" for n in range(40)]
    Path("a.jsonl").write_text("".join(lines))
    outcome = cli("train", "a.jsonl", "--field", "text", "--label-field", "kind", *options, *SHORT)
    assert message in outcome.only_error


def test_too_many_labels_and_labels_of_plain_text_are_refused(cli: Cli) -> None:
    records = [{"text": f"text {n}", "kind": f"kind {n}"} for n in range(1300)]
    Path("many.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    outcome = cli("train", "many.jsonl", "--field", "text", "--label-field", "kind", *SHORT)
    assert "at most 1,000 are possible" in outcome.only_error
    outcome = cli("train", "corpus.txt", "--label-field", "kind", *SHORT)
    assert "plain text has no fields; leave --label-field out" in outcome.only_error
    cli("train", "corpus.txt", *SHORT, "--run", "plain")
    outcome = cli("sample", "plain", "--label", "x")
    assert "unknown label 'x'; there are none" in outcome.only_error
