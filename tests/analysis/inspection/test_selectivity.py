"""Units that are constructed to track a feature are found."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.analysis.inspection.selectivity import MAX_PEAKS, measure_selectivity, peaks

LENGTH = 2000


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"quotes": (rng.random(LENGTH) < 0.2) * 1.0, "position": np.arange(LENGTH) % 60 * 1.0}


def state_of(*units: np.ndarray) -> np.ndarray:
    return np.stack(units, axis=1)[None].astype(np.float32)


def test_a_unit_tracks_the_feature_that_it_copies_and_noise_lowers_the_share(
    features: dict[str, np.ndarray],
) -> None:
    rng = np.random.default_rng(1)
    position, quotes = features["position"], features["quotes"]
    noisy = quotes + rng.normal(0, quotes.std(), LENGTH)  # half of its variance is the feature
    found = measure_selectivity(
        state_of(5 * position - 100, -quotes, noisy, rng.normal(size=LENGTH)), features
    )
    assert [found.name(0, unit) for unit in range(3)] == ["position", "quotes, inverted", "quotes"]
    assert found.share[0, :2] == pytest.approx([1, 1], abs=1e-6)
    assert found.share[0, 2] == pytest.approx(0.5, abs=0.05)
    assert found.share[0, 3] < 0.01
    assert found.ranking[2:] == [(0, 2), (0, 3)]


def test_the_share_is_the_adjusted_squared_correlation(features: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    unit = features["position"] / 20 + rng.normal(size=LENGTH)
    squared = np.corrcoef(unit, features["position"])[0, 1] ** 2
    expected = 1 - (1 - squared) * (LENGTH - 1) / (LENGTH - 2)
    assert measure_selectivity(state_of(unit), features).share[0, 0] == pytest.approx(expected, rel=1e-5)


def test_the_ranking_has_the_units_of_all_layers(features: dict[str, np.ndarray]) -> None:
    state = np.random.default_rng(3).normal(size=(3, LENGTH, 4)).astype(np.float32)
    state[2, :, 1] = features["quotes"]
    found = measure_selectivity(state, features)
    assert found.ranking[0] == (2, 1)
    assert sorted(found.ranking) == [(layer, unit) for layer in range(3) for unit in range(4)]


def test_a_constant_unit_tracks_nothing(features: dict[str, np.ndarray]) -> None:
    found = measure_selectivity(state_of(np.full(LENGTH, 0.1), np.zeros(LENGTH)), features)
    assert found.share.tolist() == [[0, 0]]
    assert found.name(0, 0) == found.name(0, 1) == "nothing"


def test_without_features_nothing_is_tracked() -> None:
    found = measure_selectivity(state_of(np.arange(10.0)), {})
    assert (found.names, found.name(0, 0), found.ranking) == ((), "nothing", [(0, 0)])


def test_peaks_are_some_tokens_apart_and_highest_first() -> None:
    series = np.zeros(200)
    series[50:60] = 5 + np.arange(10)  # one peak, not ten
    series[100], series[150] = 20, 3
    found = peaks(series)
    assert found[:3] == [100, 59, 150]
    assert len(found) == MAX_PEAKS
    assert peaks(np.array([1.0])) == [0]
