"""Lines as they come: whole, in order, and those too long for memory on the disk."""

from __future__ import annotations

import pytest

from textgen.text.documents import Separator
from textgen.text.lines import LONGEST_IN_MEMORY, Line, as_text, lines

TEXT = "one\r\n\n\ntwo three\nrest"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_lines_of_a_text_are_the_same_however_it_comes(size: int) -> None:
    blocks = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    found = [line for ended in lines(blocks) for line in ended]
    assert ["".join(line) for line in found] == ["one\r\n", "\n", "\n", "two three\n", "rest"]
    assert ["".join(line.without_end()) for line in found] == ["one\r", "", "", "two three", "rest"]
    assert [line.characters for line in found] == [5, 1, 1, 10, 4]


def test_a_line_is_there_when_its_block_is() -> None:
    assert [[*line] for line in next(lines(iter(["one\ntwo\nth", "ree"])))] == [["one\n"], ["two\n"]]


def test_a_long_line_lies_on_the_disk_and_may_be_read_again() -> None:
    line = Line()
    pieces = ["日本\r" * 10_000, "x" * LONGEST_IN_MEMORY, "\n"]
    for piece in pieces:
        line.add(piece)
    assert line.is_long
    assert "".join(line) == "".join(line) == "".join(pieces)
    assert "".join(line.without_end()) == "".join(pieces[:2])
    assert max(map(len, line)) <= LONGEST_IN_MEMORY
    line.close()


def test_a_limit_keeps_the_beginning_only() -> None:
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
def test_where_lines_are_documents_end_of_text_stands_for_a_lines_end(
    text: str, expected: list[object]
) -> None:
    (ended,) = lines([text])
    assert list(as_text(ended[0], "line")) == expected
    assert "".join(map(str, as_text(ended[0], "file"))) == "".join(as_text(ended[0], "block")) == text
