"""Adopting an existing tokenizer.json: it keeps its ids, and one of its tokens becomes end-of-text.

Such a file usually lists end-of-text in its `added_tokens`, so that the literal text "</s>" produces it. Here
the token is moved to the vocabulary of the tokenizer's model, with the same id. Where that model itself would
find it in a text (Unigram looks up every substring), a new token is added whose name no text produces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import tokenizers

from textgen.errors import TokenizerError
from textgen.settings.option import unknown_name
from textgen.system.bounded_files import read_bounded
from textgen.text.chunks import Cut, cut_after_letter, cut_nowhere, holds_a_cut
from textgen.text.panics import LibraryPanic, panics_as_errors
from textgen.text.tokenizer_json import MAX_BYTES, parse, patterns
from textgen.text.vocabulary import END_OF_TEXT, end_of_text_record, recorded_end_of_text

# Names of end-of-text in published tokenizers, the most specific first.
_KNOWN_NAMES = (END_OF_TEXT, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "[EOS]", "[SEP]")
# The second contains spaces, at which most tokenizers split; the last ends in a noncharacter code point.
_NEW_NAMES = (END_OF_TEXT, "<| end of text |>", "<|endoftext|>\U0010ffff")

# Splits that end every match between a letter and a space and do not look past it: those of Llama 3 (and
# GPT-4) and of Qwen 2. That of GPT-2 is built into ByteLevel.
_KNOWN_SPLITS = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + numbers
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}{1,3}", r"\p{N}")
)

_SHOWN_CHARACTERS = 60  # of a regular expression, in a message


def read_library(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer.json, checked, and without what would change or cut texts: see tokenizer_json.py.

    Raises TokenizerError when it cannot be read.
    """
    try:
        return build_library(parse(read_bounded(path, MAX_BYTES, "a tokenizer").decode("utf-8")))
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; name a tokenizer.json") from None
    except ValueError as error:
        raise TokenizerError(f"{path}: not a tokenizer.json ({error})") from None


def build_library(data: dict[str, Any]) -> tokenizers.Tokenizer:
    """Build a tokenizer from its JSON. Raises ValueError when it is not one."""
    text = json.dumps(data)  # again: of a name that a file has twice, only the one that was checked is left
    try:
        with panics_as_errors():
            return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(str(error)) from None


def adopt(path: Path, end_of_text: str | None) -> tokenizers.Tokenizer:
    """Read any tokenizer.json and give it an end-of-text token.

    end_of_text: the name of the token to use; None takes one with a known name, or else adds a new one.
    Truncation, padding, post-processing and dropout are turned off, since they would change the ids.

    Raises TokenizerError for a file that cannot be read, and for a token that does not exist or that a text
    can produce.
    """
    library = read_library(path)
    data = json.loads(library.to_str())
    recorded = recorded_end_of_text(data)
    if recorded is not None and end_of_text in (None, recorded):  # textgen wrote it
        return library
    data["post_processor"] = None
    vocabulary = library.get_vocab()
    if end_of_text is not None and end_of_text not in vocabulary:
        raise TokenizerError(f"{path}: {unknown_name('token', end_of_text, vocabulary)}")
    candidates = (
        (end_of_text,) if end_of_text is not None else [name for name in _KNOWN_NAMES if name in vocabulary]
    )
    for name in candidates:
        if adopted := _with_end_of_text(data, name, vocabulary[name], vocabulary):
            return adopted
    if end_of_text is not None:
        raise TokenizerError(
            f"{path}: {end_of_text!r} cannot be end-of-text, since a text can produce it; "
            "leave --end-of-text out"
        )
    for name in _NEW_NAMES:
        if name not in vocabulary and (
            adopted := _with_end_of_text(data, name, max(vocabulary.values(), default=-1) + 1, vocabulary)
        ):
            return adopted
    raise TokenizerError(
        f"{path}: no end-of-text token can be added that no text produces; use another tokenizer"
    )


def _with_end_of_text(
    data: dict[str, Any], name: str, token_id: int, vocabulary: dict[str, int]
) -> tokenizers.Tokenizer | None:
    """The tokenizer with this token only in its model's vocabulary; None if a text still produces it."""
    data = json.loads(json.dumps(data))
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != name]
    # The library renumbers added tokens that are not in the model's vocabulary, so all of them must be in it.
    known = {token["content"]: token["id"] for token in data["added_tokens"]} | {name: token_id}
    _insert(data["model"], known)
    try:
        library = build_library(data)
    except ValueError:
        return None
    if library.get_vocab() != vocabulary | {name: token_id}:
        return None
    library.post_processor = end_of_text_record(name, token_id)
    contexts = ("{}", " {}", "{} ", " {} ", "a{}b", "a {} b", "\n{}\n", "{0}{0}", ".{}.")
    with encoding_errors(unknown_patterns(data)):
        encodings = library.encode_batch_fast([context.format(name) for context in contexts])
    return None if any(token_id in encoding.ids for encoding in encodings) else library


@contextmanager
def encoding_errors(unknown_patterns: Sequence[str] = ()) -> Iterator[None]:
    """Turn the library's error for a text that it cannot encode or decode into a TokenizerError.

    unknown_patterns: those of the tokenizer; with any of them the library may give up on a text.
    """
    try:
        with panics_as_errors() if unknown_patterns else nullcontext():
            yield
    except LibraryPanic as error:
        shown = " or ".join(repr(pattern[:_SHOWN_CHARACTERS]) for pattern in unknown_patterns[:2])
        raise TokenizerError(
            f"this tokenizer gave up on a text ({error}); its regular expression {shown} is at fault: "
            "use another tokenizer"
        ) from None
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(
            f"this tokenizer cannot encode every text ({error}); use one that has an unknown token"
        ) from error


def unknown_patterns(data: dict[str, Any]) -> tuple[str, ...]:
    """Regular expressions in a tokenizer's JSON that are not known: they may backtrack without end."""
    return tuple(pattern for pattern in patterns(data) if pattern not in _KNOWN_SPLITS)


def _insert(model: dict[str, Any], tokens: dict[str, int]) -> None:
    """Add tokens to a model's JSON at these ids.

    A Unigram has no place for a gap in the ids; the caller sees it from the ids of the result.
    """
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary.update(tokens)
        return
    lowest = min((score for _, score in vocabulary), default=0.0)
    for token, token_id in sorted(tokens.items(), key=lambda item: item[1]):
        if token_id == len(vocabulary):
            vocabulary.append([token, lowest])


def is_byte_level(data: dict[str, Any]) -> bool:
    """Whether each token of a tokenizer, by its JSON, stands for fixed bytes, which joined are the text."""
    return (data["decoder"] or {}).get("type") == "ByteLevel"


def cut_for(data: dict[str, Any]) -> Cut:
    """Where texts may be cut for the tokenizer of this JSON: nowhere unless its split is known to be safe."""
    normalizer, split = data["normalizer"], data["pre_tokenizer"]
    known = (
        data["model"]["type"] == "BPE"
        and (normalizer is None or normalizer["type"] == "NFC")  # composes no character with a space
        and split is not None
        and _splits_after_letters(split)
        and (data["decoder"] or {}).get("type") == "ByteLevel"
        and not any(_may_be_cut(token) for token in data["added_tokens"])
    )
    return cut_after_letter if known else cut_nowhere


def _splits_after_letters(split: dict[str, Any]) -> bool:
    if split["type"] == "ByteLevel":
        return bool(split["use_regex"] and not split["add_prefix_space"])
    if split["type"] != "Sequence" or [step["type"] for step in split["pretokenizers"]] != [
        "Split",
        "ByteLevel",
    ]:
        return False
    first, second = split["pretokenizers"]
    return (
        first["pattern"].get("Regex") in _KNOWN_SPLITS
        and first["behavior"] == "Isolated"
        and not first["invert"]
        and not second["add_prefix_space"]
        and not second["use_regex"]
    )


def _may_be_cut(added_token: dict[str, Any]) -> bool:
    return bool(holds_a_cut(added_token["content"]) or added_token["lstrip"] or added_token["rstrip"])
