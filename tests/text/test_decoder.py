"""Decoders: peek against push and flush, and the bytes of bpe tokens against the library."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers

from textgen.text.decoder import SkippingDecoder, WindowDecoder
from textgen.text.tokenizer import Tokenizer

TEXT = "née 🙂👩‍👩‍👧 日本語 שלום e\u0301"


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("learnt", ["ascii letters only", TEXT * 3], ids=["unseen", "seen"])
def test_peek_equals_push_and_flush_without_an_incomplete_character_and_changes_nothing(
    kind: str, learnt: str
) -> None:
    tokenizer = Tokenizer.train(kind, [learnt])
    ids = tokenizer.encode(TEXT).tolist()
    for length in range(1, len(ids) + 1):
        decoder = tokenizer.decoder()
        decoded = "".join(map(decoder.push, ids[: length - 1]))
        peeked = decoder.peek(ids[length - 1])
        for other in ids[:5]:
            decoder.peek(other)
        assert decoded + peeked == tokenizer.decode(ids[:length]).rstrip("\ufffd")
        assert (decoder.push(ids[length - 1]) + decoder.flush()).rstrip("\ufffd") == peeked


def test_peek_returns_the_text_before_an_incomplete_character_in_one_token() -> None:
    tokenizer = Tokenizer.train("bpe", ["a 🙂 b 😀 c 😁 d " * 50], vocab_size=262, min_frequency=2)
    texts = [tokenizer.decode([token_id]) for token_id in range(tokenizer.vocab_size)]
    incomplete = texts.index(" \ufffd")
    for decoder, pushed in ((tokenizer.decoder(), " "), (WindowDecoder(tokenizer.decode), "")):
        decoder.push(texts.index("a"))
        assert decoder.peek(incomplete) == " "
        assert decoder.push(incomplete) == pushed
        assert pushed + decoder.flush() == " \ufffd"


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_replacement_character_in_the_text_is_not_taken_for_an_incomplete_character(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, ["ab\ufffd " * 50])
    decoder = tokenizer.decoder()
    *before, last = tokenizer.encode("ab\ufffd").tolist()
    decoded = "".join(map(decoder.push, before))
    assert decoded + decoder.peek(last) == decoded + decoder.push(last) == "ab\ufffd"


@pytest.mark.parametrize("learnt", ["", TEXT * 3], ids=["bytes", "merges"])
def test_the_bytes_of_a_bpe_token_are_those_of_the_library(learnt: str) -> None:
    tokenizer = Tokenizer.train("bpe", [learnt + "ab"])
    library = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    rng = np.random.default_rng(0)
    singles = [[token_id] for token_id in range(tokenizer.vocab_size)]
    for ids in [*singles, *rng.integers(0, tokenizer.vocab_size, (500, 6)).tolist()]:
        assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_skipping_decoder_leaves_out_the_first_characters_and_no_others(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, [TEXT])
    ids = tokenizer.encode(TEXT).tolist()
    for num_skipped in (0, 1, 5, len(TEXT) - 1, len(TEXT)):
        decoder, plain = SkippingDecoder(tokenizer.decoder(), num_skipped), tokenizer.decoder()
        written = all_written = ""
        for token_id in ids:
            peeked = decoder.peek(token_id)
            assert (all_written + plain.peek(token_id))[max(len(all_written), num_skipped) :] == peeked
            all_written += plain.push(token_id)
            written += decoder.push(token_id)
        assert written + decoder.flush() == TEXT[num_skipped:]
