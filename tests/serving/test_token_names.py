"""No two tokens have the same name, whatever the tokenizer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import tokenizers

from textgen.serving.token_names import TokenNames
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

TEXT = "Der Fuß: bytes:a, 語 and 語 again. " * 4


def names_of(tokenizer: Tokenizer) -> TokenNames:
    ids = tokenizer.encode(TEXT).astype(np.int64)
    return TokenNames(tokenizer, ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size)))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_no_two_tokens_have_the_same_name(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, [TEXT])
    names = names_of(tokenizer)
    assert len(names) == tokenizer.vocab_size
    assert len({names[token_id] for token_id in range(len(names))}) == len(names)


def test_a_token_of_whole_characters_is_named_by_its_text_and_a_broken_one_by_its_bytes() -> None:
    tokenizer = Tokenizer.train("char", [TEXT])
    names = names_of(tokenizer)
    (letter,) = tokenizer.encode("ß").tolist()
    assert names[letter] == "ß"
    assert names[0xE8] == "bytes:\\xe8"
    assert names.piece(0xE8) == [0xE8]
    # The byte of a character that has a token too.
    assert names[ord("a")] == "bytes:\\x61"
    assert names.piece(ord("a")) == "a"


def test_a_text_that_looks_like_a_name_of_bytes_is_named_by_its_bytes() -> None:
    content = [b"bytes:", b"bytes:\\x62", b"b", b"\xff", b"b", b"b", b""]
    tokenizer = cast(Tokenizer, SimpleNamespace(token_bytes=content, encode=lambda text: np.array([5])))
    names = TokenNames(tokenizer, ModelVocab(np.arange(7), np.ones(7, np.int64)))
    assert names[0] == "bytes:\\x62\\x79\\x74\\x65\\x73\\x3a"
    assert names[5] == "b"
    assert names[2] == "bytes:\\x62"
    assert len({names[token_id] for token_id in range(7)}) == 7


def test_tokens_without_fixed_bytes_keep_the_space_that_they_write(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"▁the": 0, "the": 1, "▁dog": 2, "</s>": 3, "?": 4}, unk_token="?")
    )
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    library.decoder = tokenizers.decoders.Metaspace()
    library.add_special_tokens(["</s>"])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert tokenizer.token_bytes is None
    names = TokenNames(tokenizer, ModelVocab(np.arange(3), np.ones(3, np.int64)))
    assert [names[0], names[1], names[2]] == [" the", "the", " dog"]
