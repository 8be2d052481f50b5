"""Taking over an existing tokenizer.json: its ids stay, one of its tokens becomes end-of-text.

Such a file usually has end-of-text among its `added_tokens`, where the literal text "</s>" produces it. Here
it stands in the model's vocabulary instead, with the same id. Where the model itself would find it in a text
(a Unigram looks up every substring), a new token is made, under a name that text does not produce.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tokenizers

from textgen.errors import TokenizerError
from textgen.settings.option import unknown_name
from textgen.text.chunks import Cut, cut_after_letter, cut_nowhere, holds_a_cut
from textgen.text.vocabulary import END_OF_TEXT, named_end_of_text, naming

# What end-of-text is called in the files that there are, the more particular names first.
_KNOWN_NAMES = (END_OF_TEXT, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "[EOS]", "[SEP]")
# The second holds a space, where most tokenizers split; the last ends in a code point that is no character.
_NEW_NAMES = (END_OF_TEXT, "<| end of text |>", "<|endoftext|>\U0010ffff")

# Splits that end a match between a letter and a space and look at nothing beyond: of Llama 3 (and GPT-4)
# and of Qwen 2. That of GPT-2 is a part of ByteLevel.
_KNOWN_SPLITS = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + numbers
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}{1,3}", r"\p{N}")
)


def read_library(path: Path) -> tokenizers.Tokenizer:
    """A tokenizer.json as it is.

    Raises TokenizerError.
    """
    try:
        return parse_library(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; name a tokenizer.json") from None
    except ValueError as error:
        raise TokenizerError(f"{path}: not a tokenizer.json ({error})") from None


def parse_library(text: str) -> tokenizers.Tokenizer:
    """A tokenizer from its JSON. Raises ValueError."""
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(str(error)) from None


def adopt(path: Path, end_of_text: str | None) -> tokenizers.Tokenizer:
    """Read any tokenizer.json and give it an end-of-text: the token named, else a known one, else a new one.

    Truncation, padding, post-processing and dropout are turned off: they would change the ids of a text.

    Raises TokenizerError for a file that cannot be read, and a name that is unknown or that text produces.
    """
    library = read_library(path)
    data = json.loads(library.to_str())
    named = named_end_of_text(data)
    data.update(truncation=None, padding=None)
    if data["model"].get("dropout"):
        data["model"]["dropout"] = None
    if named is not None and end_of_text in (None, named):  # textgen wrote it
        return parse_library(json.dumps(data))
    data["post_processor"] = None
    vocabulary = library.get_vocab()
    if end_of_text is not None and end_of_text not in vocabulary:
        raise TokenizerError(f"{path}: {unknown_name('token', end_of_text, vocabulary)}")
    known = (
        (end_of_text,) if end_of_text is not None else [name for name in _KNOWN_NAMES if name in vocabulary]
    )
    for name in known:
        if adopted := _with_end_of_text(data, name, vocabulary[name], vocabulary):
            return adopted
    if end_of_text is not None:
        raise TokenizerError(
            f"{path}: {end_of_text!r} cannot be end-of-text, since text produces it; leave --end-of-text out"
        )
    for name in _NEW_NAMES:
        if name not in vocabulary and (
            adopted := _with_end_of_text(data, name, max(vocabulary.values(), default=-1) + 1, vocabulary)
        ):
            return adopted
    raise TokenizerError(
        f"{path}: no end-of-text token can be given to it that text does not produce; use another"
    )


def _with_end_of_text(
    data: dict[str, Any], name: str, token_id: int, vocabulary: dict[str, int]
) -> tokenizers.Tokenizer | None:
    """The tokenizer with this token in the model's vocabulary only; None if text still produces it."""
    data = json.loads(json.dumps(data))
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != name]
    # The library numbers added tokens anew unless the model knows them, so the model has to know them all.
    known = {token["content"]: token["id"] for token in data["added_tokens"]} | {name: token_id}
    _insert(data["model"], known)
    try:
        library = parse_library(json.dumps(data))
    except ValueError:
        return None
    if library.get_vocab() != vocabulary | {name: token_id}:
        return None
    library.post_processor = naming(name, token_id)
    contexts = ("{}", " {}", "{} ", " {} ", "a{}b", "a {} b", "\n{}\n", "{0}{0}", ".{}.")
    with encoding_errors():
        encodings = library.encode_batch_fast([context.format(name) for context in contexts])
    return None if any(token_id in encoding.ids for encoding in encodings) else library


@contextmanager
def encoding_errors() -> Iterator[None]:
    """Turn what the library raises for text that it cannot encode into a TokenizerError."""
    try:
        yield
    except Exception as error:  # it raises nothing more exact
        raise TokenizerError(
            f"this tokenizer cannot encode every text ({error}); use one that has an unknown token"
        ) from error


def _insert(model: dict[str, Any], tokens: dict[str, int]) -> None:
    """Give the model these tokens at these ids; a gap in the ids of a Unigram stays, and shows afterwards."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary.update(tokens)
        return
    lowest = min((score for _, score in vocabulary), default=0.0)
    for token, token_id in sorted(tokens.items(), key=lambda item: item[1]):
        if token_id == len(vocabulary):
            vocabulary.append([token, lowest])


def cut_of(library: tokenizers.Tokenizer) -> Cut:
    """Where its texts may be cut. Whatever is not known to be safe must see each document whole."""
    data = json.loads(library.to_str())
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
