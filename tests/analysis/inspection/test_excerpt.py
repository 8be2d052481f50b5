"""Excerpts: the piece of text of each token, and where a text is cut."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgen.analysis.inspection.excerpt import excerpt_of_file, excerpt_of_tokens
from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.documents import Separator
from textgen.text.tokenizer import Tokenizer

TEXT = 'Un café, 中文! "The end"\n'
PLAIN = DataConfig(corpus=("a.txt",))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_the_pieces_of_all_tokens_make_up_the_text(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, ["Un caf and the end\n" * 9])
    excerpt = excerpt_of_tokens(tokenizer, tokenizer.encode(TEXT), 100, "text")
    assert excerpt.text == TEXT
    assert len(excerpt.pieces) == len(excerpt.token_ids)
    assert not excerpt.is_cut


def test_a_token_with_part_of_a_character_has_an_empty_piece_and_belongs_to_that_character() -> None:
    tokenizer = Tokenizer.train("byte", ["x"])
    excerpt = excerpt_of_tokens(tokenizer, tokenizer.encode("aéb"), 100, "text")
    assert excerpt.pieces == ("a", "", "é", "b")
    assert excerpt.characters.tolist() == [0, 1, 1, 2]


def test_a_token_of_several_characters_belongs_to_its_last_one() -> None:
    tokenizer = Tokenizer.train("word", ["to be or " * 5])
    excerpt = excerpt_of_tokens(tokenizer, tokenizer.encode("to be or"), 100, "text")
    assert "".join(excerpt.pieces) == "to be or"
    ends = np.cumsum([len(piece) for piece in excerpt.pieces]) - 1
    assert excerpt.characters.tolist() == ends.tolist()
    assert len(excerpt.pieces) < 8


def test_an_excerpt_is_cut_between_characters_and_says_so() -> None:
    tokenizer = Tokenizer.train("byte", ["x"])
    excerpt = excerpt_of_tokens(tokenizer, tokenizer.encode("aéééé"), 3, "text")
    assert (excerpt.text, excerpt.is_cut) == ("aéé", True)
    assert excerpt.token_ids.tolist() == tokenizer.encode("aéé").tolist()


def test_the_end_of_a_document_is_a_marked_line_break() -> None:
    tokenizer = Tokenizer.train("char", ["ab\n"])
    ids = np.concatenate([tokenizer.encode("a\n"), [tokenizer.end_of_text_id], tokenizer.encode("b")])
    excerpt = excerpt_of_tokens(tokenizer, ids, 100, "text", [Separator(3, 3)])
    assert excerpt.text == "a\n\nb"
    assert excerpt.is_document_end.tolist() == [False, False, True, False]
    assert excerpt.num_characters == len("a\n") + 3 + len("b")


def test_bytes_that_are_no_character_are_shown_as_replacement_characters() -> None:
    tokenizer = Tokenizer.train("byte", ["x"])
    excerpt = excerpt_of_tokens(tokenizer, np.array([ord("a"), 0xC3]), 100, "text")
    assert excerpt.text == "a�"
    assert excerpt.pieces[-1] == "�"


def test_an_empty_text_is_refused() -> None:
    tokenizer = Tokenizer.train("char", ["ab"])
    with pytest.raises(CorpusError, match="it contains no text"):
        excerpt_of_tokens(tokenizer, np.zeros(0, np.int64), 10, "text")


def test_only_the_beginning_of_a_file_is_read(tmp_path: Path) -> None:
    # The end of the file is invalid UTF-8, which would be refused if it were read.
    (tmp_path / "a.txt").write_bytes(b"abcde\n" * 40_000 + b"\xff")
    tokenizer = Tokenizer.train("char", ["abcde\n"])
    excerpt = excerpt_of_file(tokenizer, PLAIN, str(tmp_path / "a.txt"), 8)
    assert (excerpt.text, excerpt.is_cut, excerpt.name) == ("abcde\nab", True, "a.txt")
    (tmp_path / "a.txt").write_bytes(b"abcde\n\xff")
    with pytest.raises(CorpusError, match="invalid utf-8 at byte 6"):
        excerpt_of_file(tokenizer, PLAIN, str(tmp_path / "a.txt"), 8)


def test_a_text_of_exactly_that_length_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcde")
    tokenizer = Tokenizer.train("char", ["abcde\n"])
    assert not excerpt_of_file(tokenizer, PLAIN, str(tmp_path / "a.txt"), 5).is_cut
    assert excerpt_of_file(tokenizer, PLAIN, str(tmp_path / "a.txt"), 4).is_cut


def test_only_the_beginning_of_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        """As much text as is asked for."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:] = b"a" * len(buffer)
            return len(buffer)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    excerpt = excerpt_of_file(Tokenizer.train("char", ["ab"]), PLAIN, "-", 8)
    assert (excerpt.text, excerpt.is_cut, excerpt.name) == ("a" * 8, True, "standard input")


def test_records_are_documents_and_field_is_refused_for_plain_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "ab"}\n{"text": "c"}\n')
    (tmp_path / "a.txt").write_text("ab")
    tokenizer = Tokenizer.train("char", ["abc"])
    fields = DataConfig(corpus=("a.txt",), field="text")
    excerpt = excerpt_of_file(tokenizer, fields, str(tmp_path / "a.jsonl"), 100)
    assert excerpt.text == "ab\nc"
    assert excerpt.is_document_end.sum() == 1
    assert excerpt_of_file(tokenizer, fields, str(tmp_path / "a.txt"), 100).text == "ab"
    with pytest.raises(CorpusError, match=r"--field text: there is no \.jsonl"):
        excerpt_of_file(tokenizer, PLAIN, str(tmp_path / "a.txt"), 100, field="text")
