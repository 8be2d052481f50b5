"""The records of a table as texts to score: alone, in context, and with their numbers in the file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from textgen.errors import CorpusError
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import PlainText, Records, score_each_line
from textgen.evaluation.summary import summarize
from textgen.text.documents import Separator
from textgen.text.formats import TextFile
from textgen.text.lines import LONGEST_IN_MEMORY

POEMS = ["The dog\nwas known.\n", "", "Why?\r\n\nIt is old!", "The fox " * 9, "the dog\n"]
NUMBERS = [1, 3, 4, 5]  # of those that have text


@pytest.fixture
def scorer(make_run) -> Scorer:
    return Scorer.from_run(make_run(end_of_text=True))


@pytest.fixture
def table(tmp_path: Path) -> TextFile:
    path = tmp_path / "poems.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "poem"], *enumerate(POEMS)])
    return TextFile(path, "poems.csv")


def records_of(table: TextFile, field: str | None = "poem") -> Records:
    return Records(table, field, "utf-8", None)


def test_each_record_alone_is_scored_as_one_document_whatever_line_ends_it_has(
    scorer: Scorer, table: TextFile
) -> None:
    found = [
        (line.number, "".join(line.without_end()), r) for line, r in records_of(table).each_alone(scorer)
    ]
    assert [number for number, _, _ in found] == NUMBERS
    assert [text for _, text, _ in found] == [text for text in POEMS if text]
    for _, text, report in found:
        assert report.loss.tokens == len(text) + 1  # and end-of-text
        *_, last = scorer.read([text, Separator(1, 1), "T"])
        with_next = summarize(scorer.read([text, Separator(1, 1), "T"])).report
        assert report.loss.total_nats == pytest.approx(with_next.loss.total_nats - last.nats.sum(), rel=1e-6)
        assert report.size.characters == len(text) + 1


def test_a_record_that_is_a_line_scores_as_that_line(scorer: Scorer, tmp_path: Path) -> None:
    names = ["The dog", "fox", "It is known"]
    (tmp_path / "names.tsv").write_text("name\tage\n" + "".join(f"{name}\t3\n" for name in names))
    table = Records(TextFile(tmp_path / "names.tsv", "names.tsv"), "name", "utf-8", None)
    lines = score_each_line(scorer, ["".join(f"{name}\n" for name in names)], "line")
    for (record, found), (line, expected) in zip(table.each_alone(scorer), lines, strict=True):
        assert (record.number, [*record]) == (line.number, [*line])
        assert found.loss.total_nats == pytest.approx(expected.loss.total_nats, rel=1e-6)
        assert (found.loss.tokens, found.size) == (expected.loss.tokens, expected.size)


def test_records_in_context_add_up_to_the_whole(scorer: Scorer, table: TextFile) -> None:
    whole = records_of(table)
    summary = summarize(scorer.read(whole.stream()), text=whole)
    table_in_context = records_of(table)
    found = [
        (line.number, "".join(line.without_end()), report)
        for line, report in table_in_context.each_in_context(scorer.read(table_in_context.stream()))
    ]
    assert [number for number, _, _ in found] == NUMBERS
    assert [text for _, text, _ in found] == [text for text in POEMS if text]
    assert sum(report.loss.tokens for _, _, report in found) == summary.report.loss.tokens
    total = sum(report.loss.total_nats for _, _, report in found)
    assert total == pytest.approx(summary.report.loss.total_nats)
    assert (summary.unit, summary.num_lines) == ("record", 4)
    assert summary.as_dict()["records"] == 4
    assert {line.number for line in summary.hardest} <= {*NUMBERS}
    assert {line.text for line in summary.hardest} <= {*POEMS}


def test_a_long_record_and_many_short_ones_are_each_scored_once(scorer: Scorer, tmp_path: Path) -> None:
    texts = [*(f"dog {n}" for n in range(1500)), "The fox " * (LONGEST_IN_MEMORY // 8 + 10), "the dog"]
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    table = Records(TextFile(path, "many.jsonl"), "text", "utf-8", None)
    found = [(line.number, line.is_long, report) for line, report in table.each_alone(scorer)]
    assert [number for number, _, _ in found] == [*range(1, 1503)]
    assert [number for number, is_long, _ in found if is_long] == [1501]
    assert [report.loss.tokens for _, _, report in found] == [len(text) + 1 for text in texts]


def test_records_without_the_field_are_counted_and_keep_their_numbers(scorer: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": "The dog"}, {"title": "fox"}, {"text": None}, {"text": "the"}]))
    table = Records(TextFile(path, "a.json"), "text", "utf-8", None)
    assert [line.number for line, _ in table.each_alone(scorer)] == [1, 4]
    assert table.skipped is not None
    assert table.skipped.startswith("Skipped 2 of 4 records")
    complete = Records(TextFile(path, "a.json"), "name", "utf-8", None)
    with pytest.raises(CorpusError, match=r"a\.json: no record has text in the field 'name'; found: text"):
        [*complete.stream()]


def test_lines_have_their_numbers_alone_and_in_context(scorer: Scorer) -> None:
    blocks = ["\n\nThe dog\n", "\nthe fox\n\n", "\n"]
    for documents in ("file", "line", "block"):
        alone = [line.number for line, _ in score_each_line(scorer, blocks, documents)]
        text = PlainText(blocks, documents)
        context = [line.number for line, _ in text.each_in_context(scorer.read(text.stream()))]
        assert alone == context == [*range(1, 8)]
