"""The recipe: how it reacts to more text, more work and other cells, and that it fits the runs behind it."""

from __future__ import annotations

import itertools

import pytest

from textgen.models.recurrent import Recurrent
from textgen.training.planning.recipe import (
    MAX_EPOCHS,
    MAX_PARAMETERS_PER_TOKEN,
    MIN_CHARACTERS_READ,
    NETWORKS,
    TYPICAL_CHARACTERS,
    Network,
    choose_recipe,
    embedding_dim,
    max_epochs,
)

MEGABYTE = 1_003_854  # tokens of the training part of tiny Shakespeare
TWO_MINUTES = 14e6  # tokens, of the reference on two cores


def test_the_experiments_that_the_recipe_was_fitted_to_get_their_settings() -> None:
    shakespeare = choose_recipe(MEGABYTE, TWO_MINUTES)
    assert (shakespeare.num_layers, shakespeare.hidden_size, shakespeare.dropout) == (1, 384, 0.2)
    assert (shakespeare.learning_rate, shakespeare.beta1, shakespeare.weight_decay) == (14e-3, 0.5, 0.1)
    shipped = choose_recipe(225_000, TWO_MINUTES)
    assert (shipped.num_layers, shipped.hidden_size, shipped.dropout) == (1, 384, 0.6)
    assert (shipped.learning_rate, shipped.beta1, shipped.weight_decay) == (14e-3, 0.5, 0.1)
    assert (shakespeare.weight_drop, shipped.weight_drop) == (0.1, 0.18)
    in_subwords = choose_recipe(103_000, TWO_MINUTES / 2, model_vocab_size=786)
    assert (in_subwords.dropout, in_subwords.weight_drop, in_subwords.tie_weights) == (0.6, 0.4, True)
    assert (in_subwords.input_dropout, in_subwords.embedding_dropout) == (0.18, 0.1)


def test_more_work_pays_for_a_larger_network_until_the_text_cannot_fill_it() -> None:
    works = [10**power for power in range(4, 12)]
    for tokens in (1_000, 100_000, 10**6, 10**9):
        networks = [choose_recipe(tokens, work) for work in works]
        sizes = [(recipe.num_layers, recipe.hidden_size) for recipe in networks]
        assert sizes == sorted(sizes)
    assert sizes[0] != sizes[-1]
    small, large = choose_recipe(1_000, 1e12), choose_recipe(10**9, 1e12)
    assert small.hidden_size < large.hidden_size


def test_a_given_network_size_gets_a_learning_rate_and_dropout_that_suit_it() -> None:
    chosen = choose_recipe(MEGABYTE, TWO_MINUTES)
    assert choose_recipe(MEGABYTE, TWO_MINUTES, num_layers=1, hidden_size=384) == chosen
    wide = choose_recipe(MEGABYTE, 10 * TWO_MINUTES, num_layers=1, hidden_size=768)
    narrow = choose_recipe(MEGABYTE, 10 * TWO_MINUTES, num_layers=1, hidden_size=192)
    assert wide.learning_rate == narrow.learning_rate / 2
    assert wide.dropout > narrow.dropout
    deep = choose_recipe(MEGABYTE, TWO_MINUTES, num_layers=3)
    assert (deep.num_layers, deep.hidden_size) == (3, 384)
    assert deep.beta1 == 0.5
    pressed = choose_recipe(MEGABYTE, 10 * TWO_MINUTES, num_layers=3)
    assert pressed.learning_rate < deep.learning_rate


def test_with_a_budget_in_steps_the_pressure_follows_from_the_tokens_read() -> None:
    for layers in (1, 2):
        given = {"num_layers": layers, "hidden_size": 384}
        by_steps = choose_recipe(MEGABYTE, TWO_MINUTES, tokens_read=TWO_MINUTES, **given)
        cost = Network.of_size(layers, 384).cost
        assert by_steps == choose_recipe(MEGABYTE, TWO_MINUTES * cost, **given)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_cost_of_a_size_is_near_the_measured_one(network: Network) -> None:
    assert Network.of_size(network.num_layers, network.hidden_size).cost == pytest.approx(
        network.cost, rel=0.17
    )


def test_in_float32_a_wide_network_takes_more_work_and_no_other_one_does() -> None:
    def width(work: float, *, is_float32: bool) -> int:
        return choose_recipe(10**9, work, is_float32=is_float32).hidden_size

    assert (width(5e6, is_float32=False), width(5e6, is_float32=True)) == (384, 256)
    for work in (1e4, 2e6, 8e6, 1e8, 1e10):
        assert width(work, is_float32=False) == width(work, is_float32=True)


def test_reading_a_text_again_and_again_calls_for_more_dropout() -> None:
    recipes = [choose_recipe(tokens, TWO_MINUTES) for tokens in (10**8, 10**6, 500_000, 225_000, 150_000)]
    assert {(recipe.num_layers, recipe.hidden_size) for recipe in recipes} == {(1, 384)}
    for looser, tighter in itertools.pairwise(recipes):
        assert looser.dropout <= tighter.dropout
        assert looser.weight_drop <= tighter.weight_drop
    assert (recipes[0].dropout, recipes[0].weight_drop) == (0, 0)
    assert recipes[-1].dropout > recipes[1].dropout > 0


def test_weight_decay_falls_with_fewer_epochs_only_at_the_low_learning_rate() -> None:
    texts = (10**8, 10**6, 150_000)
    decays = {
        cell: [choose_recipe(tokens, TWO_MINUTES, cell=cell).weight_decay for tokens in texts]
        for cell in ("lstm", "gru", "rnn")
    }
    assert decays["lstm"] == 3 * [0.1]
    assert decays["gru"] == decays["rnn"] == sorted(decays["gru"])
    assert decays["gru"][0] < decays["gru"][1] == 0.1


def test_a_small_text_is_read_up_to_a_number_of_epochs() -> None:
    epochs = [max_epochs(characters) for characters in (0, 1_000, 10**5)]
    assert epochs == [MIN_CHARACTERS_READ, MIN_CHARACTERS_READ / 1_000, MIN_CHARACTERS_READ / 10**5]
    assert max_epochs(10**6) == max_epochs(10**9) == MAX_EPOCHS
    # Beyond that, more time changes the size alone: the pressure on a network of one size stays.
    minutes = choose_recipe(10**5, 1e8, characters=10**5)
    assert minutes == choose_recipe(10**5, 1e10, characters=10**5)
    assert minutes.epochs == max_epochs(10**5)
    # Epochs that are given stay as they are; a budget in steps has none.
    assert choose_recipe(10**5, 1e8, epochs=7, characters=10**5).epochs == 7
    assert choose_recipe(10**5, 1e8).epochs is None
    dropouts = [choose_recipe(10**5, 1e8, epochs=epochs).dropout for epochs in (10, 30, 1000, None)]
    assert dropouts == sorted(dropouts)
    assert dropouts[0] < dropouts[1] < dropouts[2]


@pytest.mark.parametrize("model_vocab_size", [1, 65, 800, 10**5])
@pytest.mark.parametrize("tokens", [2, 100, 10**5, 10**12])
@pytest.mark.parametrize("work", [1.0, 1e6, 1e15])
def test_every_text_and_budget_gets_settings_in_their_ranges(
    tokens: int, work: float, model_vocab_size: int
) -> None:
    recipe = choose_recipe(tokens, work, model_vocab_size=model_vocab_size)
    assert 0 <= recipe.dropout <= 0.7
    assert 0 <= recipe.embedding_dropout <= recipe.input_dropout + 0.05 <= 0.3
    assert 0 <= recipe.weight_drop <= 0.5
    assert 5e-4 <= recipe.learning_rate <= 2e-2
    assert 0 < recipe.weight_decay <= 0.2


def test_subwords_are_regularized_more_and_read_more_often() -> None:
    size = 100_000  # tokens
    characters, subwords = (choose_recipe(size, TWO_MINUTES, model_vocab_size=size) for size in (65, 800))
    shares = [(r.input_dropout, r.embedding_dropout, r.weight_drop) for r in (characters, subwords)]
    assert all(more > less for less, more in zip(*shares, strict=True))
    assert (characters.tie_weights, subwords.tie_weights) == (False, True)
    assert max_epochs(size, is_subwords=True) > max_epochs(size)
    # A plain RNN's first logits would be far too large.
    assert not choose_recipe(size, TWO_MINUTES, model_vocab_size=800, cell="rnn").tie_weights
    # A text that is read once is not memorised, whatever its tokens are.
    easy = choose_recipe(10**9, TWO_MINUTES, model_vocab_size=800)
    assert (easy.dropout, easy.input_dropout, easy.embedding_dropout, easy.weight_drop) == (0, 0, 0, 0)


def test_two_layers_get_the_settings_of_the_experiments_they_were_fitted_to() -> None:
    ten_minutes = choose_recipe(MEGABYTE, 5 * TWO_MINUTES, characters=MEGABYTE)
    assert (ten_minutes.num_layers, ten_minutes.hidden_size, ten_minutes.weight_drop) == (2, 384, 0)
    assert ten_minutes.dropout == pytest.approx(0.36, abs=0.02)
    assert ten_minutes.learning_rate == pytest.approx(11e-3, abs=3e-4)
    assert ten_minutes.beta1 == 0.5
    gru = choose_recipe(MEGABYTE, 5 * TWO_MINUTES, characters=MEGABYTE, cell="gru")
    assert gru.learning_rate == pytest.approx(3.9e-3, abs=2e-4)
    assert gru.beta1 == 0.9
    assert gru.dropout == pytest.approx(0.46, abs=0.02)


def test_only_an_lstm_gets_temporal_activation_regularization() -> None:
    penalties = {
        cell: choose_recipe(MEGABYTE, TWO_MINUTES, cell=cell).temporal_activation_penalty
        for cell in ("lstm", "gru", "rnn")
    }
    assert penalties == {"lstm": 1.0, "gru": 0.0, "rnn": 0.0}


def test_the_parameters_of_a_network_are_those_of_its_layers_that_read_characters() -> None:
    for network in NETWORKS:
        layers = Recurrent("lstm", TYPICAL_CHARACTERS, network.hidden_size, network.num_layers)
        matrices = sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)
        assert network.parameters == matrices


def test_a_text_is_never_far_smaller_than_its_network() -> None:
    for tokens in (60_000, 10**5, 10**6, 3 * 10**6):
        recipe = choose_recipe(tokens, 1e15)
        (network,) = (
            each
            for each in NETWORKS
            if (each.num_layers, each.hidden_size) == (recipe.num_layers, recipe.hidden_size)
        )
        assert network.parameters <= MAX_PARAMETERS_PER_TOKEN * tokens
        assert network.fits(tokens)


def test_two_layers_need_more_text_than_one() -> None:
    # Thirty minutes of tiny Shakespeare, where 512 units overfit. See RECIPE.md, "network size".
    half_an_hour = choose_recipe(MEGABYTE, 15 * TWO_MINUTES)
    assert (half_an_hour.num_layers, half_an_hour.hidden_size) == (2, 384)
    assert choose_recipe(3 * MEGABYTE, 15 * TWO_MINUTES).hidden_size == 512


def test_an_lstms_embedding_of_few_characters_is_as_wide_as_the_network() -> None:
    assert embedding_dim(65, 384, "lstm") == 384
    assert embedding_dim(65, 8, "lstm") == 8
    assert embedding_dim(65, 384, "gru") == 64
    assert embedding_dim(300, 384, "lstm") == 64
    assert embedding_dim(1024, 384, "lstm") == 256
    assert embedding_dim(1024, 128, "gru") == 128
    assert embedding_dim(1024, 384, "gru", is_tied=True) == 384
