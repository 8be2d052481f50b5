"""Findings, claims and caveats follow from the figures, in every direction."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from textgen.analysis.comparison.claims import faster, findings, in_nats, remarks, textbook_claims
from textgen.analysis.comparison.figures import Comparison
from textgen.analysis.comparison.interval import Interval
from textgen.analysis.comparison.plan import OWN_TRAINING

PARAMETERS = "A GRU has fewer parameters"
FASTER = "A GRU trains faster"
FASTER_OURS = "A GRU trains faster at the same size, textgen's layers only"
FASTER_TORCH = "A GRU trains faster at the same size, PyTorch's nn.GRU and nn.LSTM only"
SOONER = "A GRU reaches a given loss sooner"
QUALITY = "A GRU predicts as well as an LSTM"


def verdict_on(comparison: Comparison, text: str) -> tuple[str, str]:
    (claim,) = [claim for claim in textbook_claims(comparison) if claim.text == text]
    return claim.verdict, claim.because


@pytest.mark.parametrize(
    ("losses", "verdict", "words"),
    [
        (
            (1.50, 1.52, 1.48),
            "within noise",
            "+0.0000 ± 0.0497 nats/token over 3 seeds. No difference is shown",
        ),
        ((1.52, 1.50, 1.54), "within noise", "one of up to 0.0697 is not ruled out"),
        ((1.59, 1.60, 1.61), "not supported", "the GRU's loss is higher"),
        ((1.39, 1.40, 1.41), "not supported", "the GRU's loss is lower"),
        ((1.60, 1.61), "too few seeds", "+0.1050 nats/token (two seeds, no interval)"),
        ((1.40,), "too few seeds", "-0.1000 nats/token (one seed, no interval)"),
    ],
)
def test_quality_is_compared_by_the_paired_interval(
    make_comparison: Any, losses: tuple[float, ...], verdict: str, words: str
) -> None:
    comparison = make_comparison(gru=losses, gru_speed=[1000] * len(losses))
    found, because = verdict_on(comparison, QUALITY)
    assert found == verdict
    assert words in because


@pytest.mark.parametrize(
    ("speeds", "verdict", "words"),
    [
        ((1100, 1200, 1300), "supported", "1.20x (1.10x to 1.30x)"),
        ((700, 800, 900), "not supported", "0.80x (0.70x to 0.90x)"),
        ((900, 1000, 1100), "within noise", "1.00x (0.90x to 1.10x)"),
        ((1100, 1300), "supported", "1.20x (1.10x to 1.30x)"),
        ((1300,), "too few seeds", "1.30x the LSTM's tokens/s; one seed"),
    ],
)
def test_training_speed_is_compared_by_its_range_over_the_seeds(
    make_comparison: Any, speeds: tuple[float, ...], verdict: str, words: str
) -> None:
    found, because = verdict_on(make_comparison(gru=[1.5] * len(speeds), gru_speed=speeds), FASTER)
    assert found == verdict
    assert words in because


def test_textgens_and_pytorchs_layers_have_separate_verdicts(make_comparison: Any) -> None:
    comparison = make_comparison(own=(1.5, 1.6, 1.7, 1.6), torch=(0.5, 0.6, 0.7, 0.6))
    assert verdict_on(comparison, FASTER_OURS)[0] == "supported"
    verdict, because = verdict_on(comparison, FASTER_TORCH)
    assert verdict == "not supported"
    assert because.startswith("0.60x the LSTM's speed (middle half of 4 rounds: ")
    assert "1 x 384 units" in because


def test_one_disturbed_round_does_not_decide(make_comparison: Any) -> None:
    comparison = make_comparison(own=(1.5, 1.6, 0.1, 1.6, 1.5, 1.7, 1.6, 1.5))
    assert verdict_on(comparison, FASTER_OURS)[0] == "supported"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 2, "supported"),
        (0.5, 0.99, "not supported"),
        (0.9, 1.1, "within noise"),
        (1, 2, "within noise"),
    ],
)
def test_faster_requires_the_whole_range_to_lie_above_one(low: float, high: float, verdict: str) -> None:
    assert faster(low, high) == verdict


def test_parameters_are_counted_at_the_lstms_size_whatever_is_matched(make_comparison: Any) -> None:
    verdict, because = verdict_on(make_comparison(), PARAMETERS)
    assert verdict == "supported"
    # V E + G H (E + H + 2) + V H + V, with V 65, E 64, H 384
    assert (
        because == "With the LSTM's 1 x 384 units, a GRU has 547,585 parameters and an LSTM 720,385 (0.76x)."
    )
    assert (
        "the parameter counts are matched" in verdict_on(make_comparison(match="parameters"), PARAMETERS)[1]
    )


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ((1.19, 1.20, 1.21), "supported"),
        ((1.79, 1.80, 1.81), "not supported"),
        ((1.2, 1.8, 1.5), "within noise"),
        ((1.2, 1.2), "too few seeds"),
    ],
)
def test_the_verdict_on_sooner_is_by_the_minutes_to_the_common_loss(
    make_comparison: Any, losses: tuple[float, ...], verdict: str
) -> None:
    comparison = make_comparison(gru=losses, gru_speed=[1000] * len(losses))
    found, because = verdict_on(comparison, SOONER)
    assert found == verdict
    assert f"{comparison.common_loss:.4f} nats/token" in because


def test_there_are_no_claims_unless_both_cells_were_compared(make_comparison: Any) -> None:
    assert textbook_claims(make_comparison(cells=("lstm", "rnn"))) == []


@pytest.mark.parametrize(
    ("losses", "verdict", "words"),
    [
        ((1.39, 1.40, 1.41), "supported", "GRU minus n-grams: -0.1000 ± 0.0248 nats/token over 3 seeds."),
        ((1.59, 1.60, 1.61), "not supported", "+0.1000 ± 0.0248"),
        ((1.4, 1.5, 1.6), "within noise", "+0.0000 ± 0.2484"),
        (
            (1.4, 1.4),
            "too few seeds",
            "nats/token (two seeds, no interval); an interval needs 3 seeds.",
        ),
        ((1.4,), "too few seeds", "nats/token (one seed, no interval); an interval needs 3 seeds."),
    ],
)
def test_whether_a_network_is_better_than_n_grams_is_decided_by_the_interval_of_its_seeds(
    make_comparison: Any, losses: tuple[float, ...], verdict: str, words: str
) -> None:
    comparison = make_comparison(gru=losses, gru_speed=[1000] * len(losses), ngrams=1.5)
    found, because = verdict_on(comparison, "A GRU predicts better than n-grams")
    assert found == verdict
    assert words in because


def test_the_claims_on_networks_are_the_same_with_and_without_n_grams(make_comparison: Any) -> None:
    plain, counted = textbook_claims(make_comparison()), textbook_claims(make_comparison(ngrams=1.2))
    assert counted[: len(plain)] == plain
    added = [claim.text for claim in counted[len(plain) :]]
    assert added == ["An LSTM predicts better than n-grams", "A GRU predicts better than n-grams"]
    assert findings(make_comparison(ngrams=1.2))[:-1] == findings(make_comparison())
    assert remarks(make_comparison(ngrams=1.2)) == []


def test_one_network_is_compared_with_n_grams(make_comparison: Any) -> None:
    comparison = make_comparison(cells=("rnn",), ngrams=1.5)
    (claim,) = textbook_claims(comparison)
    assert (claim.text, claim.verdict) == ("A plain RNN predicts better than n-grams", "not supported")
    (text,) = findings(comparison)
    assert text.startswith("An n-gram model compared with RNN: its loss is lower (-0.4000 ± 0.0000")
    assert text.endswith("counted in 3.0 s, while a run was trained for 120 s.")


def test_what_limits_n_grams_and_what_a_run_left_unread_are_caveats(make_comparison: Any) -> None:
    comparison = make_comparison(ngrams=1.5)
    limited = dataclasses.replace(comparison.ngrams, remarks=("Only a tenth was counted.",))
    object.__setattr__(comparison.runs[1], "unread_tokens", 7)
    unread, counted = remarks(dataclasses.replace(comparison, ngrams=limited))
    assert unread == "Read only part of the validation text, for lack of time: gru-seed1."
    assert counted == "Only a tenth was counted."


def test_each_cell_is_compared_with_the_first(make_comparison: Any) -> None:
    found = findings(make_comparison(gru=(1.39, 1.40, 1.41), cells=("gru", "rnn", "lstm")))
    assert [text.split(":")[0] for text in found] == ["RNN compared with GRU", "LSTM compared with GRU"]
    assert "its loss is higher (+0.5000 ± 0.0248 nats/token over 3 seeds)" in found[0]
    assert "sampling speed 0.80x" in found[0]


def test_a_difference_within_noise_is_reported_as_such(make_comparison: Any) -> None:
    (text,) = findings(make_comparison(gru=(1.4, 1.5, 1.6)))
    assert "the difference in loss is within noise (+0.0000 ± 0.2484 nats/token over 3 seeds)" in text
    assert in_nats(Interval(-0.25, None), 2) == "-0.2500 nats/token (two seeds, no interval)"


def test_a_busy_machine_and_runs_that_ended_early_are_caveats(make_comparison: Any) -> None:
    assert remarks(make_comparison()) == []
    (busy,) = remarks(make_comparison(gru_speed=(1000, 1300, 1000)))
    assert busy.startswith(
        "GRU: training ran at 1,300 tokens/s with the fastest seed and 1,000 with the slowest"
    )
    (early,) = remarks(make_comparison(gru=[1.5], gru_speed=[1000], minutes=1.0))
    assert early.endswith(": lstm-seed1, gru-seed1.")


def test_every_setting_in_which_the_cells_differ_is_a_caveat(make_comparison: Any) -> None:
    lstm: dict[str, Any] = {
        "learning_rate": (0.014, "0.014, GRU 0.007"),
        "beta1": (0.5, "0.5, GRU 0.9"),
        "temporal_activation_penalty": (1.0, "1, GRU 0"),
        "threads": (1, "1, GRU 2"),
        "precision": ("bfloat16", "bfloat16, GRU float32"),
    }
    assert lstm.keys() == set(OWN_TRAINING)
    comparison = make_comparison()
    for run in comparison.runs[::2]:
        for setting, (value, _) in lstm.items():
            object.__setattr__(run, setting, value)
    names = {setting: setting.replace("_", " ") for setting in OWN_TRAINING}
    expected = [f"The cells differ in {name}: LSTM {lstm[setting][1]}." for setting, name in names.items()]
    assert remarks(comparison) == expected
