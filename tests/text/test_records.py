"""Records of .jsonl and .csv files, and the ones that cannot be used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import CorpusError
from textgen.text import formats
from textgen.text.formats import TextFile
from textgen.text.records import RecordCount, _json_array, records


def texts(found):
    return [record.text for record in found]


def written(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 5)


def records_of(path, field, delimiter=None):
    return [record.text for record in records(TextFile(path, path.name), field, "utf-8", delimiter)]


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
        ("a.jsonl", '["x"]', "text", r"a.jsonl:1: a list; each record must be one object"),
        ("a.jsonl", '{"text": 5}', "text", r"a.jsonl:1: the field 'text' is not text: 5"),
        ("a.jsonl", '{"text": "\\ud800"}', "text", r"a.jsonl:1: the text has a lone surrogate"),
        ("a.csv", 'text\n"x" y\n', "text", r"a.csv:2: not CSV"),
        ("a.csv", 'text\n"x', "text", r"a.csv:2: not CSV"),
        ("a.jsonl", '{"a": {"b": 1, "c": {}}, "d": 2}', None, r"a.jsonl:1: .*--field; found: a.b, a.c, d"),
        ("a.jsonl", '{"a": {"b": 1}}', "a.b", r"a.jsonl:1: the field 'a.b' is not text: 1"),
        (
            "a.jsonl",
            '{"a": {"b": "x"}}\n{"a": ["x"]}',
            "a.b",
            r"a.jsonl:2: the field 'a' is not an object: \[",
        ),
        ("a.json", '\n[\n{"id": 1}]', None, r"a.json:3: .*--field; found: id"),
        (
            "a.json",
            '[{"text": "x"},\n\n {"text":\n 5}]',
            "text",
            r"a.json:3: the field 'text' is not text: 5",
        ),
        ("a.json", '[{"text": "x"},\n["x"]]', "text", r"a.json:2: a list; each record must be one object"),
        ("a.json", '[{"text": "x"},\n12]', "text", r"a.json:2: a int; each"),
        (
            "a.json",
            '[{"text": "x"}\n{"text": "x"}]',
            "text",
            r"a.json:2: not JSON \(a comma or \] must follow",
        ),
        ("a.json", '[{"text": "x"},\n]', "text", r"a.json:2: not JSON \(Expecting value"),
        ("a.json", '[{"text": "x"}', "text", r"a.json:1: not JSON \(a comma or \] must follow"),
        ("a.json", '[{"text": "x"}]\n[', "text", r"a.json:2: not JSON \(nothing may follow"),
        ("a.json", '[{"text":\n"x\t"}]', "text", r"a.json:2: not JSON \(Invalid control character\)"),
        ("a.json", '[{"text":\n"x}]', "text", r"a.json:2: not JSON \(Unterminated string"),
        (
            "a.json",
            '[{"text":\nx}, ' + '{"text": "x"}, ' * 9 + "]",
            "text",
            r"a.json:2: not JSON \(Expecting value",
        ),
        ("a.json", '[{"a": ' + "[" * 100_000, "text", r"a.json:1: not JSON"),
        ("a.json", '[{"text": "\\ud800"}]', "text", r"a.json:1: the text has a lone surrogate"),
        ("a.csv", "id;body\n1;x\n", None, r"a.csv:1: .*--field; found: id, body"),
        ("a.csv", "1,x\n2,y\n", "3", r"a.csv:1: no field or column 3; there are 2 columns"),
        ("a.csv", "1,x\n2,y\n", "0", r"a.csv:1: no field or column 0"),
        ("a.csv", "1,x\n2\n", "2", r"a.csv:2: 1 fields where the header has 2"),
        ("a.tsv", "id\tbody\n1\tx\n", None, r"a.tsv:1: .*--field; found: id, body"),
        ("a.tsv", 'id\ttext\n1\t"x\ny"\n', "text", r"a.tsv:3: 1 fields .* each line of a .tsv"),
    ],
)
def test_a_record_that_cannot_be_used_is_reported_with_file_and_line(tmp_path, name, data, field, message):
    with pytest.raises(CorpusError, match=message):
        records_of(written(tmp_path, data.encode(), name), field)


def test_records_without_the_field_or_with_null_are_skipped_and_counted(tmp_path):
    data = b'{"text": "x"}\n{"body": "y"}\n\n{"text": null}\n{"text": ""}\n{"text": "z"}\n'
    path, count = written(tmp_path, data, "a.jsonl"), RecordCount()
    assert texts(records(TextFile(path, "a.jsonl"), "text", "utf-8", count=count)) == ["x", "", "z"]
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


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_delimiter_is_found_in_the_header(tmp_path, name, delimiter):
    rows = [["id", "text", "by"], ["1", "one", "x"], ["2", "two", "y"]]
    data = "\n".join(delimiter.join(row) for row in rows).encode()
    assert records_of(written(tmp_path, data, name), "text") == ["one", "two"]
    assert records_of(written(tmp_path, data, name), "2") == ["text", "one", "two"]


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        (b"text\na;b\n", "text", ["a;b"]),
        (b"id;a;b;c,text\n1,x\n", "text", ["x"]),  # commas, as the field is found so
        (b"a,b,c;text\n1;x\n", "text", ["x"]),
        (b'"a;b;c";text\n"1;";"x;y"\n', "text", ["x;y"]),
        (b'"a\nb;c;d",text\n1,x\n', "text", ["x"]),
        (b"2,1\na,b\n", "1", ["b"]),  # a header of numbers
        (b"", "text", []),
        (b"\n", "1", None),
    ],
)
def test_a_delimiter_by_which_the_field_is_found_comes_first(tmp_path, data, field, expected):
    path = written(tmp_path, data, "a.csv")
    if expected is None:
        with pytest.raises(CorpusError, match="no field or column 1"):
            records_of(path, field)
    else:
        assert records_of(path, field) == expected


def test_a_given_delimiter_is_not_searched_for(tmp_path):
    path = written(tmp_path, b"id^te,xt\n1^a,b\n", "a.csv")
    assert records_of(path, "te,xt", "^") == ["a,b"]
    with pytest.raises(CorpusError, match=r"a.csv:1: no field 'id'"):
        records_of(path, "id")


@pytest.mark.usefixtures("small_blocks")
def test_a_tsv_file_has_a_record_a_line_and_may_have_quotes_within(tmp_path):
    rows = ['"Hello,', '"quoted ""twice"""', '"a" and "b"', "it's", '"', ""]
    data = "id\ttext\r\n" + "".join(f"1\t{row}\r\n" for row in rows) + "\r\n2\tlast"
    expected = ['"Hello,', 'quoted "twice"', '"a" and "b"', "it's", '"', "", "last"]
    assert records_of(written(tmp_path, data.encode(), "a.tsv"), "text") == expected


def test_a_field_within_another_is_named_with_a_dot(tmp_path):
    data = (
        b'{"a": {"b": "x"}}\n{"a.b": "y", "a": 1}\n{"a": null}\n{"a": {"b": null}}\n{"a": {}}\n{"c": "z"}\n'
    )
    path, count = written(tmp_path, data, "a.jsonl"), RecordCount()
    assert texts(records(TextFile(path, "a.jsonl"), "a.b", "utf-8", count=count)) == ["x", "y"]
    assert count == RecordCount(read=6, absent=2, null=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.tuples(json_texts, json_values), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([None, 1, 40]),
    st.integers(1, 70),
)
def test_records_of_a_json_array_come_back_as_written_with_their_lines(
    tmp_path_factory, texts, escaped, indent, block
):
    path = tmp_path_factory.mktemp("json") / "a.json"
    found = [{"rest": rest, "text": text} for text, rest in texts]
    data = json.dumps(found, ensure_ascii=escaped, indent=indent)
    path.write_text(data, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_BLOCK_BYTES", block)
        assert records_of(path, "text") == [text for text, _ in texts]
        elements = list(_json_array(TextFile(path, "a.json"), "utf-8"))
    lines = [1] * len(found)
    if indent is not None:  # the element after some begins on the line of the ] that would end them
        ends = [json.dumps(found[:count], indent=indent).count("\n") for count in range(1, len(found))]
        lines = [2, *(end + 1 for end in ends)]
    assert [line for line, _ in elements] == lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_json_array_is_recognised_in_any_encoding(tmp_path, encoding):
    path = written(tmp_path, ' \n[ {"text": "é"} ]\n'.encode(encoding), "a.json")
    assert texts(records(TextFile(path, "a.json"), "text", encoding)) == ["é"]


def test_a_long_record_of_a_json_array_is_read_in_time(tmp_path, monkeypatch):
    long = "word " * 500_000
    path = written(tmp_path, json.dumps([{"text": long}, {"text": "x"}]).encode(), "a.json")
    decoded = []
    decode = json.JSONDecoder.raw_decode
    monkeypatch.setattr(
        json.JSONDecoder,
        "raw_decode",
        lambda self, text, start: decoded.append(start) or decode(self, text, start),
    )
    assert records_of(path, "text") == [long, "x"]
    assert len(decoded) < 20
