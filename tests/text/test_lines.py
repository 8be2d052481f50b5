"""Lines as they arrive: complete, in order, and on disk when they are too long for memory."""

from __future__ import annotations

import pytest

from textgen.text.documents import Separator
from textgen.text.lines import LONGEST_IN_MEMORY, Line, as_text, lines

TEXT = "one\r\n\n\ntwo three\nrest"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_lines_of_a_text_do_not_depend_on_its_blocks(size: int) -> None:
    blocks = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    found = [line for ended in lines(blocks) for line in ended]
    assert ["".join(line) for line in found] == ["one\r\n", "\n", "\n", "two three\n", "rest"]
    assert ["".join(line.without_end()) for line in found] == ["one\r", "", "", "two three", "rest"]
    assert [line.characters for line in found] == [5, 1, 1, 10, 4]


def test_a_line_is_yielded_as_soon_as_its_block_has_arrived() -> None:
    assert [[*line] for line in next(lines(iter(["one\ntwo\nth", "ree"])))] == [["one\n"], ["two\n"]]


def test_a_long_line_is_kept_on_disk_and_may_be_read_again() -> None:
    line = Line()
    pieces = ["日本\r" * 10_000, "x" * LONGEST_IN_MEMORY, "\n"]
    for piece in pieces:
        line.add(piece)
    assert line.is_long
    assert "".join(line) == "".join(line) == "".join(pieces)
    assert "".join(line.without_end()) == "".join(pieces[:2])
    assert max(map(len, line)) <= LONGEST_IN_MEMORY
    line.close()


def test_a_limit_keeps_only_the_beginning() -> None:
    line = Line(limit=5)
    for piece in ("abc", "defg", "hij\n"):
        line.add(piece)
    assert "".join(line) == "".join(line.without_end()) == "abcde"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n", ["one", Separator(1, 1)]),
        ("one\r\n", ["one", Separator(2, 2)]),
        ("one", ["one"]),
        ("\n", []),
        ("\r\n", []),
    ],
)
def test_where_lines_are_documents_a_line_end_becomes_a_separator(text: str, expected: list[object]) -> None:
    (ended,) = lines([text])
    assert list(as_text(ended[0], "line")) == expected
    assert "".join(map(str, as_text(ended[0], "file"))) == "".join(as_text(ended[0], "block")) == text
