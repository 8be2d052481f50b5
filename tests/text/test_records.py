"""Records of .jsonl and .csv files, and the ones that cannot be used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import CorpusError
from textgen.text import formats
from textgen.text.formats import TextFile
from textgen.text.records import RecordCount, records


def written(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 5)


def records_of(path, field):
    return list(records(TextFile(path, path.name), field, "utf-8"))


json_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\r\n\t\u2028"))


@given(st.lists(json_texts, min_size=1, max_size=5), st.booleans())
def test_jsonl_records_come_back_as_written(tmp_path_factory, texts, escaped):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    lines = [json.dumps({"id": 1, "text": text}, ensure_ascii=escaped) for text in texts]
    path.write_text("\n\n".join(lines), encoding="utf-8", newline="")
    assert records_of(path, "text") == texts


@pytest.mark.usefixtures("small_blocks")
def test_csv_fields_may_contain_commas_quotes_and_line_ends(tmp_path):
    path = written(tmp_path, b'id,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,d\r\n', "a.csv")
    assert records_of(path, "text") == ['a, "b"\r\nc', "d"]


def test_a_csv_field_may_be_long(tmp_path):
    path = written(tmp_path, b"text\n" + b"x" * 200_000 + b"\n", "a.csv")
    assert records_of(path, "text") == ["x" * 200_000]


@pytest.mark.parametrize(
    ("name", "data", "field", "message"),
    [
        ("a.jsonl", '{"id": 1, "body": "x"}', None, r"a.jsonl:1: .*--field; found: id, body"),
        ("a.csv", "id,body\n1,x\n", None, r"a.csv:1: .*--field; found: id, body"),
        ("a.csv", "id,body\n1,x\n", "text", r"a.csv:1: no field 'text'"),
        ("a.csv", "id,text\n1,x\n2\n", "text", r"a.csv:3: 1 fields where the header has 2"),
        ("a.jsonl", '{"text": "x"}\n\n{"text": \n', "text", r"a.jsonl:3: not JSON"),
        ("a.jsonl", "[" * 100_000, "text", r"a.jsonl:1: not JSON"),
        ("a.jsonl", '["x"]', "text", r"a.jsonl:1: a list; each line must be one object"),
        ("a.jsonl", '{"text": 5}', "text", r"a.jsonl:1: the field 'text' is not text: 5"),
        ("a.jsonl", '{"text": "\\ud800"}', "text", r"a.jsonl:1: the text has a lone surrogate"),
        ("a.csv", 'text\n"x" y\n', "text", r"a.csv:2: not CSV"),
        ("a.csv", 'text\n"x', "text", r"a.csv:2: not CSV"),
    ],
)
def test_a_record_that_cannot_be_used_is_reported_with_file_and_line(tmp_path, name, data, field, message):
    with pytest.raises(CorpusError, match=message):
        records_of(written(tmp_path, data.encode(), name), field)


def test_records_without_the_field_or_with_null_are_skipped_and_counted(tmp_path):
    data = b'{"text": "x"}\n{"body": "y"}\n\n{"text": null}\n{"text": ""}\n{"text": "z"}\n'
    path, count = written(tmp_path, data, "a.jsonl"), RecordCount()
    assert list(records(TextFile(path, "a.jsonl"), "text", "utf-8", count)) == ["x", "", "z"]
    assert count == RecordCount(read=5, absent=1, null=1)


@pytest.mark.parametrize(
    ("absent", "null", "reasons"),
    [
        (1, 0, "1 without the field 'text'"),
        (0, 2, "the field 'text' is null"),
        (1, 2, "1 without the field 'text', 2 where it is null"),
    ],
)
def test_a_note_says_how_many_records_were_skipped_and_why(absent, null, reasons):
    count = RecordCount(read=3000, absent=absent, null=null)
    assert count.note("text") == f"Skipped {absent + null} of 3,000 records: {reasons}."


def test_a_message_names_a_limited_number_of_fields():
    count = RecordCount(read=1, absent=1)
    count.add_names(str(number) for number in range(1000))
    with pytest.raises(CorpusError, match="found: 0, 1, 2") as caught:
        count.require_text("a.jsonl", "text")
    assert len(str(caught.value)) < 200
