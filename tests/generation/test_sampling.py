"""Each step from logits to a token, against known values or a slow, readable twin."""

import dataclasses
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from textgen.errors import RunError
from textgen.generation.sampling import (
    _choose_each,
    _choose_one,
    choose,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    likeliest,
    log_probabilities,
    penalize,
    sample_token,
)
from textgen.settings.config import SampleConfig

PLAIN = SampleConfig(temperature=1.0)


def logits_of(*probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.array([probabilities]))


def kept(filtered):
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in filtered]


def random_logits(seed, batch_size=4, vocab_size=30):
    """Rounded, so that there are ties."""
    return np.random.default_rng(seed).normal(scale=2.0, size=(batch_size, vocab_size)).round(1)


# ---- filters against their definitions


def slow_top_k(row, k):
    likeliest_first = sorted(range(len(row)), key=lambda i: (-row[i], i))
    return sorted(likeliest_first[:k])


def slow_top_p(row, p):
    weights = [math.exp(value) for value in row]
    chosen, held = [], 0.0
    for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
        chosen.append(i)
        held += weights[i]
        if held >= p * sum(weights):
            break
    return sorted(chosen)


def slow_min_p(row, p):
    weights = [math.exp(value) for value in row]
    return [i for i, weight in enumerate(weights) if weight >= p * max(weights) * (1 - 1e-12)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 7, 29, 30, 1000])
def test_top_k_keeps_exactly_the_k_likeliest(k, seed):
    logits = random_logits(seed)
    assert kept(keep_top_k(logits, k)) == [slow_top_k(row, k) for row in logits]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_that_hold_p(p, seed):
    logits = random_logits(seed)
    expected = [slow_top_p(row, p) if p < 1 else list(range(len(row))) for row in logits]
    assert kept(keep_top_p(logits, p)) == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(p, seed):
    logits = random_logits(seed)
    assert kept(keep_min_p(logits, p)) == [slow_min_p(row, p) for row in logits]


def test_filters_on_known_values():
    logits = logits_of(0.5, 0.25, 0.15, 0.1)
    assert kept(keep_top_k(logits, 2)) == [[0, 1]]
    assert kept(keep_top_p(logits, 0.7)) == [[0, 1]]
    assert kept(keep_top_p(logits, 0.8)) == [[0, 1, 2]]
    assert kept(keep_min_p(logits, 0.4)) == [[0, 1]]
    assert kept(keep_min_p(logits, 0.25)) == [[0, 1, 2]]


def test_of_equals_at_the_border_the_smallest_ids_stay():
    logits = np.zeros((1, 4))
    assert kept(keep_top_k(logits, 2)) == [[0, 1]]
    assert kept(keep_top_p(logits, 0.5)) == [[0, 1]]
    assert kept(keep_min_p(logits, 1.0)) == [[0, 1, 2, 3]]


def test_filters_leave_the_values_that_they_keep():
    logits = random_logits(0)
    for filtered in (keep_top_k(logits, 5), keep_top_p(logits, 0.5), keep_min_p(logits, 0.5)):
        stays = np.isfinite(filtered)
        assert not stays.all()
        np.testing.assert_array_equal(filtered[stays], logits[stays])


def test_each_filter_looks_at_what_the_one_before_it_left():
    # Of the two that top-k leaves, the first holds 0.5 / 0.9 of the probability; without top-k, only 0.5.
    logits = logits_of(0.5, 0.4, 0.05, 0.05)
    both = SampleConfig(temperature=1.0, top_k=2, top_p=0.52)
    assert drawable(logits, both) == {0}
    assert drawable(logits, SampleConfig(temperature=1.0, top_p=0.52)) == {0, 1}


def test_temperature_comes_before_the_filters():
    logits = logits_of(0.6, 0.3, 0.1)  # at temperature 0.5: 0.78, 0.20, 0.02
    assert drawable(logits, SampleConfig(temperature=0.5, top_p=0.75)) == {0}
    assert drawable(logits, SampleConfig(temperature=1.0, top_p=0.75)) == {0, 1}
    assert drawable(logits, SampleConfig(temperature=0.5, min_p=0.3)) == {0}
    assert drawable(logits, SampleConfig(temperature=1.0, min_p=0.3)) == {0, 1}


def drawable(logits, config, steps=200):
    """All ids that any uniform draws."""
    return {int(choose(logits, config, np.array([step / steps]))[0]) for step in range(steps)}


# ---- repetition penalty


@given(
    scores=arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(1, 12)), elements=st.integers(-3, 0)),
    number=st.integers(1, 14),
    seed=st.integers(0, 9),
)
def test_the_likeliest_tokens_are_the_first_of_all_sorted_by_score_and_token_id(scores, number, seed):
    token_ids = np.random.default_rng(seed).permutation(40)[: scores.shape[1]]
    expected = [
        sorted(zip(token_ids.tolist(), row, strict=True), key=lambda pair: (-pair[1], pair[0]))[:number]
        for row in scores.tolist()
    ]
    assert likeliest(scores, number, token_ids) == expected


def test_the_penalty_divides_positive_logits_and_multiplies_negative_ones():
    logits = np.array([[2.0, -2.0, 0.0, 3.0]])
    occurred = np.array([[True, True, True, False]])
    np.testing.assert_allclose(penalize(logits, occurred, 1.25), [[1.6, -2.5, 0.0, 3.0]])


def test_the_penalty_is_for_each_rows_own_tokens():
    logits = np.array([[2.0, 1.9], [2.0, 1.9]], dtype=np.float32)
    occurred = np.array([[True, False], [False, False]])
    config = SampleConfig(temperature=0)
    penalized = penalize(logits, occurred, 1.5)
    assert choose(penalized, config, np.zeros(2)).tolist() == [1, 0]
    assert choose(logits, config, np.zeros(2)).tolist() == [0, 0]


def test_the_penalty_comes_before_the_temperature():
    logits = np.array([[1.0, 0.6]])
    occurred = np.array([[True, False]])
    config = SampleConfig(temperature=0.5)
    penalized = penalize(logits, occurred, 2.0)
    probability = 1 / (1 + math.exp((0.6 - 0.5) / 0.5))  # of token 0
    assert choose(penalized, config, np.array([probability - 1e-9])) == [0]
    assert choose(penalized, config, np.array([probability + 1e-9])) == [1]


# ---- the draw


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_are_distributed_as_the_softmax(temperature):
    logits = np.random.default_rng(3).normal(size=(1, 8)).astype(np.float32)
    expected = np.exp(logits[0].astype(float) / temperature)
    expected /= expected.sum()
    draws = 40_000
    rows = np.repeat(logits, draws, axis=0)
    ids = sample_token(rows, SampleConfig(temperature=temperature), np.random.default_rng(11))
    counts = np.bincount(ids, minlength=8)
    chi_square = ((counts - draws * expected) ** 2 / (draws * expected)).sum()
    assert chi_square < 24.3  # 7 degrees of freedom: exceeded once in 1000


def test_each_token_owns_a_piece_as_long_as_its_probability():
    logits = logits_of(0.25, 0.0, 0.5, 0.25)
    uniforms = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, np.nextafter(1.0, 0.0)])
    ids = choose(np.repeat(logits, 6, axis=0), PLAIN, uniforms)
    assert ids.tolist() == [0, 0, 2, 2, 3, 3]


def test_a_token_of_probability_0_is_never_drawn_at_either_end():
    logits = logits_of(0.0, 0.3, 0.7, 0.0)
    uniforms = np.array([0.0, np.nextafter(1.0, 0.0)])
    assert choose(np.repeat(logits, 2, axis=0), PLAIN, uniforms).tolist() == [1, 2]


def test_one_uniform_number_is_drawn_per_row():
    logits = random_logits(0, batch_size=3)
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    sample_token(logits, PLAIN, rng)
    same.random(3)
    assert rng.random() == same.random()


def test_the_same_generator_draws_the_same():
    logits = random_logits(0, batch_size=50)
    first, again = (sample_token(logits, PLAIN, np.random.default_rng(5)) for _ in range(2))
    other = sample_token(logits, PLAIN, np.random.default_rng(6))
    assert first.tolist() == again.tolist() != other.tolist()


def test_rows_are_drawn_as_if_they_were_alone():
    logits, uniforms = random_logits(0, batch_size=20), np.random.default_rng(0).random(20)
    config = SampleConfig(temperature=0.7, top_k=20, top_p=0.95, min_p=0.01)
    alone = [int(choose(logits[i : i + 1], config, uniforms[i : i + 1])[0]) for i in range(20)]
    assert choose(logits, config, uniforms).tolist() == alone


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.2}, {"top_k": 2}, {"top_p": 0.3}, {"min_p": 0.5}],
    ids=str,
)
def test_every_setting_changes_what_is_drawn(change):
    logits, uniforms = random_logits(1, batch_size=200), np.random.default_rng(0).random(200)
    plain = choose(logits, PLAIN, uniforms)
    assert (choose(logits, dataclasses.replace(PLAIN, **change), uniforms) != plain).any()


def test_the_logits_given_are_not_changed():
    logits = random_logits(0)
    before = logits.copy()
    choose(logits, SampleConfig(temperature=0.5, top_k=3, top_p=0.5, min_p=0.1), np.full(4, 0.5))
    log_probabilities(logits)
    np.testing.assert_array_equal(logits, before)


# ---- the ends of the range


def test_temperature_0_takes_the_first_of_the_most_likely():
    logits = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    assert choose(logits, SampleConfig(temperature=0), np.array([0.99, 0.99])).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [1e-30, 1e-300, 5e-324])
@pytest.mark.parametrize("uniform", [0.0, 0.5, float(np.nextafter(1.0, 0.0))])
def test_a_tiny_temperature_takes_the_most_likely(temperature, uniform):
    logits = np.array([[-3e38, 3e38, 2.999e38, 0.0], [0.0, 1e-3, -1e-3, 0.0]], dtype=np.float32)
    assert choose(logits, SampleConfig(temperature=temperature), np.full(2, uniform)).tolist() == [1, 1]


def test_a_tiny_temperature_shares_between_equals():
    logits = np.array([[2.0, 7.0, 7.0]], dtype=np.float32)
    config = SampleConfig(temperature=1e-300)
    assert choose(logits, config, np.array([0.49])) == [1]
    assert choose(logits, config, np.array([0.51])) == [2]


def test_a_huge_temperature_draws_evenly():
    logits = np.array([[100.0, -100.0]], dtype=np.float32)
    config = SampleConfig(temperature=1e300)
    assert [int(choose(logits, config, np.array([u]))[0]) for u in (0.49, 0.51)] == [0, 1]


def test_infinite_logits_share_all_the_probability():
    logits = np.array([[np.inf, 1e30, np.inf, -np.inf]], dtype=np.float32)
    assert drawable(logits, PLAIN) == {0, 2}
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), [[0.5, 0, 0.5, 0]])


def test_very_large_logits_neither_overflow_nor_vanish():
    logits = np.array([[88_000.0, 88_001.0], [-88_000.0, -88_001.0]], dtype=np.float32)
    low, high = 1 / (1 + math.e), math.e / (1 + math.e)
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), [[low, high], [high, low]])


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("row", [[1.0, math.nan], [math.nan, math.inf], [-math.inf, -math.inf]], ids=str)
def test_a_row_that_is_no_distribution_is_refused(row, temperature):
    logits = np.array([[0.0, 1.0], row])
    with pytest.raises(RunError, match="damaged"):
        choose(logits, SampleConfig(temperature=temperature), np.array([0.5, 0.5]))
    with pytest.raises(RunError, match="damaged"):
        log_probabilities(logits)


def test_log_probabilities_are_the_log_of_the_softmax():
    logits = random_logits(0).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(
        log_probabilities(logits), np.log(weights / weights.sum(axis=1, keepdims=True))
    )


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [1, 2])
def test_the_largest_penalty_leaves_what_has_not_occurred_and_warns_of_nothing(rows, temperature):
    config = SampleConfig(temperature=temperature)

    def draw(uniform, occurred):
        penalized = penalize(logits, occurred, sys.float_info.max)
        with np.errstate(over="ignore"):  # as for all texts that have processors
            return choose(penalized, config, np.full(rows, uniform)).tolist()

    logits = np.repeat(np.array([[-1.5, -3.0, -1.0]], dtype=np.float32), rows, axis=0)
    occurred = np.repeat([[True, False, True]], rows, axis=0)
    assert draw(0.99, occurred) == [1] * rows
    assert draw(0.01, np.ones_like(occurred)) in ([0] * rows, [2] * rows)
    logits[:, 2] = -np.inf
    logits -= 1.0  # now no penalized one is finite
    assert draw(0.01, np.ones_like(occurred)) == [0] * rows


# ---- one row, the fast twin

SETTINGS = [
    {},
    {"temperature": 0},
    {"temperature": 0.8},
    {"top_k": 1},
    {"top_k": 3},
    {"top_k": 40},
    {"top_p": 0.0},
    {"top_p": 0.9},
    {"top_p": 1.0},
    {"min_p": 0.0},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 20, "top_p": 0.95, "min_p": 0.05},
    {"top_p": 0.8, "min_p": 0.3},
    {"top_k": 20, "min_p": 1.0},
]


@pytest.mark.parametrize("vocab_size", [1, 2, 30, 400])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_row_is_drawn_as_rows_are(settings, vocab_size):
    config = SampleConfig(**({"temperature": 1.0} | settings))
    logits = random_logits(4, batch_size=300, vocab_size=vocab_size).astype(np.float32)
    uniforms = np.random.default_rng(1).random(300)
    uniforms[:2] = 0.0, np.nextafter(1.0, 0.0)
    one_by_one = [_choose_one(row, config, uniforms[i : i + 1]) for i, row in enumerate(logits)]
    assert all(ids.shape == (1,) for ids in one_by_one)
    assert [int(ids[0]) for ids in one_by_one] == _choose_each(logits, config, uniforms).tolist()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_row_never_gives_a_token_of_probability_0(settings):
    config = SampleConfig(**({"temperature": 1.0} | settings))
    logits = logits_of(0.0, 0.3, 0.0, 0.7, 0.0)
    for uniform in (0.0, 0.5, float(np.nextafter(1.0, 0.0))):
        assert _choose_one(logits[0], config, np.array([uniform])) in ([1], [3])


@pytest.mark.parametrize(
    "row", [[601.0, 0.0], [-700.0, -601.0], [math.inf, 0.0], [math.nan, 1.0], [-math.inf, -math.inf]], ids=str
)
def test_what_exp_cannot_bear_is_left_to_the_careful_twin(row):
    assert _choose_one(np.array(row), PLAIN, np.array([0.5])) is None
