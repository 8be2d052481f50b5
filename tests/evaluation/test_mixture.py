from __future__ import annotations

import math

import numpy as np
import pytest

from textgen.evaluation.mixture import FIXED_SHARE, Mixture


def test_the_mixture_of_equal_predictions_is_that_prediction() -> None:
    nats = np.array([0.1, 2.0, 5.0])
    assert Mixture().total_nats(nats, nats) == pytest.approx(nats.sum())


def test_several_predictors_cost_no_more_than_the_best_of_them_in_each_part() -> None:
    parts = np.eye(5).repeat(200, axis=1)  # (5, 1000): one of them is good in each part
    costs = 3.0 * (1 - parts) + 0.5 * parts
    assert Mixture().total_nats(*costs) < 1000 * 0.5 + 50


def test_a_token_costs_the_weighted_mean_of_the_probabilities() -> None:
    mixture = Mixture()
    probabilities = np.array([[0.9, 0.2], [0.3, 0.6]])  # per predictor and token
    first = 0.5 * 0.9 + 0.5 * 0.3
    weight = 0.45 / first * (1 - FIXED_SHARE) + FIXED_SHARE / 2
    second = weight * 0.2 + (1 - weight) * 0.6
    total = mixture.total_nats(*-np.log(probabilities))
    assert total == pytest.approx(-math.log(first) - math.log(second))


def test_reading_in_pieces_gives_the_same_total() -> None:
    first, second = np.random.default_rng(0).exponential(2.0, (2, 50))
    pieces = Mixture()
    in_pieces = sum(pieces.total_nats(first[i : i + 7], second[i : i + 7]) for i in range(0, 50, 7))
    assert in_pieces == pytest.approx(Mixture().total_nats(first, second))


def test_the_mixture_follows_the_better_predictor_even_when_that_changes() -> None:
    good, bad = np.full(500, 0.5), np.full(500, 3.0)
    first, second = np.concatenate([good, bad, good]), np.concatenate([bad, good, bad])
    assert Mixture().total_nats(first, second) < 1500 * 0.5 + 40


def test_nats_beyond_the_range_of_exp_are_handled() -> None:
    assert Mixture().total_nats(np.array([2000.0]), np.array([3000.0])) == pytest.approx(2000 + math.log(2))
