"""Options are declared once, checked when a config is made, and refused when unknown."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import (
    RECORD,
    DataConfig,
    DynamicConfig,
    ModelConfig,
    NoveltyConfig,
    RunConfig,
    SampleConfig,
    TrainingConfig,
)
from textgen.settings.given import FOLLOW_FROM_TEXT, SECTIONS
from textgen.settings.option import from_mapping, options_of


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="unknown option 'hiden_size'; did you mean 'hidden_size'"):
        from_mapping(ModelConfig, {"model_vocab_size": 3, "hiden_size": 4}, "here")


@pytest.mark.parametrize(
    ("config_class", "values"),
    [
        (ModelConfig, {"model_vocab_size": "3"}),
        (ModelConfig, {"model_vocab_size": True}),
        (ModelConfig, {"model_vocab_size": 3, "hidden_size": 2.5}),
        (ModelConfig, {"model_vocab_size": 3, "hidden_size": None}),
        (TrainingConfig, {"steps": 1, "learning_rate": "high"}),
        (DataConfig, {"corpus": "not a list"}),
        (TrainingConfig, {"steps": 1, "early_stopping": 1}),
    ],
)
def test_a_value_of_another_type_is_refused(config_class: type, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"here: .* must be"):
        from_mapping(config_class, values, "here")


def test_a_missing_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        from_mapping(ModelConfig, {}, "here")


@pytest.mark.parametrize(
    ("config_class", "values"),
    [
        (ModelConfig, {"model_vocab_size": 0}),
        (ModelConfig, {"model_vocab_size": 10**9}),
        (ModelConfig, {"model_vocab_size": 3, "num_layers": 10**9}),
        (ModelConfig, {"model_vocab_size": 3, "labels": ("\ud800",), "start_id": 0}),
        (DataConfig, {"corpus": ("a\0b",)}),
        (DataConfig, {"corpus": ("a",), "encoding": "a\0b"}),
        (DataConfig, {"corpus": ("a",), "vocab_size": 10**9}),
        (TrainingConfig, {"steps": 1, "threads": 10**9}),
        (ModelConfig, {"model_vocab_size": 3, "dropout": 1.0}),
        (ModelConfig, {"model_vocab_size": 3, "dropout": float("nan")}),
        (ModelConfig, {"model_vocab_size": 3, "cell": "lstn"}),
        (ModelConfig, {"model_vocab_size": 3, "input_dropout": 1.0}),
        (ModelConfig, {"model_vocab_size": 3, "embedding_dropout": -0.1}),
        (ModelConfig, {"model_vocab_size": 3, "weight_drop": 1.0}),
        (ModelConfig, {"model_vocab_size": 3, "residual": True, "num_layers": 1}),
        (TrainingConfig, {"steps": 0}),
        (TrainingConfig, {}),
        (TrainingConfig, {"steps": 1, "epochs": 1}),
        (TrainingConfig, {"minutes": float("inf")}),
        (TrainingConfig, {"steps": 1, "learning_rate": 0.0}),
        (TrainingConfig, {"steps": 1, "device": "gpu"}),
        (DataConfig, {"corpus": ("a",), "encoding": "utf-99"}),
        (DataConfig, {"corpus": ("a",), "delimiter": ""}),
        (DataConfig, {"corpus": ("a",), "delimiter": ",;"}),
        (DataConfig, {"corpus": ("a",), "delimiter": '"'}),
        (DataConfig, {"corpus": ("a",), "chat_template": "Q: A:"}),
        (DataConfig, {"corpus": ("a",), "chat_template": "{user} {user}"}),
        (DataConfig, {"corpus": ("a",), "chat_stop": "x"}),
        (DataConfig, {"corpus": ("a",), "chat_template": "{user}", "chat_stop": ""}),
        (DataConfig, {"corpus": ("a",), "tokenizer": "byte", "vocab_size": 10}),
        (DataConfig, {"corpus": ("a",), "tokenizer": "char", "end_of_text": "</s>"}),
        (SampleConfig, {"temperature": -1.0}),
        (SampleConfig, {"top_k": 0}),
        (SampleConfig, {"top_p": 1.5}),
    ],
)
def test_a_value_out_of_range_is_refused(config_class: type, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_mapping(config_class, values, "here")


MEASURED: list[dict[str, Any]] = [
    {"train_tokens": 0},
    {"train_tokens": "many"},
    {"parameters": None},
    {"parameters": -1},
    {"characters_per_token": float("inf")},
    {"val_tokens": -1},
    {"torch_version": ["2"]},
    {"something": {"more": 1}},
]


@pytest.mark.parametrize("measured", MEASURED, ids=str)
def test_what_was_measured_is_text_or_a_number_that_can_be_computed_with(measured: dict[str, Any]) -> None:
    sections = {
        "data": DataConfig(corpus=("a",)),
        "model": ModelConfig(model_vocab_size=3),
        "training": TrainingConfig(steps=1),
    }
    known = {"train_tokens": 7, "torch_version": "2", "unicode_form": None, "val_tokens": 0}
    values = {"format": 2, "textgen_version": "0", **sections}
    assert from_mapping(RunConfig, values | {"measured": known}).measured == known
    with pytest.raises(ConfigError, match=f"measured: '{min(measured)}'="):
        from_mapping(RunConfig, values | {"measured": known | measured})


def test_a_message_stays_short_whatever_the_value() -> None:
    long = "x" * 10**6
    for values in ({long: 1}, {"cell": long}, {"labels": [1] * 10**6}, {"hidden_size": long}):
        with pytest.raises(ConfigError) as caught:
            from_mapping(ModelConfig, {"model_vocab_size": 3, **values}, "here")
        assert len(str(caught.value)) < 500


def test_a_network_without_structure_options_is_a_plain_stack() -> None:
    written = {
        "model_vocab_size": 65,
        "cell": "gru",
        "embedding_dim": 64,
        "hidden_size": 384,
        "num_layers": 1,
    }
    model = from_mapping(ModelConfig, written | {"dropout": 0.2, "tie_weights": False}, "config.json")
    assert (model.input_dropout, model.embedding_dropout, model.weight_drop) == (0, 0, 0)
    assert (model.residual, model.layer_norm, model.projects_to_tied_head) == (False, False, False)


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SampleConfig().temperature = 2.0  # type: ignore[misc]


def test_no_name_is_in_two_sections() -> None:
    names = [name for config_class in SECTIONS.values() for name in options_of(config_class)]
    assert len(set(names)) == len(names)


def test_every_option_has_a_help_text_without_figures_and_every_training_option_a_heading() -> None:
    for section in (*SECTIONS.values(), SampleConfig):
        for name, about in options_of(section).items():
            if name != "corpus":
                assert about.help.endswith("."), name
                assert "%" not in about.help, name
                assert about.group or section is SampleConfig or name in FOLLOW_FROM_TEXT, name


def test_every_number_has_a_range() -> None:
    for section in (*SECTIONS.values(), SampleConfig, DynamicConfig, NoveltyConfig):
        for name, about in options_of(section).items():
            assert about.range is not None or about.kind not in (int, float), name


def test_another_text_is_read_as_that_of_the_run_and_its_lines_are_documents_where_that_is_records() -> None:
    plain, records = DataConfig(corpus=("a.txt",)), DataConfig(corpus=("a.csv",), field="name")
    assert [data.document_kind for data in (plain, records)] == ["file", RECORD]
    assert [data.for_text("b.txt").documents for data in (plain, records)] == ["file", "line"]
    both = DataConfig(corpus=("a.txt", "a.csv"), field="name", documents="block", encoding="latin-1")
    assert (both.document_kind, both.for_text("b.txt").documents) == ("block", "block")
    other = both.for_text("b.txt", documents="file", field=None, delimiter="tab", encoding=None)
    assert other == DataConfig(corpus=("b.txt",), field="name", delimiter="tab", encoding="latin-1")
    assert records.for_text("b.txt", documents="file").documents == "file"
