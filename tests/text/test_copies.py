"""The index of a training text against its slow definition: str.find in every document."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import CorpusError, TextgenError
from textgen.settings.config import DataConfig
from textgen.text import copies as copies_module
from textgen.text.blocks import spread_blocks
from textgen.text.copies import Copies, Place
from textgen.text.corpus import Corpus

Index = Callable[..., Copies]
LETTERS = "ab é日🙂"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """index(text, documents): the index of a file with that text."""

    def build(text: str, documents: str = "file") -> Copies:
        folder = tmp_path_factory.mktemp("copies")
        (folder / "a.txt").write_bytes(text.encode())
        config = DataConfig(corpus=("unused",), documents=documents)
        copies_module._build(folder, Corpus.whole(config, str(folder / "a.txt")), None)
        return Copies(folder)

    return build


def slow_lengths(text: str, documents: Sequence[str]) -> list[int]:
    """For each end, the length of the longest segment that some document contains."""
    return [
        max(
            length
            for length in range(end + 1)
            if any(document.find(text[end - length : end]) >= 0 for document in documents)
        )
        for end in range(1, len(text) + 1)
    ]


@settings(max_examples=60)
@given(
    documents=st.lists(st.text(LETTERS, min_size=2, max_size=30), min_size=1, max_size=4),
    text=st.text(LETTERS + "ç語", max_size=25),
)
def test_lengths_are_those_of_the_longest_segments_that_occur_in_a_document(index, documents, text) -> None:
    copies = index("\n".join(documents), "line")
    assert copies.lengths(text).tolist() == slow_lengths(text, documents)


@settings(max_examples=60)
@given(text=st.text(LETTERS + "\n", min_size=2, max_size=60), data=st.data())
def test_a_segment_is_found_with_its_number_of_occurrences_and_its_first_place(index, text, data) -> None:
    copies = index(text)
    start = data.draw(st.integers(0, len(text) - 1))
    segment = text[start : data.draw(st.integers(start + 1, len(text)))]
    starts = [place for place in range(len(text)) if text.startswith(segment, place)]
    found = copies.find(segment)
    assert found is not None
    assert (found.text, found.occurrences) == (segment, len(starts))
    assert found.first == Place(starts[0], 1, text[: starts[0]].count("\n") + 1)


@settings(max_examples=60)
@given(text=st.text(LETTERS, min_size=2, max_size=30), segment=st.text(LETTERS, min_size=1, max_size=4))
def test_contains_and_find_agree_with_str_find(index, text, segment) -> None:
    copies = index(text)
    assert copies.contains(segment) == (segment in text)
    assert (copies.find(segment) is not None) == (segment in text)


def test_a_place_is_given_as_character_document_and_line_with_original_separators(index) -> None:
    text = "日本\r\n語\r\n\r\n\r\nzwei\nzwölf\n\ndrei"
    copies = index(text, "block")
    assert copies.documents == 3
    for segment, document, line in [("本", 1, 1), ("語", 1, 2), ("we", 2, 1), ("ö", 2, 2), ("drei", 3, 1)]:
        found = copies.find(segment)
        assert found is not None
        assert found.first == Place(text.index(segment), document, line)


def test_no_segment_spans_two_documents(index) -> None:
    copies = index("ab\ncd", "line")
    assert copies.lengths("abcd").tolist() == [1, 2, 1, 2]
    assert not any(copies.contains(segment) for segment in ("bc", "b\nc", "\n"))


def test_part_of_a_character_is_not_a_copy(index) -> None:
    # é is c3 a9, è c3 a8, © c2 a9: they share bytes, but no character.
    assert index("xé").lengths("xè©").tolist() == [1, 0, 0]


# ---- texts that are too large to index whole


def numbered(count: int) -> str:
    return "".join(f"{number:04d} ü\n" for number in range(count))  # 7 characters and 8 bytes each


def test_for_a_large_text_blocks_are_indexed_and_places_are_those_in_the_text(
    index, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = numbered(2000)
    monkeypatch.setattr(copies_module, "LARGEST_TEXT", 1600)
    monkeypatch.setattr(copies_module, "BLOCKS", 4)
    copies, again = index(text), index(text)
    assert copies.indexed_share == pytest.approx(0.1)
    found = [copies.find(line) for line in text.splitlines()]
    assert sum(place is not None for place in found) == pytest.approx(200, abs=8)
    for line, place in zip(text.splitlines(), found, strict=True):
        if place is not None:
            number = int(line[:4])
            assert place.first == Place(7 * number, 1, number + 1)
    quarters = [sum(place is not None for place in found[k : k + 500]) for k in range(0, 2000, 500)]
    assert min(quarters) > 40
    assert [again.find(line) for line in text.splitlines()] == found
    assert copies.remarks() == [
        "Only 10.0% of the training text, spread evenly over it, was searched: "
        "there may be more and longer copies."
    ]


def test_for_a_large_text_of_many_documents_places_are_right_too(
    index, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = numbered(2000)
    monkeypatch.setattr(copies_module, "LARGEST_TEXT", 4000)
    monkeypatch.setattr(copies_module, "BLOCKS", 7)
    copies = index(text, "line")
    numbers = [number for number in range(2000) if copies.contains(f"{number:04d} ü")]
    assert 450 < len(numbers) < 550
    for number in numbers:
        found = copies.find(f"{number:04d} ü")
        assert found is not None
        assert found.first == Place(7 * number, number + 1, 1)


def test_in_a_block_of_a_large_text_lines_are_counted_from_where_their_document_begins(
    index, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"{number:04d} ü\n" + "\n" * (number % 10 == 9) for number in range(2000))
    monkeypatch.setattr(copies_module, "LARGEST_TEXT", 4000)
    monkeypatch.setattr(copies_module, "BLOCKS", 7)
    copies = index(text, "block")
    numbers = [number for number in range(2000) if copies.contains(f"{number:04d} ü")]
    assert 400 < len(numbers) < 550
    for number in numbers:
        found = copies.find(f"{number:04d} ü")
        assert found is not None
        assert found.first == Place(text.index(f"{number:04d} ü"), number // 10 + 1, number % 10 + 1)


def test_a_text_of_exactly_the_limit_is_indexed_whole(index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies_module, "LARGEST_TEXT", 8 * 100)
    copies = index(numbered(100))
    assert copies.indexed_share == 1
    assert copies.remarks() == []
    assert copies.contains(numbered(100))


@given(
    characters=st.integers(1, 10**6),
    width=st.integers(1, 4),
    largest=st.integers(1, 10**4),
    count=st.integers(1, 60),
)
def test_blocks_do_not_overlap_and_stay_within_the_limit(characters, width, largest, count) -> None:
    from textgen.text.documents import TextSize

    size = TextSize(characters, width * characters, 1, 1)
    blocks = spread_blocks(size, largest, count)
    assert sum(stop - start for start, stop in blocks) * width <= max(largest, 0)
    assert all(start <= stop for start, stop in blocks)
    assert all(one[1] <= other[0] for one, other in pairwise(blocks))
    assert blocks[-1][1] <= characters


@pytest.mark.parametrize(
    "text", [numbered(130_000), "a" * 10**6, "ab" * 500_000], ids=["lines", "one letter", "two"]
)
def test_a_megabyte_is_indexed_in_under_10_seconds(index, text: str) -> None:
    started = time.monotonic()
    copies = index(text)
    assert time.monotonic() - started < 10
    assert copies.lengths(text[-300:])[-1] == 300


# ---- the cache folder


def corpus_of(path: Path) -> Corpus:
    return Corpus(DataConfig(corpus=(str(path),)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(numbered(100), encoding="utf-8")
    return path


def hide_pydivsufsort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)


def test_an_index_is_cached_by_content_and_needs_pydivsufsort_only_to_be_built(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Copies.open_or_build(corpus_of(path), tmp_path / "cache")
    os.utime(path, (1, 1))
    hide_pydivsufsort(monkeypatch)
    copies = Copies.open_or_build(corpus_of(path.rename(tmp_path / "moved.txt")), tmp_path / "cache")
    assert copies.contains("0042 ü")
    (tmp_path / "moved.txt").write_text(numbered(101), encoding="utf-8")
    with pytest.raises(TextgenError, match=r"pip install 'textgen\[novelty\]'"):
        Copies.open_or_build(corpus_of(tmp_path / "moved.txt"), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_only_the_training_part_is_indexed(path: Path, tmp_path: Path) -> None:
    copies = Copies.open_or_build(corpus_of(path), tmp_path / "cache")
    assert copies.contains("0089 ü\n")
    assert not copies.contains("0090 ü")


@pytest.mark.parametrize("name", ["text.bin", "suffixes.bin", "meta.json"])
def test_a_damaged_index_is_built_again_and_says_so(
    path: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    Copies.open_or_build(corpus_of(path), tmp_path / "cache")
    [folder] = (tmp_path / "cache").iterdir()
    os.truncate(folder / name, 20)
    assert Copies.open_or_build(corpus_of(path), tmp_path / "cache").contains("0042 ü")
    whole = (folder / name).read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 4
    (folder / name).write_bytes(damaged)
    caplog.clear()
    Copies.open_or_build(corpus_of(path), tmp_path / "cache")
    assert f"{folder}: damaged" in caplog.text
    assert (folder / name).read_bytes() == whole
    assert [*(tmp_path / "cache").iterdir()] == [folder]


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_option(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="--cache-dir"):
        Copies.open_or_build(corpus_of(path), path / "cache")


def test_a_text_that_changes_while_it_is_indexed_is_refused_and_nothing_is_left_behind(
    path: Path, tmp_path: Path
) -> None:
    text = path.read_text(encoding="utf-8")

    def grow(what: str, done: int, total: int) -> None:
        path.write_text(text + "one more line", encoding="utf-8")

    with pytest.raises(CorpusError, match=r"changed while it was read"):
        Copies.open_or_build(corpus_of(path), tmp_path / "cache", grow)
    assert not [*(tmp_path / "cache").iterdir()]


def test_progress_ends_with_all_characters(path: Path, tmp_path: Path) -> None:
    reported: list[tuple[str, int, int]] = []
    Copies.open_or_build(corpus_of(path), tmp_path / "cache", lambda *work: reported.append(work))
    assert reported[-1] == ("indexing train", 630, 630)
