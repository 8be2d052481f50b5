"""Figures of several runs: means, differences by seed, and when the common loss was reached."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.analysis.comparison.figures import Comparison, Evaluation, first_reached

CURVE = [Evaluation(10, 100, 1.0, 3.0), Evaluation(20, 200, 2.0, 2.0), Evaluation(40, 400, 4.0, 1.0)]


@pytest.mark.parametrize(
    ("loss", "moment"),
    [
        (3.5, Evaluation(10, 100, 1.0, 3.0)),  # below it already at the first evaluation
        (3.0, Evaluation(10, 100, 1.0, 3.0)),
        (2.5, Evaluation(15, 150, 1.5, 2.5)),
        (2.0, Evaluation(20, 200, 2.0, 2.0)),
        (1.25, Evaluation(35, 350, 3.5, 1.25)),
        (1.0, Evaluation(40, 400, 4.0, 1.0)),
    ],
)
def test_when_a_loss_was_reached_is_interpolated_between_evaluations(loss: float, moment: Evaluation) -> None:
    assert first_reached(CURVE, loss) == moment


def test_the_first_time_that_a_loss_was_reached_counts() -> None:
    rising = [*CURVE[:2], Evaluation(30, 300, 3.0, 2.9), CURVE[2]]
    assert first_reached(rising, 2.0).step == 20


def test_the_common_loss_is_the_worse_cells_and_the_better_cell_reached_it_earlier(
    make_comparison: Any,
) -> None:
    comparison: Comparison = make_comparison(gru=(1.8, 1.5, 1.2))
    assert comparison.common_nats_per_token == {1: 1.8, 2: 1.5, 3: 1.5}
    assert comparison.common_loss == pytest.approx(1.6)
    lstm, gru = comparison.cells
    # The LSTM falls from 2.25 at one minute to 1.5 at two, the third GRU from 2.1 to 1.2.
    assert lstm.minutes_to_common_loss == pytest.approx((1.6 + 2 + 2) / 3)
    assert gru.minutes_to_common_loss == pytest.approx((2 + 2 + 1 + 2 / 3) / 3)
    assert comparison.minutes_saved("gru", "lstm") == pytest.approx([-0.4, 0, 1 / 3])
    assert lstm.steps_to_common_loss == pytest.approx((80 + 100 + 100) / 3)


def test_cells_are_compared_seed_by_seed(make_comparison: Any) -> None:
    comparison: Comparison = make_comparison(gru=(1.6, 1.5, 1.2), gru_speed=(500, 1000, 2000))
    assert comparison.differences("gru", "lstm") == pytest.approx([0.1, 0.0, -0.3])
    assert comparison.speed_ratios("gru", "lstm") == [0.5, 1.0, 2.0]


def test_networks_are_compared_with_n_grams_by_seed_and_nothing_else_changes(make_comparison: Any) -> None:
    plain: Comparison = make_comparison(gru=(1.6, 1.5, 1.2))
    comparison: Comparison = make_comparison(gru=(1.6, 1.5, 1.2), ngrams=1.3)
    assert comparison.above_ngrams("gru") == pytest.approx([0.3, 0.2, -0.1])
    assert comparison.cells == plain.cells
    assert comparison.common_nats_per_token == plain.common_nats_per_token
    assert comparison.uneven_speeds() == {}


def test_speeds_are_uneven_when_the_seeds_of_a_cell_differ_by_more_than_a_fifth(make_comparison: Any) -> None:
    assert make_comparison(gru_speed=(1000, 1100, 1200)).uneven_speeds() == {}
    assert make_comparison(gru_speed=(1000, 1100, 1201)).uneven_speeds() == {"gru": (1000, 1201)}


def test_a_cell_has_means_over_its_seeds_and_from_three_seeds_on_an_interval(make_comparison: Any) -> None:
    gru = make_comparison(gru=(1.4, 1.5, 1.6), gru_speed=(900, 1000, 1400)).cells[1]
    assert gru.nats_per_token.mean == pytest.approx(1.5)
    assert gru.nats_per_token.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert gru.tokens_per_second == 1100
    assert make_comparison(gru=(1.4, 1.5), gru_speed=(1, 1)).cells[1].nats_per_token.half_width is None
