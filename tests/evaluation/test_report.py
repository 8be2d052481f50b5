"""Every figure has the unit that its name says."""

from __future__ import annotations

import math

import pytest

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.text.documents import TextSize

# 16 tokens of 1 nat each, over 8 characters, 10 bytes, 2 words.
REPORT = Report(Loss(16.0, 16, 3), TextSize(characters=8, bytes=10, words=2, documents=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nats_per_token", 1.0),
        ("bits_per_character", 2 / math.log(2)),
        ("bits_per_byte", 1.6 / math.log(2)),
        ("perplexity_per_token", math.e),
        ("perplexity_per_word", math.exp(8)),
        ("tokens", 16),
        ("unseen_tokens", 3),
        ("characters", 8),
        ("bytes", 10),
        ("words", 2),
    ],
)
def test_each_figure_has_the_unit_in_its_name(name: str, value: float) -> None:
    assert REPORT.as_dict()[name] == pytest.approx(value)


def test_a_text_without_words_has_an_infinite_perplexity_per_word() -> None:
    report = Report(Loss(16.0, 16, 0), TextSize(characters=8, bytes=8, words=0, documents=1))
    assert report.perplexity_per_word == math.inf


def test_every_printed_unit_is_named() -> None:
    units = ("nats/token", "bits/character", "bits/byte", "perplexity per token", "characters")
    assert all(any(unit in line for line in REPORT.lines()) for unit in units)
