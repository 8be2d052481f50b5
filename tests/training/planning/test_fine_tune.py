"""What a run that starts from another one takes from it, and what the user may still choose."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import DataConfig, ModelConfig
from textgen.settings.given import Section
from textgen.training.planning.fine_tune import (
    fine_tuning_model,
    inherited,
    inherited_note,
    require_same_network,
    require_same_tokenizer,
    source_text,
)

SOURCE = ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1)
TEXT = DataConfig(corpus=("/a.txt",), documents="line", val_fraction=0.2, tokenizer="bpe", vocab_size=300)


def test_fine_tuning_keeps_the_network_and_may_change_its_dropout() -> None:
    assert fine_tuning_model(Section(ModelConfig, {"dropout": 0.4}), SOURCE, 70) == ModelConfig(
        model_vocab_size=70, hidden_size=40, dropout=0.4
    )
    dropouts = {"input_dropout": 0.1, "embedding_dropout": 0.2, "weight_drop": 0.3}
    given = Section(ModelConfig, dropouts)
    require_same_network(given, SOURCE, "old")
    expected = ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1, **dropouts)
    assert fine_tuning_model(given, SOURCE, 65) == expected


@pytest.mark.parametrize("name", ["residual", "layer_norm", "tie_weights"])
def test_an_option_that_contradicts_the_network_is_refused(name: str) -> None:
    require_same_network(Section(ModelConfig, {"hidden_size": 40}), SOURCE, "old")
    with pytest.raises(ConfigError, match=name):
        require_same_network(Section(ModelConfig, {name: True}), SOURCE, "old")
    with pytest.raises(ConfigError, match="--hidden-size 41 does not fit --from old"):
        require_same_network(Section(ModelConfig, {"hidden_size": 41}), SOURCE, "old")


def test_an_option_that_contradicts_the_tokenizer_is_refused() -> None:
    require_same_tokenizer(Section(DataConfig, {"tokenizer": "bpe", "vocab_size": 300}), TEXT, "old")
    with pytest.raises(ConfigError, match="--vocab-size does not go with --from"):
        require_same_tokenizer(Section(DataConfig, {"vocab_size": 301}), TEXT, "old")


def test_without_a_corpus_it_is_the_other_runs_text_divided_as_it_was() -> None:
    text = source_text(Section(DataConfig), TEXT, "old")
    assert dict(text) == {
        "corpus": ("/a.txt",), "documents": "line", "encoding": "utf-8", "val_fraction": 0.2,
        "val_order": "end",
    }  # fmt: skip
    assert source_text(Section(DataConfig, {"val": "b.txt"}), TEXT, "old").get("val_fraction") is None
    other = Section(DataConfig, {"corpus": ("c.txt",)})
    assert source_text(other, TEXT, "old") is other
    with pytest.raises(ConfigError, match="standard input"):
        source_text(Section(DataConfig), DataConfig(corpus=("-",)), "old")


def test_without_a_corpus_the_text_is_read_with_the_delimiter_of_the_other_run() -> None:
    table = DataConfig(corpus=("/a.csv",), field="name", delimiter="~")
    text = source_text(Section(DataConfig), table, "old")
    assert (text["field"], text["delimiter"], text["documents"]) == ("name", "~", "file")


# ---- another text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("one\ntwo\n")
    Path("a.csv").write_text("id,name\n1,Ann\n")
    Path("tilde.csv").write_text("id~name\n1~Ann\n")
    Path("titles.csv").write_text("id,title\n1,Ann\n")
    Path("a.jsonl").write_text(json.dumps({"name": "Ann"}) + "\n")
    Path("titles.jsonl").write_text(json.dumps({"title": "Ann"}) + "\n")
    return tmp_path


PLAIN = DataConfig(corpus=("/o.txt",))
LINES = DataConfig(corpus=("/o.txt",), documents="line")
BLOCKS = DataConfig(corpus=("/o.txt",), documents="block", encoding="latin-1", val_fraction=0.3)
NAMES = DataConfig(corpus=("/o.csv",), field="name")
TILDES = DataConfig(corpus=("/o.csv",), field="name", delimiter="~")
FIRST = DataConfig(corpus=("/o.csv",), field="2")
CHATTY = DataConfig(corpus=("/o.txt",), chat_template="Q: {user}\nA:", chat_stop="\n")


@pytest.mark.parametrize(
    ("source", "corpus", "expected"),
    [
        (PLAIN, ["a.txt"], {}),
        (PLAIN, ["a.csv"], {}),
        (LINES, ["a.txt"], {"documents": "line"}),
        (LINES, ["-"], {"documents": "line"}),
        (LINES, ["a.csv"], {}),
        (BLOCKS, ["a.txt"], {"documents": "block"}),
        (NAMES, ["a.txt"], {"documents": "line"}),
        (NAMES, ["a.csv", "a.jsonl"], {"field": "name"}),
        (NAMES, ["a.csv", "a.txt"], {"documents": "line", "field": "name"}),
        (NAMES, ["titles.csv"], {}),
        (NAMES, ["titles.jsonl"], {}),
        (NAMES, ["a.csv", "titles.csv"], {}),
        (NAMES, ["titles.csv", "a.txt"], {"documents": "line"}),
        (TILDES, ["tilde.csv"], {"field": "name", "delimiter": "~"}),
        (TILDES, ["a.csv"], {"field": "name"}),
        (TILDES, ["a.jsonl"], {"field": "name"}),
        (FIRST, ["titles.csv"], {"field": "2"}),
        (CHATTY, ["a.txt"], {"chat_template": "Q: {user}\nA:", "chat_stop": "\n"}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_another_text_inherits_what_applies_to_it(
    source: DataConfig, corpus: list[str], expected: dict[str, Any]
) -> None:
    config = DataConfig(corpus=tuple(corpus))
    assert inherited(config, {"corpus"}, source) == expected
    found = dataclasses.replace(config, **expected)
    assert found.encoding == "utf-8", "an encoding such as latin-1 would garble the text without an error"
    assert inherited(found, {"corpus", *expected}, source) == {}, "what the user gives is not inherited"


@pytest.mark.usefixtures("folder")
def test_the_validation_text_must_have_the_field_too() -> None:
    config = DataConfig(corpus=("a.csv",), val="titles.csv")
    assert inherited(config, {"corpus", "val"}, NAMES) == {}
    assert inherited(dataclasses.replace(config, val="a.jsonl"), {"corpus", "val"}, NAMES) == {
        "field": "name"
    }


@pytest.mark.usefixtures("folder")
def test_the_users_own_field_is_read_with_the_inherited_delimiter() -> None:
    config = DataConfig(corpus=("tilde.csv",), field="id")
    assert inherited(config, {"corpus", "field"}, TILDES) == {"delimiter": "~"}


@pytest.mark.parametrize(
    ("values", "source", "expected"),
    [
        ({"documents": "line"}, LINES, "Documents are lines, as in old."),
        ({"documents": "block"}, BLOCKS, "Documents are blocks, as in old."),
        ({"documents": "line"}, NAMES, "Documents are lines, because those of old are records."),
        ({"field": "firstName"}, NAMES, "The text of records is the field 'firstName', as in old."),
        (
            {"field": "name", "delimiter": "~"},
            TILDES,
            "The text of records is the field 'name' and the delimiter is '~', as in old.",
        ),
    ],
)
def test_what_is_inherited_is_said_in_one_sentence(
    values: dict[str, Any], source: DataConfig, expected: str
) -> None:
    assert inherited_note(values, source, "old") == expected
