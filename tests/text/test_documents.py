import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.text.documents import (
    Separator,
    TextSize,
    between_documents,
    measure,
    split_at_carriage_returns,
    split_documents,
    stream_slice,
)

# Few distinct characters, so that line ends, blanks and text occur in every order.
texts = st.text(st.sampled_from("ab \t\r\n"), max_size=40)


def documents_of(stream):
    """The documents, and the separators between them, of a stream."""
    documents, separators = [[]], []
    for item in stream:
        if isinstance(item, Separator):
            separators.append(item)
            documents.append([])
        else:
            assert item
            documents[-1].append(item)
    assert all(documents) or documents == [[]]
    return ["".join(document) for document in documents if document], separators


def split_at_once(text, kind):
    """The slow, readable twin of split_documents: one pattern on the whole text."""
    if kind == "line":
        pieces = re.split(r"((?:\r?\n)+)", text)
    else:
        text = re.sub(r"\A(?:[ \t]*\r?\n)+", "", text)
        pieces = re.split(r"(\r?\n(?:[ \t]*\r?\n)+)", text)
        pieces[-1] = re.sub(r"(\r?\n|\A)[ \t]*\Z", "", pieces[-1])
    while pieces and not pieces[0]:
        pieces = pieces[2:]
    while pieces and not pieces[-1]:
        pieces = pieces[:-2]
    return pieces[::2], [Separator(len(piece), len(piece), piece.count("\n")) for piece in pieces[1::2]]


@given(texts, st.sampled_from(["line", "block"]), st.integers(1, 7))
def test_documents_do_not_depend_on_where_the_blocks_of_a_file_end(text, kind, size):
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert documents_of(split_documents(blocks, kind)) == split_at_once(text, kind)


@pytest.mark.parametrize(
    ("kind", "text", "documents", "widths"),
    [
        ("file", "\na\n\nb\n", ["\na\n\nb\n"], []),
        ("line", "\na\r\n\r\n  b\nc\n", ["a", "  b", "c"], [4, 1]),
        ("block", "\n \na\nb\n \t\n\n  c\r\n\r\nd\n", ["a\nb", "  c", "d"], [5, 4]),
        ("line", "a\rb\r", ["a\rb\r"], []),
        ("block", "a\r\r\nb", ["a\r\r\nb"], []),
    ],
)
def test_each_kind_of_document_is_separated_as_documented(kind, text, documents, widths):
    found, separators = documents_of(split_documents([text], kind))
    assert (found, [each.characters for each in separators]) == (documents, widths)


@given(texts, st.sampled_from(["file", "line", "block"]), st.integers(1, 7))
def test_carriage_returns_split_a_file_as_line_feeds_do(text, kind, size):
    text = text.replace("\n", "")
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    documents, separators = documents_of(split_documents([text.replace("\r", "\n")], kind))
    expected = [document.replace("\n", "\r") for document in documents], separators
    assert documents_of(split_at_carriage_returns(blocks, kind)) == expected


@pytest.mark.parametrize("size", [1000, 6000, 20000])
def test_a_line_of_very_many_blanks_is_text_wherever_blocks_end(size):
    text = "a\n\n" + " " * 5000 + "\nb"
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert documents_of(split_documents(blocks, "block"))[0] == ["a", " " * 5000 + "\nb"]


items = st.lists(st.one_of(st.text("ab ", min_size=1, max_size=5), st.just(None)), max_size=12)


def stream_of(pieces):
    """A stream as split_documents makes it: single separators, and only between texts."""
    stream = []
    for piece in pieces:
        if piece is not None:
            stream.append(piece)
        elif stream and isinstance(stream[-1], str):
            stream.append(Separator(2, 2))
    if stream and not isinstance(stream[-1], str):
        stream.pop()
    return stream


@given(items, st.integers(0, 30))
def test_two_slices_contain_all_the_text_and_no_separator_at_either_end(pieces, cut):
    stream = stream_of(pieces)
    first, second = list(stream_slice(stream, 0, cut)), list(stream_slice(stream, cut, None))
    text = "".join(item for item in stream if isinstance(item, str))
    assert "".join(item for item in first if isinstance(item, str)) == text[:cut]
    assert "".join(item for item in second if isinstance(item, str)) == text[cut:]
    documents_of(first)
    documents_of(second)
    num_separators = sum(isinstance(item, Separator) for item in first + second)
    assert sum(isinstance(item, Separator) for item in stream) - num_separators in (0, 1)


def test_streams_are_separated_and_empty_ones_are_skipped():
    streams = [[], ["a", Separator(1, 1), "b"], [], ["c"], []]
    assert list(between_documents(streams)) == ["a", Separator(1, 1), "b", Separator(0, 0, 0), "c"]


@given(items)
def test_measuring_piece_by_piece_equals_measuring_each_document_at_once(pieces):
    stream = stream_of(pieces)
    documents, separators = documents_of(stream)
    assert measure(stream) == TextSize(
        characters=sum(map(len, documents)) + 2 * len(separators),
        bytes=sum(len(document.encode()) for document in documents) + 2 * len(separators),
        words=sum(len(document.split()) for document in documents),
        documents=len(documents),
    )


def test_bytes_are_counted_in_utf8():
    assert measure(["né", Separator(1, 1), "中"]) == TextSize(4, 7, 2, 2)
