"""What a tokenizer.json may hold: checked before the `tokenizers` library builds anything from it.

The file may come from a stranger, and the library takes every number in it at its word: it pads each text
to a billion tokens if the file says so. What would change or cut texts (truncation, padding, dropout) is
removed; what no tokenizer needs is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from textgen.settings.config import MAX_VOCAB_SIZE

MAX_BYTES = 40 * 2**20
MAX_TOKENS = 300_000  # more than the largest published tokenizers have; reading a million takes seconds
MAX_ADDED_TOKENS = 2**15
MAX_TOKEN_CHARACTERS = 10_000
MAX_STEPS = 64  # of the normalizer, of the pre-tokenizer, and of the decoder
MAX_DEPTH = 8  # of sequences within sequences
MAX_PATTERN_CHARACTERS = 4_096
MAX_GROWTH = 1_000  # how many times longer all replacements together may make a text

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_STEPS = {
    "normalizer": (
        *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"),
        *("Prepend", "Replace", "Strip", "StripAccents"),
    ),
    "pre_tokenizer": (
        *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace"),
        *("Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    ),
    "decoder": (
        *("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Strip"),
        "WordPiece",
    ),
}
_MEMBERS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}


def parse(text: str) -> dict[str, Any]:
    """The checked content of a tokenizer.json, without truncation, padding and dropout.

    Raises ValueError, with the reason in one line.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError("it has no model")
    data.update(truncation=None, padding=None)
    if data["model"].get("dropout"):
        data["model"]["dropout"] = None
    _check_model(data["model"])
    _check_added_tokens(data.get("added_tokens") or [])
    for place in _STEPS:
        _check_steps(place, list(steps(data, place)))
    return data


def steps(data: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
    """The steps of a "normalizer", "pre_tokenizer" or "decoder", in order, without the sequences around them.

    Raises ValueError where it is not made of steps.
    """
    return _steps_of(data.get(place), place, MAX_DEPTH)


def _steps_of(step: Any, place: str, depth: int) -> Iterator[dict[str, Any]]:
    if step is None:
        return
    if not isinstance(step, dict) or depth < 0:
        raise ValueError(f"its {place} is not made of steps")
    if step.get("type") != "Sequence":
        yield step
        return
    members = step.get(_MEMBERS[place])
    if not isinstance(members, list):
        raise ValueError(f"its {place} is not made of steps")
    for member in members:
        yield from _steps_of(member, place, depth - 1)


def patterns(data: Mapping[str, Any]) -> Iterator[str]:
    """Its regular expressions."""
    for place in _STEPS:
        for step in steps(data, place):
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and "Regex" in pattern:
                yield pattern["Regex"]


def _check_model(model: dict[str, Any]) -> None:
    kind, vocabulary = model.get("type", "BPE"), model.get("vocab")
    if kind not in _MODELS:
        raise ValueError(f"its model is {_shown(kind)}, not one of {', '.join(_MODELS)}")
    if not isinstance(vocabulary, list if kind == "Unigram" else dict):
        raise ValueError("its model has no vocab")
    if len(vocabulary) > MAX_TOKENS:
        raise ValueError(f"it has {len(vocabulary):,} tokens, more than {MAX_TOKENS:,}")
    if isinstance(vocabulary, dict):
        _check_tokens(vocabulary.items())
        return
    for entry in vocabulary:
        if not isinstance(entry, list) or len(entry) != 2:
            raise ValueError("its vocab is not made of tokens and their scores")
    _check_tokens((token, token_id) for token_id, (token, _) in enumerate(vocabulary))


def _check_added_tokens(added: Any) -> None:
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ValueError("its added_tokens are not a list of tokens")
    if len(added) > MAX_ADDED_TOKENS:
        raise ValueError(f"it has {len(added):,} added tokens, more than {MAX_ADDED_TOKENS:,}")
    _check_tokens((token.get("content"), token.get("id")) for token in added)


def _check_tokens(tokens: Any) -> None:
    for token, token_id in tokens:
        if type(token_id) is not int or not 0 <= token_id < MAX_VOCAB_SIZE:
            raise ValueError(
                f"the id of token {_shown(token)} is {_shown(token_id)}, and ids are whole numbers from 0, "
                f"below {MAX_VOCAB_SIZE:,}"
            )
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError(f"token {token_id} is not a text of at most {MAX_TOKEN_CHARACTERS:,} characters")


def _check_steps(place: str, found: list[dict[str, Any]]) -> None:
    if len(found) > MAX_STEPS:
        raise ValueError(f"its {place} has {len(found):,} steps, more than {MAX_STEPS}")
    growth = 1.0
    for step in found:
        kind = step.get("type")
        if kind not in _STEPS[place]:
            raise ValueError(f"its {place} has a step {_shown(kind)} that textgen does not know")
        if check := _CHECKS.get(kind):
            growth *= check(step)
        if growth > MAX_GROWTH:
            raise ValueError(f"the replacements of its {place} can make a text {MAX_GROWTH:,} times longer")


def _check_replace(step: dict[str, Any]) -> float:
    """How many times longer a replacement can make a text, at most. Raises ValueError."""
    pattern = _check_pattern(step)
    content = step.get("content")
    if not isinstance(content, str):
        raise ValueError("a replacement in it has no content")
    if pattern.get("String"):
        return max(1.0, len(content) / len(pattern["String"]))
    return 1.0 + len(content)  # a regular expression may match between any two characters


def _check_split(step: dict[str, Any]) -> float:
    _check_pattern(step)
    return 1.0


def _check_pattern(step: dict[str, Any]) -> dict[str, str]:
    pattern = step.get("pattern")
    if not isinstance(pattern, dict) or len(pattern) != 1 or pattern.keys() - {"String", "Regex"}:
        raise ValueError(f"a pattern in it is {_shown(pattern)}, neither a String nor a Regex")
    (text,) = pattern.values()
    if not isinstance(text, str) or len(text) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern in it is longer than {MAX_PATTERN_CHARACTERS:,} characters")
    return pattern


def _check_prepend(step: dict[str, Any]) -> float:
    text = step.get("prepend")
    if not isinstance(text, str) or len(text) > MAX_TOKEN_CHARACTERS:
        raise ValueError(f"what it prepends is longer than {MAX_TOKEN_CHARACTERS:,} characters")
    return 1.0


_CHECKS: dict[str, Callable[[dict[str, Any]], float]] = {
    "Replace": _check_replace,
    "Split": _check_split,
    "Prepend": _check_prepend,
}


def _shown(value: object) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
