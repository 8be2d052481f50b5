"""Figures of novelty against their slow definitions, and the pieces of real text beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.analysis.novelty import NoveltyMeter, measure_novelty
from textgen.analysis.real_text import RealText
from textgen.generation.generator import Generator
from textgen.run import Run
from textgen.settings.config import DataConfig, NoveltyConfig, SampleConfig
from textgen.text import copies as copies_module
from textgen.text.copies import Copies
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator


def index(text: str, folder: Path) -> Copies:
    (folder / "a.txt").write_bytes(text.encode())
    copies_module._build(folder, Corpus.whole(DataConfig(corpus=("-",)), str(folder / "a.txt")), None)
    return Copies(folder)


@settings(max_examples=60)
@given(
    trained_on=st.text("ab é", min_size=2, max_size=40),
    text=st.text("ab éz", max_size=30),
    length=st.integers(1, 6),
)
def test_copied_characters_are_those_in_copies_of_at_least_the_length(
    tmp_path_factory, trained_on, text, length
) -> None:
    novelty = measure_novelty(text, index(trained_on, tmp_path_factory.mktemp("index")), length)
    segments = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    copied = {
        place
        for start in range(len(text) - length + 1)
        if text[start : start + length] in trained_on
        for place in range(start, start + length)
    }
    longest = max((len(segment) for segment in segments if segment in trained_on), default=0)
    assert (novelty.characters, novelty.copied_characters) == (len(text), len(copied))
    assert novelty.copied_share == (len(copied) / len(text) if text else 0)
    assert novelty.longest_characters == longest
    if novelty.longest is not None:
        assert novelty.longest.text in text
        assert novelty.longest.first.offset == trained_on.index(novelty.longest.text)


# ---- real text


def test_a_long_document_is_cut_into_pieces_and_what_is_left_over_is_dropped() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 5230)))
    assert RealText("val", [text[:70], text[70:]]).pieces(500, 100) == [
        text[start : start + 500] for start in range(0, 5000, 500)
    ]


def test_short_documents_are_pieces_of_their_own_and_no_piece_holds_two() -> None:
    stream = ["one", Separator(1, 1), "t", "wo", Separator(1, 1), "a longer one", Separator(0, 0, 0), "four"]
    assert RealText("val", stream).pieces(5) == ["one", "two", "a lon", "ger o", "four"]


def test_pieces_are_spread_evenly_over_a_text_of_any_length() -> None:
    stream = (f"{number:07d}" + "." * 4993 for number in range(3000))
    pieces = RealText("val", stream).pieces(5000, 10)
    numbers = [int(piece[:7]) for piece in pieces]
    assert len(numbers) == 10
    assert all(abs(number - 300 * k) < 60 for k, number in enumerate(numbers))


def test_a_text_too_short_for_a_piece_is_one() -> None:
    assert RealText("val", ["short"]).pieces(500) == ["short"]
    assert RealText("val", ["short"]).pieces(0) == list("short")  # an empty sample is compared too


# ---- reports

TRAINED_ON = "the old king is dead,\nlong live the new king of all the land\n"


@pytest.fixture
def meter(tmp_path: Path) -> NoveltyMeter:
    real = RealText("val", ["a new king of some land, who is not dead, "])
    return NoveltyMeter(index(TRAINED_ON, tmp_path), real, 10, "a.txt")


def test_a_report_has_the_means_of_the_samples_and_of_real_text_in_pieces_as_long(
    meter: NoveltyMeter,
) -> None:
    report = meter.report(["XX long live the new XX", "new king now!", ""])
    figures = report.as_dict()
    assert figures["length"] == 10
    assert figures["samples"].pop("each") == [sample.as_dict() for sample in report.samples]
    assert figures["samples"] == {
        "texts": 3,
        "mean_characters": 12,
        "mean_longest_characters": (18 + 9 + 0) / 3,
        "most_longest_characters": 18,
        "copied_share": 18 / 36,
    }
    assert figures["real_text"]["name"] == "val"
    assert figures["real_text"]["texts"] == 3
    assert figures["real_text"]["mean_characters"] == 12


def test_a_persons_lines_say_how_long_where_and_how_often(meter: NoveltyMeter) -> None:
    report = meter.report(["XX long live the new XX", "zzz", "king "])
    lines = meter.lines_of_each(report)
    assert lines[0] == (
        "sample 1: longest copy: 18 characters, at character 22 of the training text (line 2 of a.txt): "
        "'long live the new '"
    )
    assert lines[1] == "sample 1: 78.3% of its 23 characters in copies of 10 or more"
    assert lines[2] == "sample 2: longest copy: none; no character of it occurs in the training text"
    assert "(line 1 of a.txt), 2 times: 'king '" in lines[4]
    assert lines[-1].startswith("real text (val), 10 characters at a time: longest copy ")
    assert meter.lines_of_each(meter.report(["zzz"]))[0].startswith("longest copy: none")


def test_a_long_copy_is_shown_shortened_and_kept_whole_in_the_figures(tmp_path: Path) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 900)))
    meter = NoveltyMeter(index(text, tmp_path), RealText("val", ["x"]), 40)
    report = meter.report([text])
    assert len(meter.lines(report)[-1]) < 300
    assert report.as_dict()["samples"]["each"][0]["longest"]["text"] == text


def test_a_run_draws_what_its_settings_say(
    make_run: Callable[..., Run], meter: NoveltyMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator.from_run(make_run())
    config = NoveltyConfig(samples=3, tokens=20, seed=5, temperature=0.5)
    drawing = SampleConfig(max_new_tokens=20, temperature=0.5)
    texts = [sample.text for sample in generator.generate(num_samples=3, seed=5, config=drawing)]
    assert meter.report_on(generator, config) == meter.report(texts)
