"""Text on a terminal: control characters are made visible, unless they are our own."""

from __future__ import annotations

import io
import os
import unicodedata

import pytest

from textgen.system.terminal import guarded, one_line, unguarded, visible

tty = pytest.importorskip("tty", reason="pseudo-terminals as POSIX has them")

DIRECTIONS = "LRE RLE PDF LRO RLO LRI RLI FSI PDI".split()
MARKS = ("LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK")


def acts(character: str) -> bool:
    """A control character, or one that changes the direction of writing, by the tables of Unicode."""
    return (
        unicodedata.category(character) == "Cc"
        or unicodedata.bidirectional(character) in DIRECTIONS
        or unicodedata.name(character, "") in MARKS
    )


ACTING = [character for character in map(chr, range(0x110000)) if acts(character)]


def test_what_acts_on_a_terminal_is_made_visible_and_all_else_stays() -> None:
    assert len(ACTING) == 65 + 12
    for character in ACTING:
        if character in "\n\t":
            assert visible(character) == character
            assert one_line(character).isprintable()
        else:
            assert visible(character).isprintable()
            assert visible(character, pictures=False).isascii()
    others = "".join(c for c in map(chr, range(0x110000)) if c not in ACTING)
    assert visible(others) == others


def test_every_character_has_a_form_of_its_own() -> None:
    for pictures in (True, False):
        assert len({visible(c, pictures=pictures) for c in ACTING}) == len(ACTING)
    assert visible("\x00\x1b\x7f\x9b\u202e") == "␀␛␡\\u009b\\u202e"


def shown(*pieces: str, encoding: str = "utf-8", ours: str = "") -> str:
    """What a pseudo-terminal receives when these pieces are printed, and our own sequence."""
    controller, terminal = os.openpty()
    tty.setraw(terminal)
    with os.fdopen(terminal, "w", encoding=encoding, newline="\n") as file:
        stream = guarded(file)
        for piece in pieces:
            print(piece, end="", file=stream)
        unguarded(stream).write(ours + "END")
        stream.flush()
        received = b""
        while not received.endswith(b"END"):
            received += os.read(controller, 2**16)
    os.close(controller)
    return received.decode(encoding).removesuffix("END")


def test_a_terminal_receives_no_control_character_but_ours() -> None:
    assert shown("a\x1b[2J\n", "\tb\x9b2J", ours="\x1b[0m\r") == "a␛[2J\n\tb\\u009b2J\x1b[0m\r"


def test_a_carriage_return_is_shown_unless_it_is_part_of_a_line_end() -> None:
    assert shown("one\r", "\ntwo\r\n", "three\rfour\n") == "one\ntwo\nthree␍four\n"


def test_a_terminal_without_the_symbols_gets_escapes() -> None:
    assert shown("\x1b\x85é✓", encoding="latin-1") == "\\u001b\\u0085é\\u2713"


def test_a_pipe_receives_every_character(tmp_path) -> None:
    with (tmp_path / "file").open("w") as file:
        for stream in (io.StringIO(), file):
            assert guarded(stream) is stream
            assert unguarded(stream) is stream
