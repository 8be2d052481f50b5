"""The words follow from the figures, in every direction."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.analysis.comparison.claims import faster, findings, in_nats, remarks, textbook_claims
from textgen.analysis.comparison.figures import Comparison
from textgen.analysis.comparison.interval import Interval
from textgen.analysis.comparison.plan import OWN_TRAINING

PARAMETERS = "A GRU has fewer parameters"
FASTER = "A GRU trains faster"
FASTER_OURS = "A GRU trains faster at the same size, textgen's layers alone"
FASTER_TORCH = "A GRU trains faster at the same size, torch's own nn.GRU and nn.LSTM alone"
SOONER = "A GRU reaches a given loss sooner"
QUALITY = "A GRU predicts as well as an LSTM"


def said_of(comparison: Comparison, text: str) -> tuple[str, str]:
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
        ((1.59, 1.60, 1.61), "not supported", "the GRU predicts worse"),
        ((1.39, 1.40, 1.41), "not supported", "the GRU predicts better"),
        ((1.60, 1.61), "cannot be told", "+0.1050 nats/token, two seeds: no interval"),
        ((1.40,), "cannot be told", "-0.1000 nats/token, one seed: no interval"),
    ],
)
def test_quality_is_judged_by_the_paired_interval(
    make_comparison: Any, losses: tuple[float, ...], verdict: str, words: str
) -> None:
    comparison = make_comparison(gru=losses, gru_speed=[1000] * len(losses))
    found, because = said_of(comparison, QUALITY)
    assert found == verdict
    assert words in because


@pytest.mark.parametrize(
    ("speeds", "verdict", "words"),
    [
        ((1100, 1200, 1300), "supported", "1.20 (1.10 to 1.30) x"),
        ((700, 800, 900), "not supported", "0.80 (0.70 to 0.90) x"),
        ((900, 1000, 1100), "within noise", "1.00 (0.90 to 1.10) x"),
        ((1100, 1300), "supported", "1.20 (1.10 to 1.30) x"),
        ((1300,), "cannot be told", "1.30 x the LSTM's tokens/s; one seed"),
    ],
)
def test_speed_in_training_is_judged_by_its_range_over_the_seeds(
    make_comparison: Any, speeds: tuple[float, ...], verdict: str, words: str
) -> None:
    found, because = said_of(make_comparison(gru=[1.5] * len(speeds), gru_speed=speeds), FASTER)
    assert found == verdict
    assert words in because


def test_torchs_layers_and_ours_are_judged_each_on_its_own(make_comparison: Any) -> None:
    comparison = make_comparison(own=(1.5, 1.6, 1.7, 1.6), torch=(0.5, 0.6, 0.7, 0.6))
    assert said_of(comparison, FASTER_OURS)[0] == "supported"
    verdict, because = said_of(comparison, FASTER_TORCH)
    assert verdict == "not supported"
    assert because.startswith("0.60 x the LSTM's speed (middle half of 4 rounds: ")
    assert "1 x 384 units" in because


def test_one_disturbed_round_does_not_decide(make_comparison: Any) -> None:
    comparison = make_comparison(own=(1.5, 1.6, 0.1, 1.6, 1.5, 1.7, 1.6, 1.5))
    assert said_of(comparison, FASTER_OURS)[0] == "supported"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 2, "supported"),
        (0.5, 0.99, "not supported"),
        (0.9, 1.1, "within noise"),
        (1, 2, "within noise"),
    ],
)
def test_faster_is_what_lies_above_one_altogether(low: float, high: float, verdict: str) -> None:
    assert faster(low, high) == verdict


def test_fewer_parameters_are_counted_at_the_lstms_size_whatever_is_matched(make_comparison: Any) -> None:
    verdict, because = said_of(make_comparison(), PARAMETERS)
    assert verdict == "supported"
    # V E + G H (E + H + 2) + V H + V, with V 65, E 64, H 384
    assert because == "With 1 x 384 units, as the LSTM has, 547,585 against 720,385 (0.76 x)."
    assert "both have about as many" in said_of(make_comparison(match="parameters"), PARAMETERS)[1]


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ((1.19, 1.20, 1.21), "supported"),
        ((1.79, 1.80, 1.81), "not supported"),
        ((1.2, 1.8, 1.5), "within noise"),
        ((1.2, 1.2), "cannot be told"),
    ],
)
def test_sooner_is_judged_by_the_minutes_to_a_common_loss(
    make_comparison: Any, losses: tuple[float, ...], verdict: str
) -> None:
    comparison = make_comparison(gru=losses, gru_speed=[1000] * len(losses))
    found, because = said_of(comparison, SOONER)
    assert found == verdict
    assert f"{comparison.common_loss:.4f} nats/token" in because


def test_without_both_cells_nothing_is_said_of_them(make_comparison: Any) -> None:
    assert textbook_claims(make_comparison(cells=("lstm", "rnn"))) == []


def test_each_cell_is_held_against_the_first(make_comparison: Any) -> None:
    found = findings(make_comparison(gru=(1.39, 1.40, 1.41), cells=("gru", "rnn", "lstm")))
    assert [text.split(":")[0] for text in found] == ["RNN against GRU", "LSTM against GRU"]
    assert "it predicts worse (+0.5000 ± 0.0248 nats/token over 3 seeds)" in found[0]
    assert "0.80 x the characters/s in writing" in found[0]


def test_a_difference_within_noise_is_called_so(make_comparison: Any) -> None:
    (text,) = findings(make_comparison(gru=(1.4, 1.5, 1.6)))
    assert "the difference in loss is within noise (+0.0000 ± 0.2484 nats/token over 3 seeds)" in text
    assert in_nats(Interval(-0.25, None), 2) == "-0.2500 nats/token, two seeds: no interval"


def test_a_busy_machine_and_early_ends_are_remarked(make_comparison: Any) -> None:
    assert remarks(make_comparison()) == []
    (busy,) = remarks(make_comparison(gru_speed=(1000, 1300, 1000)))
    assert busy.startswith("GRU: the fastest seed trained at 1,300 tokens/s, the slowest at 1,000")
    (early,) = remarks(make_comparison(gru=[1.5], gru_speed=[1000], minutes=1.0))
    assert early.endswith(": lstm-seed1, gru-seed1.")


def test_all_that_each_cell_had_for_itself_is_remarked(make_comparison: Any) -> None:
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
    expected = [f"Each cell had its own {name}: LSTM {lstm[setting][1]}." for setting, name in names.items()]
    assert remarks(comparison) == expected
