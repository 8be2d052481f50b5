import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.settings.config import NORMAL_FORMS, DataConfig
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator
from textgen.text.normalize import form_of, form_of_stream, normalize, normalized

# Characters that compose, decompose, change places and begin with a mark once they are decomposed.
RISKY = "ea\u0301\u0323\u0308é\u1ec7ﬁ½\uff76\uff9e\u1100\u1161\u11a8각가\u0f73\u0344\u0b47\u0b3e\ufb1d"
RISKY += "\u0958\u212b\n x=\u0338\u09c7\u09be"
texts = st.text(st.one_of(st.sampled_from(RISKY), st.characters(exclude_categories=["Cs"])), max_size=60)
forms = st.sampled_from(NORMAL_FORMS)


@given(texts, st.integers(1, 7), forms)
def test_normalizing_in_blocks_equals_normalizing_at_once(text, size, form):
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(normalized(blocks, form)) == unicodedata.normalize(form.upper(), text)


@pytest.mark.parametrize("form", NORMAL_FORMS)
def test_every_character_may_come_after_the_end_of_a_block(form):
    """Each character of Unicode after a block of one that composes with many."""
    for first in ("\u0b47", "\u1100", "e\u0301", "가"):
        for code in (
            *range(0x3500),
            *range(0x3500, 0xD800, 9),
            *range(0xF900, 0x12000),
            *range(0x1D100, 0x1D200),
        ):
            text = first + chr(code)
            assert "".join(normalized(text, form)) == unicodedata.normalize(form.upper(), text), hex(code)


def test_without_a_form_blocks_pass_as_they_are():
    assert list(normalized(["e", "\u0301"], None)) == ["e", "\u0301"]
    assert normalize("e\u0301", None) == "e\u0301"


def test_little_is_held_back():
    """After a line end nothing, and of text without one, not more than the last character and its marks."""
    stream = normalized(iter(["line\n", "中文", "字e", "\u0301"]), "nfc")
    assert [next(stream) for _ in range(3)] == ["line\n", "中", "文字"]
    assert list(stream) == ["é"]


def test_very_many_marks_take_time_in_proportion():
    def seconds(count):
        start = time.process_time()
        assert sum(map(len, normalized(["\u0301" * 1000] * count, "nfc"))) == 1000 * count
        return time.process_time() - start

    seconds(1)
    assert seconds(400) < 40 * max(seconds(40), 0.01)


@pytest.mark.parametrize(
    ("text", "form"),
    [("plain", None), ("", None), ("é", "nfc"), ("e\u0301", "nfd"), ("ée\u0301", None), ("中文 naive", None)],
)
def test_the_form_of_a_text_is_known_where_it_makes_a_difference(text, form):
    assert form_of(text) == form
    assert form_of_stream(["plain\n", Separator(1, 1), text]) == form


def corpus_of(path, **settings):
    return Corpus(DataConfig(corpus=(str(path),), **settings))


def text_of(corpus):
    return "".join(item for part in corpus.parts for item in corpus.stream(part) if isinstance(item, str))


@pytest.mark.parametrize("form", NORMAL_FORMS)
@pytest.mark.parametrize("documents", ["file", "line", "block"])
def test_a_normalized_corpus_is_that_of_a_file_that_was_normalized(tmp_path, form, documents):
    text = "Café ﬁne\u00a0\n\u00a0\nnaïve e\u0301 각\n\n" * 3000
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text(unicodedata.normalize(form.upper(), text))
    one = corpus_of(tmp_path / "a.txt", normalize=form, documents=documents)
    other = corpus_of(tmp_path / "b.txt", documents=documents)
    assert list(one.stream("train")) == list(other.stream("train")) or text_of(one) == text_of(other)
    assert one.size("train") == other.size("train")


def test_records_are_normalized_and_the_form_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "cafe\u0301\n" * 9)
    corpora = [corpus_of(tmp_path / "a.csv", field="text", normalize=form) for form in (None, *NORMAL_FORMS)]
    assert len({corpus.fingerprint for corpus in corpora}) == 5
    assert text_of(corpora[0]) == "cafe\u0301" * 9
    assert text_of(corpora[1]) == "café" * 9


def test_second_halves_are_found_in_a_moment():
    assert sys.maxunicode == 0x10FFFF
    start = time.process_time()
    list(normalized(["中", "文"], "nfc"))
    assert time.process_time() - start < 2
