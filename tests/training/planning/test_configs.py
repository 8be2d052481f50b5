"""What is chosen when the user gives nothing, and that what was given wins."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.training.planning.configs import (
    DEFAULT_MINUTES,
    EVAL_SHARE,
    BatchShape,
    complete_model,
    complete_training,
    eval_tokens,
    fitted_batches,
)
from textgen.training.planning.recipe import Recipe

RECIPE = Recipe(
    epochs=40,
    hidden_size=96,
    num_layers=1,
    dropout=0.3,
    input_dropout=0.11,
    embedding_dropout=0.12,
    weight_drop=0.13,
    tie_weights=False,
    learning_rate=5e-3,
    beta1=0.4,
    weight_decay=0.02,
    temporal_activation_penalty=0.5,
)


def model_of(recipe: Recipe = RECIPE, model_vocab_size: int = 65, **given: Any) -> ModelConfig:
    return complete_model(Section(ModelConfig, given), recipe, model_vocab_size=model_vocab_size)


def training_of(**given: Any) -> TrainingConfig:
    section = Section(TrainingConfig, {"device": "cpu"} | given)
    batches = fitted_batches(section, train_tokens=10**6)
    return complete_training(section, RECIPE, model=model_of(), batches=batches)


def test_what_was_not_given_is_the_recipes() -> None:
    model = model_of()
    assert (model.hidden_size, model.num_layers, model.dropout) == (96, 1, 0.3)
    assert (model.input_dropout, model.embedding_dropout, model.weight_drop) == (0.11, 0.12, 0.13)
    assert not model.tie_weights
    training = training_of(steps=7)
    assert (training.learning_rate, training.beta1, training.weight_decay) == (5e-3, 0.4, 0.02)
    assert training.temporal_activation_penalty == 0.5


def test_minutes_end_with_the_recipes_epochs_and_other_budgets_stand_alone() -> None:
    def budget(**given: float) -> tuple[float | None, int | None, int | None]:
        training = training_of(**given)
        return training.minutes, training.epochs, training.steps

    assert budget() == (DEFAULT_MINUTES, 40, None)
    assert budget(minutes=3) == (3, 40, None)
    assert budget(minutes=3, epochs=7) == (3, 7, None)
    assert budget(epochs=7) == (None, 7, None)
    assert budget(steps=7) == (None, None, 7)


def test_a_small_text_shrinks_the_batch() -> None:
    section = Section(TrainingConfig, {"batch_size": 20})
    assert fitted_batches(section, train_tokens=10**6) == BatchShape(20, TrainingConfig.seq_len)
    fitted = fitted_batches(section, train_tokens=300)
    assert fitted.tokens < 300 / 2
    assert training_of(batch_size=3, steps=7).batch_size == 3


def test_evaluation_keeps_within_its_share_of_the_budget() -> None:
    trained, forward_share, evaluations = 1e6, 0.4, 10
    read = evaluations * eval_tokens(trained, forward_share, evaluations, val_tokens=10**9)
    assert read * forward_share <= EVAL_SHARE * trained
    assert read * forward_share > 0.99 * EVAL_SHARE * trained


def test_evaluation_reads_no_more_than_there_is_and_no_less_than_measures_something() -> None:
    assert eval_tokens(1e9, 0.4, 10, val_tokens=5000) == 5000
    assert eval_tokens(10, 0.4, 10, val_tokens=5000) == 2000
    assert eval_tokens(10, 0.4, 10, val_tokens=50) == 50


def test_what_was_given_wins_over_the_recipe() -> None:
    model = model_of(hidden_size=48, dropout=0.11)
    assert (model.hidden_size, model.dropout, model.model_vocab_size) == (48, 0.11, 65)
    training = training_of(learning_rate=0.5, batch_size=3, threads=2, steps=7)
    assert (training.learning_rate, training.batch_size, training.threads, training.steps) == (0.5, 3, 2, 7)
    assert training.minutes is None


def test_tied_weights_make_the_embedding_as_wide_as_the_network() -> None:
    assert model_of(tie_weights=True, hidden_size=40).embedding_dim == 40


def test_tied_weights_of_the_recipe_do_so_too_unless_the_user_says_no() -> None:
    recipe = dataclasses.replace(RECIPE, tie_weights=True)
    tied = model_of(recipe, 1000, hidden_size=300)
    assert (tied.tie_weights, tied.embedding_dim) == (True, 300)
    untied = model_of(recipe, 1000, hidden_size=300, tie_weights=False)
    assert (untied.tie_weights, untied.embedding_dim) == (False, 256)


def test_tied_weights_leave_an_embedding_whose_size_was_given() -> None:
    assert model_of(tie_weights=True, hidden_size=40, embedding_dim=16).embedding_dim == 16


def test_residual_connections_need_a_second_layer() -> None:
    with pytest.raises(ConfigError, match="give --num-layers 2 or more"):
        model_of(residual=True, num_layers=1)
