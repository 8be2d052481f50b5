"""What is chosen when the user says nothing, and that what was said wins."""

from __future__ import annotations

import dataclasses

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import ModelConfig
from textgen.settings.given import TrainOptions
from textgen.training.planning.plan import (
    DEFAULT_MINUTES,
    EVAL_SHARE,
    eval_tokens,
    fine_tuning_model,
    plan_data,
    plan_model,
    plan_training,
    same_network,
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


def test_what_was_not_said_is_the_recipes() -> None:
    options = TrainOptions(steps=7, device="cpu")
    model = plan_model(options, RECIPE, model_vocab_size=65)
    assert (model.hidden_size, model.num_layers, model.dropout) == (96, 1, 0.3)
    assert (model.input_dropout, model.embedding_dropout, model.weight_drop) == (0.11, 0.12, 0.13)
    assert not model.tie_weights
    training = plan_training(options, RECIPE, model=model, train_tokens=10**6)
    assert (training.learning_rate, training.beta1, training.weight_decay) == (5e-3, 0.4, 0.02)
    assert training.temporal_activation_penalty == 0.5


def test_minutes_end_with_the_recipes_epochs_and_other_budgets_stand_alone() -> None:
    def budget(**said: float) -> tuple[float | None, int | None, int | None]:
        options = TrainOptions(device="cpu", **said)
        model = plan_model(options, RECIPE, model_vocab_size=65)
        training = plan_training(options, RECIPE, model=model, train_tokens=10**6)
        return training.minutes, training.epochs, training.steps

    assert budget() == (DEFAULT_MINUTES, 40, None)
    assert budget(minutes=3) == (3, 40, None)
    assert budget(minutes=3, epochs=7) == (3, 7, None)
    assert budget(epochs=7) == (None, 7, None)
    assert budget(steps=7) == (None, None, 7)


def test_evaluation_keeps_within_its_share_of_the_budget() -> None:
    trained, forward_share, evaluations = 1e6, 0.4, 10
    read = evaluations * eval_tokens(trained, forward_share, evaluations, val_tokens=10**9)
    assert read * forward_share <= EVAL_SHARE * trained
    assert read * forward_share > 0.99 * EVAL_SHARE * trained


def test_evaluation_reads_no_more_than_there_is_and_no_less_than_measures_something() -> None:
    assert eval_tokens(1e9, 0.4, 10, val_tokens=5000) == 5000
    assert eval_tokens(10, 0.4, 10, val_tokens=5000) == 2000
    assert eval_tokens(10, 0.4, 10, val_tokens=50) == 50


def test_what_was_said_wins_over_the_recipe() -> None:
    options = TrainOptions(
        hidden_size=48, dropout=0.11, learning_rate=0.5, batch_size=3, threads=2, steps=7, device="cpu"
    )
    model = plan_model(options, RECIPE, model_vocab_size=65)
    assert (model.hidden_size, model.dropout, model.model_vocab_size) == (48, 0.11, 65)
    training = plan_training(options, RECIPE, model=model, train_tokens=10**6)
    assert (training.learning_rate, training.batch_size, training.threads, training.steps) == (0.5, 3, 2, 7)
    assert training.minutes is None


def test_tied_weights_make_the_embedding_as_wide_as_the_network() -> None:
    model = plan_model(TrainOptions(tie_weights=True, hidden_size=40), RECIPE, model_vocab_size=65)
    assert model.embedding_dim == 40


def test_tied_weights_of_the_recipe_do_so_too_unless_the_user_says_no() -> None:
    recipe = dataclasses.replace(RECIPE, tie_weights=True)
    tied = plan_model(TrainOptions(hidden_size=300), recipe, model_vocab_size=1000)
    assert (tied.tie_weights, tied.embedding_dim) == (True, 300)
    untied = plan_model(TrainOptions(hidden_size=300, tie_weights=False), recipe, model_vocab_size=1000)
    assert (untied.tie_weights, untied.embedding_dim) == (False, 256)


def test_tied_weights_leave_an_embedding_whose_size_was_said() -> None:
    options = TrainOptions(tie_weights=True, hidden_size=40, embedding_dim=16)
    assert plan_model(options, RECIPE, model_vocab_size=65).embedding_dim == 16


def test_residual_connections_need_a_second_layer() -> None:
    with pytest.raises(ConfigError, match="--num-layers of 2 or more"):
        plan_model(TrainOptions(residual=True, num_layers=1), RECIPE, model_vocab_size=65)


def test_fine_tuning_keeps_the_network_and_may_change_its_dropout() -> None:
    source = ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1)
    assert fine_tuning_model(TrainOptions(dropout=0.4), source, 70) == ModelConfig(
        model_vocab_size=70, hidden_size=40, dropout=0.4
    )
    dropouts = {"input_dropout": 0.1, "embedding_dropout": 0.2, "weight_drop": 0.3}
    same_network(TrainOptions(**dropouts), source, "old")
    changed = fine_tuning_model(TrainOptions(**dropouts), source, 65)
    assert changed == ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1, **dropouts)
    same_network(TrainOptions(hidden_size=40), source, "old")
    for structure in ("residual", "layer_norm", "tie_weights"):
        with pytest.raises(ConfigError, match=structure):
            same_network(TrainOptions(**{structure: True}), source, "old")
    with pytest.raises(ConfigError, match="hidden_size"):
        same_network(TrainOptions(hidden_size=41), source, "old")


def test_no_corpus_is_refused() -> None:
    with pytest.raises(ConfigError, match="no corpus"):
        plan_data(TrainOptions())
