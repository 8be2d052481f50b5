"""What a reader sees at each place of a text: the features that a unit may follow.

Each is computed from the text alone: for every character a yes (1) or no (0), or a count. C characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# A feature that is almost always, or almost never there says nothing about a unit.
LEAST_OCCURRENCES = 5

_OPENING = {"(": ")", "[": "]", "{": "}"}
_QUOTES = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", "‹": "›"}


@dataclass(frozen=True)
class Feature:
    """One feature: its name, what it is in words, and its values (C,) float64 of a text of C characters."""

    name: str
    meaning: str
    of_text: Callable[[str], np.ndarray]


def _each(test: Callable[[str], bool]) -> Callable[[str], np.ndarray]:
    """A feature of the character alone."""
    return lambda text: np.fromiter((test(character) for character in text), np.float64, len(text))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiou"


def _since(starts: np.ndarray) -> np.ndarray:
    """How many characters ago the last of the starts (C,) bool was, or the text began."""
    places = np.arange(len(starts))
    distances: np.ndarray = places - np.maximum.accumulate(np.where(starts, places, 0))
    return distances


def _after(test: np.ndarray, first: bool) -> np.ndarray:
    """What held for the character before, (C,) bool; `first` before the first."""
    return np.concatenate([[first], test[:-1]])[: len(test)]


def _words(text: str) -> np.ndarray:
    return _each(str.isalnum)(text).astype(bool)


def _word_start(text: str) -> np.ndarray:
    words = _words(text)
    return np.asarray(words & ~_after(words, False), np.float64)


def _word_end(text: str) -> np.ndarray:
    return _word_start(text[::-1])[::-1]


def _position_in_word(text: str) -> np.ndarray:
    return np.where(_words(text), _since(_word_start(text) > 0) + 1.0, 0.0)


def _in_capitalised_word(text: str) -> np.ndarray:
    starts = np.arange(len(text)) - _since(_word_start(text) > 0)
    upper = _each(str.isupper)(text) > 0
    return np.asarray(_words(text) & upper[starts], np.float64)


def _line_start(text: str) -> np.ndarray:
    return _after(_each("\n".__eq__)(text) > 0, True)


def _position_in_line(text: str) -> np.ndarray:
    return _since(_line_start(text)).astype(np.float64)


def _by_line(of_line: Callable[[str, str], float]) -> Callable[[str], np.ndarray]:
    """A feature that all characters of a line share: of_line(line, the line before)."""

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
    """1 from an excerpt double quote up to the one that closes it; a blank line closes what was left open."""
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
    """How many brackets of these kinds are open, theirs included; one that nothing opened closes nothing."""

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
    Feature("upper case", "the character is a capital", _each(str.isupper)),
    Feature("digit", "the character is a digit", _each(str.isdigit)),
    Feature("vowel", "the character is a, e, i, o or u, with or without an accent", _each(_is_vowel)),
    Feature("white space", "the character is a blank, a tab or a line end", _each(str.isspace)),
    Feature("line end", "the character ends a line", _each("\n".__eq__)),
    Feature("punctuation", "the character is a punctuation mark or a symbol", _each(_is_punctuation)),
    Feature("start of a word", "the first letter or digit of a word", _word_start),
    Feature("end of a word", "the last letter or digit of a word", _word_end),
    Feature("position in word", "letters since the word began; 0 between words", _position_in_word),
    Feature("capitalised word", "inside a word that begins with a capital", _in_capitalised_word),
    Feature("start of a line", "the first character of a line", lambda text: _line_start(text).astype(float)),
    Feature("position in line", "characters since the line began", _position_in_line),
    Feature(
        "line after a blank line",
        "in the first line of a paragraph",
        _by_line(lambda line, before: float(bool(line.strip()) and not before.strip())),
    ),
    Feature("indentation", "blanks at the start of this line", _by_line(_indentation)),
    Feature("inside the indentation", "among the blanks that begin a line", _in_indentation),
    Feature("inside quotes", "between double quotes, or typographic ones", _in_quotes),
    Feature("inside parentheses", "between ( and )", _inside("(")),
    Feature("inside brackets", "between [ and ]", _inside("[")),
    Feature("inside braces", "between { and }", _inside("{")),
    Feature("bracket depth", "how many ( [ { are open", _depth("([{")),
    Feature("position in text", "characters since the text began", lambda text: np.arange(len(text)) * 1.0),
)


def features_of(text: str, characters: np.ndarray) -> dict[str, np.ndarray]:
    """The values at the given characters (N,) of every feature that varies there, (N,) float64, by name.

    One varies when at least LEAST_OCCURRENCES places have other than its most frequent value.
    """
    values = {feature.name: feature.of_text(text)[characters] for feature in FEATURES}
    return {name: value for name, value in values.items() if _varies(value)}


def _varies(values: np.ndarray) -> bool:
    _, counts = np.unique(values, return_counts=True)
    return len(values) - int(counts.max(initial=0)) >= LEAST_OCCURRENCES
