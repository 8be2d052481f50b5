"""Each feature on a text small enough to label by hand."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.analysis.inspection.features import FEATURES, MIN_OCCURRENCES, features_of

OF_NAME = {feature.name: feature.of_text for feature in FEATURES}

LABELLED = {
    "upper case": ("aBÉ1", "0110"),
    "digit": ("a1²b", "0110"),
    "vowel": ("aébY", "1100"),
    "white space": ("a \t\nb", "01110"),
    "line end": ("a\r\nb", "0010"),
    "punctuation": ("a,$中", "0110"),
    "start of a word": ("to be'3", "1001001"),
    "end of a word": ("to be'3", "0100101"),
    "position in word": ("to bee.", "1201230"),
    "capitalised word": ("To be OK", "11000011"),
    "start of a line": ("a\n\nbc", "10110"),
    "position in line": ("ab\ncd", "01201"),
    "line after a blank line": ("a\nb\n \nc\nd", "110000110"),
    "indentation": ("  a\nb \n \n", "222200000"),
    "inside the indentation": ("  a \n b\n", "11000100"),
    "inside quotes": ('a "b" c“d” "e\n\n"f', "00111001110111011"),
    "inside parentheses": ("a(b)c)d(", "01110001"),
    "inside brackets": ("[a]b", "1110"),
    "inside braces": ("a{b}", "0111"),
    "bracket depth": ("(a[b])c", "1122210"),
    "position in text": ("abc", "012"),
}


def test_every_feature_is_covered_here() -> None:
    assert LABELLED.keys() == OF_NAME.keys()


@pytest.mark.parametrize("name", LABELLED)
def test_a_feature_has_the_values_expected(name: str) -> None:
    text, labels = LABELLED[name]
    assert OF_NAME[name](text).tolist() == [float(label) for label in labels]


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("text", ["", "x", "\n", "\r\n\r\n", '"(', "é中\n\n"])
def test_a_feature_has_a_finite_value_for_every_character(name: str, text: str) -> None:
    values = OF_NAME[name](text)
    assert values.shape == (len(text),)
    assert np.isfinite(values).all()


def test_only_features_that_vary_are_kept() -> None:
    text = "ab " * MIN_OCCURRENCES
    found = features_of(text, np.arange(len(text)))
    assert {"white space", "vowel", "position in line"} <= found.keys()
    assert not {"upper case", "inside quotes", "digit"} & found.keys()
    one_less = "ab " * (MIN_OCCURRENCES - 1)
    assert "white space" not in features_of(one_less, np.arange(len(one_less)))


def test_the_values_are_those_at_the_given_characters() -> None:
    text = "ab " * 10
    spaces = np.repeat(np.flatnonzero([character == " " for character in text]), 2)
    assert features_of(text, spaces).keys() == {"position in line", "position in text"}
