"""Blocks of a text stream against the same characters taken from a list."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from textgen.text.blocks import DOCUMENT, GAP, copy_blocks
from textgen.text.documents import Separator


@given(
    documents=st.lists(
        st.tuples(st.lists(st.text("aé🙂\n", min_size=1, max_size=6), min_size=1), st.integers(0, 3)),
        min_size=1,
        max_size=5,
    ),
    data=st.data(),
)
def test_blocks_hold_the_characters_of_their_spans(documents, data) -> None:
    stream: list[str | Separator] = []
    characters: list[str] = []  # a separator counts as its characters, but holds no text
    for number, (pieces, width) in enumerate(documents):
        if number:
            stream.append(Separator(width, width))
            characters += [""] * width
        stream += pieces
        characters += "".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(characters)), min_size=2, max_size=8)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    file = io.BytesIO()
    blocks = copy_blocks(stream, spans, file)
    starts = [block.start for block in blocks]
    written = file.getvalue()
    for (start, stop), begin, end in zip(spans, starts, [*starts[1:], len(written)], strict=True):
        assert written[begin:end].endswith(DOCUMENT)
        text = written[begin:end].replace(DOCUMENT, b"").replace(GAP, b"").decode()
        assert text == "".join(characters[start:stop])


def test_a_block_that_ends_inside_a_separator_contains_nothing_of_the_text_after_it() -> None:
    file = io.BytesIO()
    copy_blocks(["one", Separator(4, 4), "another"], [(1, 5), (8, 10)], file)
    assert file.getvalue() == b"ne" + DOCUMENT + 4 * GAP + DOCUMENT + b"no" + DOCUMENT
