"""Parquet files, written by pyarrow as other tools write them."""

import io
import sys

import pyarrow
import pytest
from pyarrow import parquet

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.formats import TextFile, decode_stream
from textgen.text.records import RecordCount, records

TEXTS = [f"text {number}: naïve 中文\n" * (number % 5) for number in range(3000)]


def written(path, columns, **options):
    parquet.write_table(
        columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns), path, **options
    )
    return path


def read(path, field="text", count=None):
    return [record.text for record in records(TextFile(path, path.name), field, "utf-8", count=count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7},
        {"compression": "zstd", "data_page_size": 100},
        {"compression": "none", "use_dictionary": False, "version": "1.0"},
    ],
)
def test_every_row_is_read_in_order_however_it_is_stored(tmp_path, options):
    path = written(tmp_path / "a.parquet", {"id": range(len(TEXTS)), "text": TEXTS}, **options)
    assert read(path) == TEXTS


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.binary(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
    ids=str,
)
def test_every_type_that_holds_text_is_read(tmp_path, kind):
    path = written(tmp_path / "a.parquet", {"text": pyarrow.array(TEXTS[:50]).cast(kind)})
    assert read(path) == TEXTS[:50]


def test_a_field_within_structures_is_named_with_dots(tmp_path):
    rows = [{"b": {"c": "one"}, "n": 1}, None, {"b": None, "n": 2}, {"b": {"c": "two"}, "n": 3}]
    path = written(tmp_path / "a.parquet", {"a": rows, "x.y": ["p", "q", "r", "s"]})
    count = RecordCount()
    assert read(path, "a.b.c", count) == ["one", "two"]
    assert (count.read, count.null, count.absent) == (4, 2, 0)
    assert read(path, "x.y") == ["p", "q", "r", "s"]


def test_nulls_are_skipped_and_counted_and_a_column_of_nulls_has_no_text(tmp_path):
    path = written(tmp_path / "a.parquet", {"text": ["one", None, "", "two"], "none": [None] * 4})
    count = RecordCount()
    assert read(path, count=count) == ["one", "", "two"]
    assert count == RecordCount(read=4, null=1)
    assert count.note("text") == "Skipped 1 of 4 records: the field 'text' is null."
    with pytest.raises(CorpusError, match="no record has text in the field 'none'; found: text, none"):
        list(Corpus.whole(DataConfig(corpus=("x",), field="none"), str(path)).stream("text"))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            None,
            r"^a\.parquet: which field holds the text\? Name it with --field; found: n, text, a\.b, list$",
        ),
        ("body", r"^a\.parquet: no field 'body'; found: n, text, a\.b, list$"),
        ("n", r"^a\.parquet:1: the field 'n' is not text but int64$"),
        ("list", r"^a\.parquet:1: the field 'list' is not text but list<.*>$"),
        ("a.b", r"^a\.parquet:2: invalid utf-8 at byte 1 of the text$"),
    ],
)
def test_a_field_that_cannot_be_read_is_refused_in_one_line(tmp_path, field, message):
    columns = {
        "n": [1, 2],
        "text": ["a", "b"],
        "a": [{"b": b"good"}, {"b": b"b\xff"}],
        "list": [["a"], ["b"]],
    }
    path = written(tmp_path / "a.parquet", columns)
    with pytest.raises(CorpusError, match=message):
        read(path, field)


def test_text_that_is_not_utf8_in_a_string_column_is_refused_with_its_row(tmp_path):
    wrong = pyarrow.array([b"a", b"b", b"b\xff", b"c"]).view(pyarrow.string())
    path = written(tmp_path / "a.parquet", {"text": wrong})
    with pytest.raises(CorpusError, match=r"^a\.parquet:3: invalid utf-8 at byte 1 of the text$"):
        read(path)


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    path = written(tmp_path / "a.parquet", {"text": TEXTS}, compression="zstd")
    whole = path.read_bytes()
    for damaged in (b"", b"no parquet", whole[:-20], whole[:100] + bytes(2000) + whole[2100:]):
        path.write_bytes(damaged)
        with pytest.raises(
            CorpusError, match=r"^a\.parquet: not a Parquet file, or damaged \(.*\)$"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_an_empty_table_has_no_text(tmp_path):
    path = written(tmp_path / "a.parquet", {"text": pyarrow.array([], pyarrow.string())})
    assert read(path) == []
    with pytest.raises(CorpusError, match="there is no text in it"):
        Corpus.whole(DataConfig(corpus=("x",), field="text"), str(path)).stream("text")


def test_a_parquet_file_is_refused_from_a_pipe_and_under_another_name(tmp_path):
    path = written(tmp_path / "a.bin", {"text": TEXTS})
    message = r"a Parquet file; name a file that ends in \.parquet, since it cannot be read from a pipe"
    with pytest.raises(CorpusError, match=message):
        list(decode_stream(io.BytesIO(path.read_bytes()), "standard input", "utf-8"))
    with pytest.raises(CorpusError, match=message):
        Corpus(DataConfig(corpus=(str(path),))).stream("train")


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    path = written(tmp_path / "a.parquet", {"text": TEXTS})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r"^a\.parquet: .*pip install 'textgen\[parquet\]'$"):
        read(path)


def test_records_of_parquet_are_documents_beside_those_of_other_files(tmp_path):
    written(tmp_path / "a.parquet", {"text": ["one", "two"]})
    (tmp_path / "b.csv").write_text("text\nthree\n")
    corpus = Corpus.whole(DataConfig(corpus=("x",), field="text"), str(tmp_path))
    assert [item for item in corpus.stream("text") if isinstance(item, str)] == ["one", "two", "three"]
    before = corpus.fingerprint
    written(tmp_path / "a.parquet", {"text": ["one", "twe"]})
    assert Corpus.whole(DataConfig(corpus=("x",), field="text"), str(tmp_path)).fingerprint != before


def test_memory_does_not_grow_with_a_group_of_rows(tmp_path):
    """64 MB of text in one group of rows, while pyarrow's own memory stays small."""
    texts = pyarrow.array([f"{number:06} " * 400 for number in range(25_000)])
    path = written(tmp_path / "a.parquet", {"text": texts}, row_group_size=10**6)
    del texts
    pool, largest, total = pyarrow.default_memory_pool(), 0, 0
    before = pool.bytes_allocated()
    for text, _ in records(TextFile(path, path.name), "text", "utf-8"):
        total += len(text)
        largest = max(largest, pool.bytes_allocated() - before)
    assert total == 25_000 * 2800
    assert largest < 12 * 2**20
