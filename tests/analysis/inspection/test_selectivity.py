"""Units that are made to follow a feature are found."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.analysis.inspection.selectivity import CONTEXTS, select, strongest

LENGTH = 2000


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"quotes": (rng.random(LENGTH) < 0.2) * 1.0, "position": np.arange(LENGTH) % 60 * 1.0}


def memory_of(*units: np.ndarray) -> np.ndarray:
    return np.stack(units, axis=1)[None].astype(np.float32)


def test_a_unit_follows_the_feature_that_it_copies_and_the_share_is_what_noise_leaves(
    features: dict[str, np.ndarray],
) -> None:
    rng = np.random.default_rng(1)
    position, quotes = features["position"], features["quotes"]
    noisy = quotes + rng.normal(0, quotes.std(), LENGTH)  # half of its variance is the feature
    found = select(memory_of(5 * position - 100, -quotes, noisy, rng.normal(size=LENGTH)), features)
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
    assert select(memory_of(unit), features).share[0, 0] == pytest.approx(expected, rel=1e-5)


def test_units_of_all_layers_keep_their_places(features: dict[str, np.ndarray]) -> None:
    memory = np.random.default_rng(3).normal(size=(3, LENGTH, 4)).astype(np.float32)
    memory[2, :, 1] = features["quotes"]
    found = select(memory, features)
    assert found.ranking[0] == (2, 1)
    assert sorted(found.ranking) == [(layer, unit) for layer in range(3) for unit in range(4)]


def test_a_unit_that_never_moves_follows_nothing(features: dict[str, np.ndarray]) -> None:
    found = select(memory_of(np.full(LENGTH, 0.1), np.zeros(LENGTH)), features)
    assert found.share.tolist() == [[0, 0]]
    assert found.name(0, 0) == found.name(0, 1) == "nothing"


def test_without_features_nothing_is_followed() -> None:
    found = select(memory_of(np.arange(10.0)), {})
    assert (found.names, found.name(0, 0), found.ranking) == ((), "nothing", [(0, 0)])


def test_the_strongest_places_lie_apart_the_highest_first() -> None:
    series = np.zeros(200)
    series[50:60] = 5 + np.arange(10)  # one place, not ten
    series[100], series[150] = 20, 3
    places = strongest(series)
    assert places[:3] == [100, 59, 150]
    assert len(places) == CONTEXTS
    assert strongest(np.array([1.0])) == [0]
