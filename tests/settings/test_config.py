"""What can be chosen is said once, checked at birth, and refused when unknown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import DataConfig, ModelConfig, SampleConfig, TrainingConfig
from textgen.settings.given import TrainOptions, read_options
from textgen.settings.option import from_mapping, option_help


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
        (TrainOptions, {"corpus": "not a list"}),
        (TrainOptions, {"early_stopping": 1}),
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
        (DataConfig, {"corpus": ("a",), "tokenizer": "byte", "vocab_size": 10}),
        (DataConfig, {"corpus": ("a",), "tokenizer": "char", "end_of_text": "</s>"}),
        (SampleConfig, {"temperature": -1.0}),
        (SampleConfig, {"top_k": 0}),
        (SampleConfig, {"top_p": 1.5}),
        (TrainOptions, {"hidden_size": -5}),
    ],
)
def test_a_value_out_of_range_is_refused(config_class: type, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_mapping(config_class, values, "here")


def test_a_network_whose_config_names_no_arrangement_is_a_plain_stack() -> None:
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


def test_what_can_be_said_is_what_can_be_resolved() -> None:
    said = {entry.name for entry in dataclasses.fields(TrainOptions)}
    resolved = {
        entry.name
        for section in (DataConfig, ModelConfig, TrainingConfig)
        for entry in dataclasses.fields(section)
    }
    assert said - {"from_run", "run", "cache_dir"} == resolved


def test_every_option_has_a_help_text() -> None:
    for section in (DataConfig, ModelConfig, TrainingConfig, SampleConfig):
        for entry in dataclasses.fields(section):
            if entry.name != "corpus" and (section, entry.name) != (ModelConfig, "model_vocab_size"):
                assert option_help(section, entry.name).endswith("."), entry.name


def test_a_settings_file_gives_options(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('corpus = ["a.txt", "b"]\nhidden_size = 32\nlearning_rate = 1\nearly_stopping = false\n')
    expected = {"corpus": ("a.txt", "b"), "hidden_size": 32, "learning_rate": 1, "early_stopping": False}
    assert read_options(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden_size = 3", "did you mean 'hidden_size'"),
        ("hidden_size = ", "not valid TOML"),
        ("hidden_size = 'wide'", "hidden_size must be"),
        ("hidden_size = 0", "hidden_size=0: must be at least 1"),
        ("run = ''", "--run '': is no name"),
        ('encoding = "a\\u0000"', "--encoding .*: is no name"),
        ("from = 'a'\nfrom_run = 'b'", "from and from_run are the same"),
    ],
)
def test_a_settings_file_with_a_mistake_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_options(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": []}, "data must hold names"),
        ({"data": {"val": "a.txt"}}, None),
        ({"training": {"early_stopping": False}}, None),
    ],
)
def test_a_runs_config_that_was_written_by_hand_is_read_or_refused(
    tmp_path: Path, sections: dict[str, object], message: str | None
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": {}, "model": {}, "training": {}} | sections))
    if message is None:
        assert read_options(path) == next(iter(sections.values()))
        return
    with pytest.raises(ConfigError, match=message):
        read_options(path)


def test_a_settings_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_options(tmp_path / "none.toml")
