"""What the user gave, by section: checked at once, and never mixed with what is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.given import SECTIONS, Section, UserOptions, option_names


def test_options_go_to_the_section_that_declares_them() -> None:
    given = UserOptions.from_names(
        {
            "corpus": ("a.txt",),
            "cell": "gru",
            "minutes": 3,
            "dropout": None,
            "run": "runs/a",
            "from_run": None,
        }
    )
    assert dict(given.data) == {"corpus": ("a.txt",)}
    assert dict(given.model) == {"cell": "gru"}
    assert dict(given.training) == {"minutes": 3}
    assert (given.run, given.from_run) == ("runs/a", None)
    assert given.names() == {"corpus": ("a.txt",), "cell": "gru", "minutes": 3, "run": "runs/a"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"hiden_size": 3}, "unknown option 'hiden_size'; did you mean 'hidden_size'"),
        ({"model_vocab_size": 3}, "unknown option 'model_vocab_size'"),
        ({"hidden_size": -5}, "hidden_size=-5: must be at least 1"),
        ({"hidden_size": "wide"}, "hidden_size must be a whole number"),
        ({"cell": "lstn"}, "cell='lstn': must be one of lstm, gru, rnn"),
        ({"tokenizer": ""}, "--tokenizer '': not a valid value"),
        ({"run": "a\0"}, "--run .*: not a valid value"),
        ({"run": 3}, "run must be text"),
        ({"val": "a.txt", "val_fraction": 0.1}, "--val and --val-fraction do not go together"),
        ({"early_stopping": False, "patience": 2}, "--patience does nothing"),
    ],
)
def test_an_invalid_value_is_refused_at_once(names: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UserOptions.from_names(names)


def test_every_option_can_be_given_except_the_model_vocabulary_size() -> None:
    declared = {name for config_class in SECTIONS.values() for name in config_class.__dataclass_fields__}
    assert set(option_names()) == declared - {"model_vocab_size", "labels", "start_id"}


def test_given_values_take_precedence_over_chosen_ones_and_these_over_defaults() -> None:
    section = Section(ModelConfig, {"hidden_size": 48})
    config = section.complete(hidden_size=96, num_layers=2, model_vocab_size=5)
    assert (config.hidden_size, config.num_layers, config.cell) == (48, 2, ModelConfig.cell)
    assert section.value("hidden_size") == 48
    assert section.value("cell") == ModelConfig.cell
    assert dict(section.replaced(cell="gru").without(["hidden_size"])) == {"cell": "gru"}


@pytest.mark.parametrize(
    ("file", "given", "expected"),
    [
        ({"minutes": 3}, {"steps": 7}, {"steps": 7}),
        ({"tokenizer": "bpe", "vocab_size": 300}, {"tokenizer": "char"}, {"tokenizer": "char"}),
        ({"val": "a.txt"}, {"val_fraction": 0.2}, {"val_fraction": 0.2}),
        ({"patience": 3}, {"early_stopping": False}, {"early_stopping": False}),
        ({"hidden_size": 3, "cell": "gru"}, {"hidden_size": 4}, {"hidden_size": 4, "cell": "gru"}),
    ],
)
def test_the_command_line_wins_over_a_file_and_replaces_options_that_it_excludes(
    file: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]
) -> None:
    merged = UserOptions.from_names(file).overridden_by(UserOptions.from_names(given))
    assert merged.names() == expected


def test_a_section_is_independent_of_the_mapping_it_was_made_from() -> None:
    values: dict[str, Any] = {"steps": 3}
    section = Section(TrainingConfig, values)
    values["steps"] = 4
    assert section["steps"] == 3
