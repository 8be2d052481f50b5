import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import TokenizerError
from textgen.text import vocabulary
from textgen.text.chunks import chunks
from textgen.text.documents import Separator
from textgen.text.tokenizer import Tokenizer

KINDS = ("char", "byte", "bpe", "word")
TRAINING_TEXT = (
    "First Citizen:\nBefore we proceed any further, hear me speak. Don't, don't!\r\n\r\n"
    "  def f(x):\n        return x + 100  # naïve 中文 中文 हिन्दी हिन्दी שלום\0\n" * 3
)
SPECIAL = ["<|endoftext|>", "<0x41>", "<0xFF>", "<unk>", "</s>", "[SEP]", "Ġ", "▁", "\ufffd", "\ufeff"]
HARD = [
    *SPECIAL,
    "\r\n",
    "\0",
    "👩‍👩‍👧",
    "e\u0301",
    "中文",
    "שלום",
    "हिन्दी",
    "ﬁ",
    "\u2028",
    "    ",
    "don't",
    "'s",
    "word " * 3,
]

hard_texts = st.lists(
    st.one_of(st.sampled_from(HARD), st.text(st.characters(codec="utf-8"), max_size=8)), max_size=8
).map("".join)
# Runs longer than any pre-token, with every kind of boundary between them.
long_texts = st.lists(
    st.tuples(
        st.sampled_from([*"a中१1.，。_' \n\t\u0301\u180e\u200b", "ll", "\r\n", "'s", " a", "x y\n", "中。"]),
        st.integers(1, 90),
    ).map(lambda pair: pair[0] * pair[1]),
    max_size=6,
).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return trained(request.param)


def trained(kind, text=TRAINING_TEXT, **settings):
    if kind == "bpe":
        settings = {"vocab_size": 330, **settings}
    return Tokenizer.train(kind, [text], **settings)


def plain(tokenizer):
    """The tokenizer as read by the plain library."""
    return tokenizers.Tokenizer.from_str(tokenizer.to_json())


@given(text=hard_texts)
def test_any_text_comes_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=hard_texts)
def test_no_text_produces_end_of_text(tokenizer, text):
    assert tokenizer.end_of_text_id not in tokenizer.encode(text + tokenizer.end_of_text + text)


@given(text=st.one_of(hard_texts, long_texts))
def test_the_saved_file_gives_the_same_ids_in_the_plain_library(tokenizer, text):
    assert tokenizer.encode(text).tolist() == plain(tokenizer).encode(text).ids


@given(
    documents=st.lists(st.one_of(hard_texts, long_texts).filter(bool), min_size=1, max_size=4), data=st.data()
)
def test_a_stream_gives_the_ids_of_each_document_in_one_call(tokenizer, documents, data):
    stream = []
    for index, document in enumerate(documents):
        cuts = data.draw(st.lists(st.integers(0, len(document)), max_size=4).map(sorted))
        pieces = [
            document[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(document)], strict=True)
        ]
        stream += [Separator(1, 1)] * (index > 0) + [piece for piece in pieces if piece]
    size = data.draw(st.integers(1, 200))
    expected = [i for document in documents for i in (*tokenizer.encode(document), tokenizer.end_of_text_id)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textgen.text.tokenizer._BATCH_CHARACTERS", 50)
        how = {"size": size, "unbuffered": data.draw(st.booleans())}
        patch.setattr(
            "textgen.text.tokenizer.chunks", lambda stream, cut, unbuffered: chunks(stream, cut, **how)
        )
        ids = np.concatenate([*tokenizer.encode_stream(stream)])
    assert ids.tolist() == expected[:-1]


def test_a_text_without_spaces_is_chunked_too(tokenizer):
    for unit in ("a", "中", " ", "\n", ".", "1"):
        pieces = list(chunks([unit * 5000], tokenizer._cut, 100))
        assert max(map(len, pieces)) < 400


@given(ids=st.lists(st.integers(0, 256), max_size=40), text=hard_texts)
def test_decoding_id_by_id_equals_decoding_at_once(tokenizer, ids, text):
    ids = [*ids, *tokenizer.encode(text).tolist(), *ids]
    decoder = tokenizer.decoder()
    for _ in range(2):  # the second time after a flush
        pieces = [decoder.push(token_id) for token_id in ids]
        assert "".join(pieces) + decoder.flush() == tokenizer.decode(ids)


def test_an_incomplete_character_is_buffered_until_it_is_complete():
    tokenizer = trained("byte")
    decoder = tokenizer.decoder()
    assert [decoder.push(byte) for byte in "é中".encode()] == ["", "é", "", "", "中"]
    assert decoder.flush() == ""
    decoder.push(0xE4)
    assert decoder.flush() == "\ufffd"


def test_an_invalid_byte_does_not_affect_its_neighbours():
    for kind in ("byte", "bpe"):
        tokenizer = trained(kind)
        ids = tokenizer.encode("né").tolist()
        invalid = next(i for i in range(256) if tokenizer.decode([i]) == "\ufffd" and i not in ids)
        assert tokenizer.decode([*ids, invalid, *ids]) == "né\ufffdné"


def test_saving_and_loading_changes_nothing(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    assert list(tmp_path.iterdir()) == [path]
    for read in (Tokenizer.load, Tokenizer.from_file):
        again = read(path)
        assert again.kind == tokenizer.kind
        assert again.fingerprint == tokenizer.fingerprint
        assert again.end_of_text_id == tokenizer.end_of_text_id == tokenizer.vocab_size - 1


def test_training_twice_gives_the_same_tokenizer(tokenizer):
    assert trained(tokenizer.kind).fingerprint == tokenizer.fingerprint
    assert (
        tokenizer.kind == "byte" or trained(tokenizer.kind, "other text").fingerprint != tokenizer.fingerprint
    )


def test_training_does_not_depend_on_how_the_text_is_cut(tokenizer):
    pieces = [TRAINING_TEXT[start : start + 7] for start in range(0, len(TRAINING_TEXT), 7)]
    settings = {"vocab_size": 330} if tokenizer.kind == "bpe" else {}
    assert Tokenizer.train(tokenizer.kind, pieces, **settings).fingerprint == tokenizer.fingerprint


def test_end_of_text_is_in_the_models_vocabulary_and_not_an_added_token(tokenizer):
    data = json.loads(tokenizer.to_json())
    assert data["added_tokens"] == []
    assert data["model"]["vocab"]["<|endoftext|>"] == tokenizer.end_of_text_id


def test_the_vocabulary_size_counts_what_was_learned():
    text = "aaa bb bb c the the the\n"
    assert trained("char", text).vocab_size == 256 + len(set(text)) + 1
    assert trained("char", text, vocab_size=3).vocab_size == 256 + 3 + 1
    assert trained("char", text, min_frequency=3).vocab_size == 256 + len("a bthe") - 0 + 1
    assert trained("word", text).vocab_size == 256 + len(set(text)) + len(["bb", "the"]) + 1
    assert trained("word", text, vocab_size=1).vocab_size == 256 + len(set(text)) + 1 + 1
    assert (
        trained("word", text, min_frequency=1).vocab_size
        == 256 + len(set(text)) + len(["aaa", "bb", "the"]) + 1
    )
    assert trained("byte", text).vocab_size == 257
    assert trained("bpe", text, vocab_size=258).vocab_size == 258 + 1
    assert trained("bpe", text, vocab_size=256).vocab_size == 256 + 1


def test_characters_are_numbered_by_descending_frequency_then_code_point():
    tokenizer = trained("char", "cbbaab" + "é" * 9)
    assert [tokenizer.token_text(i) for i in range(256, 261)] == ["é", "b", "a", "c", "<|endoftext|>"]


def test_unknown_words_are_encoded_as_characters_and_unknown_characters_as_bytes():
    tokenizer = trained("word", "the cat the cat sat")
    tokens = [tokenizer.token_text(i) for i in tokenizer.encode("the hat é")]
    assert tokens == ["the", " ", "h", "a", "t", " ", "<0xC3>", "<0xA9>"]


def test_nothing_is_learned_across_a_separator():
    tokenizer = Tokenizer.train("word", ["the", Separator(1, 1), "the"])
    assert [len(tokenizer.encode(text)) for text in ("the", "thethe")] == [1, 6]


def test_a_long_text_is_sampled_evenly(monkeypatch):
    monkeypatch.setattr(vocabulary, "_SAMPLE_CHARACTERS", 2**19)
    stream = [chr(ord("a") + index % 26) * 3 + " " for index in range(26) for _ in range(2**14)]
    reported = []
    sample = vocabulary._sample(stream, vocabulary.split_of("word"), lambda *sizes: reported.append(sizes))
    assert 2**18 <= sum(map(len, sample)) <= 2**19
    assert reported == [(sum(map(len, sample)), sum(map(len, stream)))]
    counts = Counter("".join(sample).replace(" ", ""))
    assert sorted(counts) == [chr(ord("a") + index) for index in range(26)]
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_sampling_begins_above_a_size_and_is_reported(monkeypatch, kind):
    reported = []
    train = partial(Tokenizer.train, kind, sampled=lambda *sizes: reported.append(sizes))
    line = "one two three four\n"
    monkeypatch.setattr(vocabulary, "_SAMPLE_CHARACTERS", 2000 * len(line))
    stream = [line] * 2000
    assert train(stream).fingerprint == Tokenizer.train(kind, stream).fingerprint
    assert reported == []
    train([line] * 4000)
    assert len(reported) == 1
    assert reported[0][0] <= 2000 * len(line) < reported[0][1] == 4000 * len(line)


def test_characters_that_utf8_cannot_encode_are_refused(tokenizer):
    for call in (tokenizer.encode, lambda text: list(tokenizer.encode_stream([text]))):
        with pytest.raises(TokenizerError, match=r"character 2 of the text, '\\ud800'"):
            call("ab\ud800")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("bpe", {"vocab_size": 255}, "at least 256"),
        ("byte", {"vocab_size": 300}, "learns nothing"),
        ("byte", {"min_frequency": 2}, "learns nothing"),
        ("chars", {}, "did you mean 'char'"),
    ],
)
def test_a_vocabulary_that_cannot_be_learned_is_refused(kind, settings, message):
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.train(kind, ["text"], **settings)


def test_an_empty_text_has_no_ids(tokenizer):
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.encode("").dtype == np.uint32
    assert tokenizer.decode([]) == ""
