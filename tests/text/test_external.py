import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from textgen.errors import TokenizerError
from textgen.text import external
from textgen.text.chunks import chunks, cut_after_letter, cut_nowhere
from textgen.text.documents import Separator
from textgen.text.round_trip import measure_round_trip
from textgen.text.tokenizer import Tokenizer

TEXT = ["the cat sat on the mat, the CAT's hat. 123 4567\n\n  def f(x):\r\n\treturn x\n"] * 5


def gpt2():
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    library.add_special_tokens(["<|endoftext|>"])
    return library


def llama3(numbers=r"\p{N}{1,3}"):
    library = gpt2()
    pattern = next(split for split in external._KNOWN_SPLITS if f"|{numbers}|" in split)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), to_bytes]
    )
    library.add_special_tokens(["<|begin|>", "<|end_of_text|>", "<|reserved|>"])
    library.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A",
        pair="<|begin|> $A $B",
        special_tokens=[("<|begin|>", library.token_to_id("<|begin|>"))],
    )
    return library


def qwen2():
    library = llama3(r"\p{N}")
    library.normalizer = normalizers.NFC()
    return library


def bert():
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    library.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False)
    )
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, library.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    library.enable_truncation(4)
    library.enable_padding(length=4)
    return library


def unigram():
    library = tokenizers.Tokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    library.train_from_iterator(
        TEXT,
        trainers.UnigramTrainer(
            vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    library.add_special_tokens(["<mask>"])
    return library


def words():
    library = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "[SEP]": 2}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.add_special_tokens(["[SEP]"])
    return library


MAKERS = {"gpt2": gpt2, "llama3": llama3, "qwen2": qwen2, "bert": bert, "unigram": unigram, "words": words}
END_OF_TEXT = {
    "gpt2": "<|endoftext|>",
    "llama3": "<|endoftext|>",
    "qwen2": "<|endoftext|>",
    "bert": "[SEP]",
    "unigram": "<| end of text |>",
    "words": "<| end of text |>",
}


@pytest.fixture(scope="module", params=MAKERS)
def case(request, tmp_path_factory):
    """The name of the case, the original in the plain library, and the adopted tokenizer."""
    path = tmp_path_factory.mktemp("external") / "tokenizer.json"
    original = MAKERS[request.param]()
    original.save(str(path))
    original.no_truncation()
    original.no_padding()
    return request.param, original, Tokenizer.from_file(path)


hard_texts = st.lists(
    st.one_of(
        st.sampled_from(
            ["the cat", " ", "\n", "\r\n", "123456", "</s>", "[SEP]", "'s", "e\u0301", "<|begin|>", "a" * 40]
        ),
        st.text(st.sampled_from("abé中，。 \n\t.,1'\u0301"), max_size=10),
    ),
    max_size=10,
).map("".join)


@given(text=hard_texts)
def test_ids_are_those_of_the_original_file(case, text):
    name, original, tokenizer = case
    if END_OF_TEXT[name] in original.get_vocab():
        text = text.replace(END_OF_TEXT[name], "")
    assert tokenizer.encode(text).tolist() == original.encode(text, add_special_tokens=False).ids


@given(text=hard_texts)
def test_the_saved_file_gives_the_same_ids_in_the_plain_library(case, text):
    tokenizer = case[2]
    library = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert library.encode(text).ids == tokenizer.encode(text).tolist()


@given(text=hard_texts)
def test_the_literal_name_of_end_of_text_does_not_produce_it(case, text):
    name, _, tokenizer = case
    assert tokenizer.end_of_text == END_OF_TEXT[name]
    assert tokenizer.end_of_text_id not in tokenizer.encode(text + tokenizer.end_of_text + text)


@given(text=hard_texts)
def test_every_token_begins_inside_the_text_and_not_before_the_previous_token(case, text):
    ids, starts = case[2].encode_with_starts(text)
    assert ids.tolist() == case[2].encode(text).tolist()
    assert len(starts) == len(ids)
    assert (np.diff(starts, prepend=0) >= 0).all()
    assert (starts < max(1, len(text))).all()


@given(
    documents=st.lists(hard_texts.filter(bool), min_size=1, max_size=3),
    size=st.integers(1, 50),
    unbuffered=st.booleans(),
)
def test_a_stream_gives_the_ids_of_each_document_in_one_call(case, documents, size, unbuffered):
    tokenizer = case[2]
    stream = [item for document in documents for item in (Separator(1, 1), document)][1:]
    expected = [i for document in documents for i in (*tokenizer.encode(document), tokenizer.end_of_text_id)]
    with pytest.MonkeyPatch.context() as patch:
        how = {"size": size, "unbuffered": unbuffered}
        patch.setattr("textgen.text.tokenizer.chunks", lambda *stream, unbuffered: chunks(*stream, **how))
        ids = np.concatenate([*tokenizer.encode_stream(stream)])
    assert ids.tolist() == expected[:-1]


def test_text_is_cut_only_for_splits_known_to_be_safe(case):
    name, _, tokenizer = case
    assert tokenizer._cut == (cut_after_letter if name in ("gpt2", "llama3", "qwen2") else cut_nowhere)


@given(text=hard_texts)
def test_decoding_id_by_id_equals_decoding_at_once(case, text):
    tokenizer = case[2]
    decoder, ids = tokenizer.decoder(), tokenizer.encode(text).tolist()
    assert "".join(map(decoder.push, ids)) + decoder.flush() == tokenizer.decode(ids)


def test_saving_and_loading_changes_nothing(case, tmp_path):
    tokenizer = case[2]
    tokenizer.save(tmp_path / "a.json")
    for read in (Tokenizer.load, Tokenizer.from_file):
        again = read(tmp_path / "a.json")
        assert again.kind == "external"
        assert (again.end_of_text_id, again.vocab_size) == (tokenizer.end_of_text_id, tokenizer.vocab_size)
        assert again.fingerprint == tokenizer.fingerprint


@given(text=hard_texts)
def test_a_cut_changes_no_pre_token(case, text):
    _, original, tokenizer = case

    def pre_tokens(text):
        return [piece for piece, _ in original.pre_tokenizer.pre_tokenize_str(text)]

    if position := tokenizer._cut(text):
        assert pre_tokens(text[:position]) + pre_tokens(text[position:]) == pre_tokens(text)


@pytest.mark.parametrize("token", ["two words", "\n", "中，"])
def test_an_added_token_that_could_be_cut_prevents_cutting(tmp_path, token):
    library = gpt2()
    library.add_special_tokens([token])
    library.save(str(tmp_path / "a.json"))
    assert Tokenizer.from_file(tmp_path / "a.json")._cut is cut_nowhere


def test_end_of_text_can_be_named(tmp_path):
    path = tmp_path / "a.json"
    llama3().save(str(path))
    assert Tokenizer.from_file(path, "<|end_of_text|>").end_of_text == "<|end_of_text|>"
    with pytest.raises(
        TokenizerError, match=r"unknown token '<\|end_of_txt\|>'; did you mean '<\|end_of_text\|>'"
    ):
        Tokenizer.from_file(path, "<|end_of_txt|>")
    unigram().save(str(path))
    with pytest.raises(TokenizerError, match="a text can produce it"):
        Tokenizer.from_file(path, "</s>")


def test_a_text_that_would_produce_end_of_text_is_refused(tmp_path):
    library = tokenizers.Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    library.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[("</s>", 1)]
    )
    library.save(str(tmp_path / "a.json"))
    with pytest.raises(TokenizerError, match="contains the end-of-text token '</s>'"):
        Tokenizer.load(tmp_path / "a.json").encode("</s>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{}", "not a tokenizer.json"),
        ("no json", "not a tokenizer.json"),
        (b"\xff", "not a tok"),
    ],
)
def test_a_file_that_is_not_a_tokenizer_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_file(path)
    assert "\n" not in str(caught.value)
    gpt2().save(str(path))
    with pytest.raises(TokenizerError, match="not written by textgen"):
        Tokenizer.load(path)


def test_a_foreign_file_with_a_similar_template_is_not_taken_for_one_of_textgen(tmp_path):
    library = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "[SEP]": 2}, unk_token="a"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.add_special_tokens(["[SEP]"])
    library.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A [SEP] $B", special_tokens=[("[SEP]", 2)]
    )
    library.enable_truncation(2)
    library.save(str(tmp_path / "a.json"))
    assert Tokenizer.from_file(tmp_path / "a.json").encode("a b a b").tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("change", ["enable_truncation", "enable_padding"])
def test_truncation_and_padding_added_to_a_file_of_textgen_are_turned_off(tmp_path, change):
    path = tmp_path / "a.json"
    Tokenizer.train("char", ["some text"]).save(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    library.enable_truncation(2) if change == "enable_truncation" else library.enable_padding(length=50)
    library.save(str(path))
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.kind == "char"
    assert len(tokenizer.encode("some text")) == 9


def test_dropout_is_turned_off_since_it_would_change_the_ids(tmp_path):
    library = gpt2()
    data = json.loads(library.to_str())
    data["model"]["dropout"] = 0.5
    (tmp_path / "a.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.from_file(tmp_path / "a.json")
    assert tokenizer.encode(TEXT[0]).tolist() == library.encode(TEXT[0]).ids


def test_text_that_a_tokenizer_cannot_encode_is_refused(tmp_path):
    library = tokenizers.Tokenizer(models.WordLevel({chr(code): code for code in range(128)}))
    library.pre_tokenizer = pre_tokenizers.Split(Regex(r"."), "isolated")
    library.add_special_tokens(["<|endoftext|>"])
    library.save(str(tmp_path / "ascii.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "ascii.json")
    assert tokenizer.decode(tokenizer.encode("cafe"))
    for encode in (tokenizer.encode, tokenizer.encode_with_starts):
        with pytest.raises(TokenizerError, match=r"cannot encode every text .*\[UNK\].* an unknown token$"):
            encode("café")


def test_a_tokenizer_of_words_without_a_decoder_is_said_to_add_spaces(tmp_path):
    """As people write them: no character is lost, and yet no document comes back."""
    vocabulary = {"one": 0, ",": 1, "two": 2, "[UNK]": 3}
    library = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    stream = ["one, two", Separator(1, 1), "two, one"]
    found = measure_round_trip(tokenizer, stream)
    assert (found.lost_documents, found.lost_characters, found.added_characters) == (2, 0, 2)
    assert found.note == (
        "adds 2 to 16 characters, in 2 of 2 documents: 'one, two' comes back as 'one , two'; "
        "it has no decoder, so its tokens are joined with spaces."
    )
    library.decoder = decoders.WordPiece(cleanup=True)
    library.save(str(tmp_path / "tokenizer.json"))
    assert measure_round_trip(Tokenizer.from_file(tmp_path / "tokenizer.json"), stream).note is None


def test_what_a_tokenizer_loses_is_measured(case):
    name, _, tokenizer = case
    found = measure_round_trip(
        tokenizer, ["the", " cat", Separator(1, 1), "the CAT's é", Separator(1, 1), "the"]
    )
    assert (found.documents, found.characters) == (3, 21)
    if name in ("gpt2", "llama3", "qwen2"):
        assert (found.lost_documents, found.lost_characters, found.example) == (0, 0, None)
    if name == "bert":
        assert found.lost_documents == 1
        assert found.lost_characters >= len("CATé")
        assert found.example == ("the CAT's é", tokenizer.decode(tokenizer.encode("the CAT's é")))
