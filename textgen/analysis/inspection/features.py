"""Features of a text that a unit may track, such as being inside quotes or the position in the line.

Each is computed from the text alone and has a value for every character: 0 or 1, or a count.

Shapes: C characters, N tokens.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# A feature that is almost always or almost never present says nothing about a unit.
MIN_OCCURRENCES = 5

_OPENING = {"(": ")", "[": "]", "{": "}"}
_QUOTES = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", "‹": "›"}


@dataclass(frozen=True)
class Feature:
    """A feature: its name, its meaning in words, and a function from a text to its values (C,) float64."""

    name: str
    meaning: str
    of_text: Callable[[str], np.ndarray]


def _each(test: Callable[[str], bool]) -> Callable[[str], np.ndarray]:
    """A feature that depends on the character only."""
    return lambda text: np.fromiter((test(character) for character in text), np.float64, len(text))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiou"


def _since(starts: np.ndarray) -> np.ndarray:
    """The distance in characters to the last of the starts (C,) bool, or to the beginning of the text."""
    places = np.arange(len(starts))
    distances: np.ndarray = places - np.maximum.accumulate(np.where(starts, places, 0))
    return distances


def _shifted(test: np.ndarray, first: bool) -> np.ndarray:
    """The values of test (C,) bool at the character before; `first` for the first character."""
    return np.concatenate([[first], test[:-1]])[: len(test)]


def _words(text: str) -> np.ndarray:
    return _each(str.isalnum)(text).astype(bool)


def _word_start(text: str) -> np.ndarray:
    words = _words(text)
    return np.asarray(words & ~_shifted(words, False), np.float64)


def _word_end(text: str) -> np.ndarray:
    return _word_start(text[::-1])[::-1]


def _position_in_word(text: str) -> np.ndarray:
    return np.where(_words(text), _since(_word_start(text) > 0) + 1.0, 0.0)


def _in_capitalised_word(text: str) -> np.ndarray:
    starts = np.arange(len(text)) - _since(_word_start(text) > 0)
    upper = _each(str.isupper)(text) > 0
    return np.asarray(_words(text) & upper[starts], np.float64)


def _line_start(text: str) -> np.ndarray:
    return _shifted(_each("\n".__eq__)(text) > 0, True)


def _position_in_line(text: str) -> np.ndarray:
    return _since(_line_start(text)).astype(np.float64)


def _by_line(of_line: Callable[[str, str], float]) -> Callable[[str], np.ndarray]:
    """A feature with one value per line: of_line(line, previous line)."""

    def of_text(text: str) -> np.ndarray:
        lines = [line + "\n" for line in text.split("\n")]
        values = [of_line(line, before) for line, before in zip(lines, ["", *lines], strict=False)]
        return np.repeat(np.array(values, np.float64), [len(line) for line in lines])[: len(text)]

    return of_text


def _indentation(line: str, before: str) -> float:
    return len(line) - len(line.lstrip(" \t")) if line.strip() else 0


def _in_indentation(text: str) -> np.ndarray:
    others = ~(_each(lambda character: character in " \t")(text) > 0)
    so_far = others.cumsum()
    line_starts = np.arange(len(text)) - _since(_line_start(text))
    before_line = (so_far - others)[line_starts]
    return np.asarray(so_far == before_line, np.float64)


def _in_quotes(text: str) -> np.ndarray:
    """1 from an opening double quote to its closing one; a blank line closes a quote that was left open."""
    values, closing = np.zeros(len(text)), ""
    blank_lines = _by_line(lambda line, before: float(not line.strip()))(text)
    for place, character in enumerate(text):
        if blank_lines[place]:
            closing = ""
        elif closing:
            values[place] = 1
            if character == closing:
                closing = ""
        elif character == '"' or character in _QUOTES:
            values[place] = 1
            closing = _QUOTES.get(character, character)
    return values


def _depth(kinds: Sequence[str]) -> Callable[[str], np.ndarray]:
    """How many brackets of these kinds are open, itself included; unmatched closing ones do not count."""

    def of_text(text: str) -> np.ndarray:
        values, open_brackets = np.zeros(len(text)), list[str]()
        for place, character in enumerate(text):
            if character in kinds:
                open_brackets.append(_OPENING[character])
            values[place] = len(open_brackets)
            if open_brackets and character == open_brackets[-1]:
                open_brackets.pop()
        return values

    return of_text


def _inside(kind: str) -> Callable[[str], np.ndarray]:
    depth = _depth(kind)
    return lambda text: (depth(text) > 0).astype(np.float64)


FEATURES = (
    Feature("upper case", "the character is an upper case letter", _each(str.isupper)),
    Feature("digit", "the character is a digit", _each(str.isdigit)),
    Feature("vowel", "the character is a, e, i, o or u, with or without an accent", _each(_is_vowel)),
    Feature("white space", "the character is a space, a tab or a line break", _each(str.isspace)),
    Feature("line end", "the character ends a line", _each("\n".__eq__)),
    Feature("punctuation", "the character is a punctuation mark or a symbol", _each(_is_punctuation)),
    Feature("start of a word", "the first letter or digit of a word", _word_start),
    Feature("end of a word", "the last letter or digit of a word", _word_end),
    Feature(
        "position in word",
        "letters and digits since the start of the word; 0 between words",
        _position_in_word,
    ),
    Feature("capitalised word", "in a word that begins with an upper case letter", _in_capitalised_word),
    Feature("start of a line", "the first character of a line", lambda text: _line_start(text).astype(float)),
    Feature("position in line", "characters since the start of the line", _position_in_line),
    Feature(
        "line after a blank line",
        "in the first line of a paragraph",
        _by_line(lambda line, before: float(bool(line.strip()) and not before.strip())),
    ),
    Feature("indentation", "spaces and tabs at the start of the line", _by_line(_indentation)),
    Feature("inside the indentation", "in the spaces and tabs at the start of a line", _in_indentation),
    Feature("inside quotes", "between double quotes, straight or typographic", _in_quotes),
    Feature("inside parentheses", "between ( and )", _inside("(")),
    Feature("inside brackets", "between [ and ]", _inside("[")),
    Feature("inside braces", "between { and }", _inside("{")),
    Feature("bracket depth", "number of open ( [ {", _depth("([{")),
    Feature(
        "position in text", "characters since the start of the text", lambda text: np.arange(len(text)) * 1.0
    ),
)


def features_of(text: str, characters: np.ndarray) -> dict[str, np.ndarray]:
    """The values (N,) float64 at the given characters (N,) of each feature that varies there, by name.

    A feature varies when at least MIN_OCCURRENCES values differ from its most frequent value.
    """
    values = {feature.name: feature.of_text(text)[characters] for feature in FEATURES}
    return {name: value for name, value in values.items() if _varies(value)}


def _varies(values: np.ndarray) -> bool:
    _, counts = np.unique(values, return_counts=True)
    return len(values) - int(counts.max(initial=0)) >= MIN_OCCURRENCES
