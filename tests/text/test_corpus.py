import gzip
import json
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator, TextSize, stream_slice
from textgen.text.records import RecordCount
from textgen.text.sources import Source, find_files


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def corpus_of(*arguments, stdin=None, **settings):
    return Corpus(DataConfig(corpus=tuple(map(str, arguments)), **settings), stdin)


def text_of(corpus, part="train", mark="|"):
    return "".join(mark if isinstance(item, Separator) else item for item in corpus.stream(part))


@given(st.text(st.sampled_from("ab é\n"), min_size=30, max_size=200), st.floats(0.1, 0.9))
def test_one_document_is_cut_at_exactly_its_character(tmp_path_factory, text, fraction):
    path = write(tmp_path_factory.mktemp("one"), {"a.txt": text}) / "a.txt"
    corpus = corpus_of(path, val_fraction=fraction)
    cut = int(len(text) * (1 - fraction))
    assert text_of(corpus, "train") == text[:cut]
    assert text_of(corpus, "val") == text[cut:]


@given(st.lists(st.text("abc", min_size=1, max_size=30), min_size=20, max_size=40), st.floats(0.01, 0.99))
def test_many_documents_are_cut_at_the_nearest_boundary(tmp_path_factory, documents, fraction):
    path = write(tmp_path_factory.mktemp("many"), {"a.txt": "\n".join(documents)}) / "a.txt"
    corpus = corpus_of(path, val_fraction=fraction, documents="line")
    lengths = [sum(map(len, documents[:count])) for count in range(1, len(documents))]
    target = int(sum(map(len, documents)) * (1 - fraction))
    nearest = min(lengths, key=lambda length: abs(length - target))
    count = lengths.index(nearest) + 1
    if nearest < 2 or sum(map(len, documents)) - nearest < 2:
        with pytest.raises(CorpusError, match="too little"):
            corpus.stream("train")
        return
    assert text_of(corpus, "train") == "|".join(documents[:count])
    assert text_of(corpus, "val") == "|".join(documents[count:])


def test_the_end_of_each_source_is_held_out_for_validation(tmp_path):
    write(tmp_path, {"a.txt": "a" * 100, "b.txt": "b" * 50})
    corpus = corpus_of(tmp_path / "a.txt", tmp_path / "b.txt")
    assert text_of(corpus, "train") == "a" * 90 + "|" + "b" * 45
    assert text_of(corpus, "val") == "a" * 10 + "|" + "b" * 5


def test_a_new_file_begins_a_new_document_with_a_separator_of_no_characters(tmp_path):
    write(tmp_path, {"a.txt": "one\ntwo\n", "b.txt": "three\n", "c.txt": ""})
    for kind, expected in [
        ("line", "one|two|three"),
        ("file", "one\ntwo\n|three\n"),
        ("block", "one\ntwo|three"),
    ]:
        corpus = Corpus.whole(DataConfig(corpus=("unused",), documents=kind), str(tmp_path))
        assert text_of(corpus, "text") == expected
        assert list(corpus.stream("text"))[-2] == Separator(0, 0, 0)


def test_a_folder_is_read_in_order_without_hidden_and_unknown_files(tmp_path):
    files = {"b.txt": "B", "a/z.md": "Z", "a/y.txt.gz": gzip.compress(b"Y"), "c.gz": gzip.compress(b"C")}
    skipped = {".hidden.txt": "H", ".git/x.txt": "G", "image.png": "P", "x.tar.gz": b"T"}
    write(tmp_path, files | skipped)
    assert text_of(Corpus.whole(DataConfig(corpus=("x",)), str(tmp_path)), "text") == "Y|Z|B|C"


def test_a_glob_is_one_source_sorted_at_every_depth(tmp_path):
    write(tmp_path, {"b.dat": "B", "x/a.dat": "A", "x/y/c.dat": "C", "x/y/c.txt": "no"})
    corpus = Corpus.whole(DataConfig(corpus=("x",)), str(tmp_path / "**" / "*.dat"))
    assert text_of(corpus, "text") == "B|A|C"
    literal = write(tmp_path, {"[x].txt": "literal"}) / "[x].txt"
    assert text_of(Corpus.whole(DataConfig(corpus=("x",)), str(literal)), "text") == "literal"


def test_standard_input_is_read_from_its_copy_as_plain_text(tmp_path):
    copy = write(tmp_path, {"copy.jsonl": "plain text"}) / "copy.jsonl"
    assert text_of(corpus_of("-", stdin=copy, val_fraction=0.2)) == "plain te"
    with pytest.raises(CorpusError, match="there is no standard input"):
        corpus_of("-")
    with pytest.raises(CorpusError, match="once"):
        corpus_of("-", "-", stdin=copy)


def test_records_are_documents_with_one_line_end_between_them(tmp_path):
    lines = [json.dumps({"text": text}) for text in ["one\n\ntwo", "", "three"]]
    write(tmp_path, {"a.jsonl": "\n".join(lines), "b.csv": "n,text\n1,four\n"})
    config = DataConfig(corpus=("x",), field="text", documents="line")
    corpus = Corpus.whole(config, str(tmp_path))
    expected = ["one\n\ntwo", Separator(1, 1), "three", Separator(0, 0, 0), "four"]
    assert list(corpus.stream("text")) == expected


def test_skipped_records_leave_no_trace_in_the_text_and_are_counted(tmp_path):
    lines = ['{"text": "one"}', '{"text": null}', '{"id": 2}', '{"text": "two"}']
    write(tmp_path, {"a.jsonl": "\n".join(lines), "b.jsonl": '{"id": 3}'})
    corpus = Corpus.whole(DataConfig(corpus=("x",), field="text"), str(tmp_path))
    assert list(corpus.stream("text")) == ["one", Separator(1, 1), "two"]
    assert corpus.record_count == RecordCount(read=5, absent=2, null=1)


def test_a_file_with_carriage_returns_only_has_lines_and_one_that_also_has_line_feeds_has_them_as_text(
    tmp_path,
):
    long = "x" * 100_000  # so that the first block of the file has no line end
    write(tmp_path, {"mac.txt": f"one\rtwo\r\rthree\r{long}\r", "mixed.txt": f"a\rb{long}\nc\r\nd"})
    for kind, file, expected in [
        ("line", "mac.txt", f"one|two|three|{long}"),
        ("block", "mac.txt", f"one\rtwo|three\r{long}"),
        ("file", "mac.txt", f"one\rtwo\r\rthree\r{long}\r"),
        ("line", "mixed.txt", f"a\rb{long}|c|d"),
    ]:
        corpus = Corpus.whole(DataConfig(corpus=("x",), documents=kind), str(tmp_path / file))
        assert text_of(corpus, "text") == expected
    write(tmp_path, {"wide.txt": "ab\rcd\ref\r".encode("utf-16")})
    wide = Corpus.whole(
        DataConfig(corpus=("x",), documents="line", encoding="utf-16"), str(tmp_path / "wide.txt")
    )
    assert text_of(wide, "text") == "ab|cd|ef"


@given(
    st.lists(st.text(st.sampled_from("ab\n"), max_size=12), min_size=1, max_size=6),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from(["file", "line", "block"]),
)
def test_a_slice_that_skips_files_equals_one_of_the_whole_stream(tmp_path_factory, texts, start, stop, kind):
    """Also where the nearest document boundary is, which is searched from the file of the position on."""
    folder = write(tmp_path_factory.mktemp("files"), {f"{n}.txt": text for n, text in enumerate(texts)})

    def source():
        return Source("x", find_files(str(folder), None), kind, None, "utf-8")

    fresh, read = source(), source()
    whole = list(read.stream())
    assert list(read.slice(start, stop)) == list(stream_slice(whole, start, stop))
    assert list(read.slice(start, None)) == list(stream_slice(whole, start, None))
    boundaries, reached = [], 0
    for item in whole:
        if isinstance(item, Separator):
            boundaries.append(reached)
        else:
            reached += len(item)
    if boundaries and start < reached:
        distance = min(abs(boundary - start) for boundary in boundaries)
        for each in (fresh, read):
            assert each.boundary_near(start) in boundaries
            assert abs(each.boundary_near(start) - start) == distance


def test_named_validation_and_test_files_are_separate_parts(tmp_path):
    write(tmp_path, {"a.txt": "train text", "v.txt": "v\nw", "t.txt": "tt"})
    corpus = corpus_of(
        tmp_path / "a.txt", val=str(tmp_path / "v.txt"), test=str(tmp_path / "t.txt"), documents="line"
    )
    assert corpus.parts == ("train", "val", "test")
    assert [text_of(corpus, part) for part in corpus.parts] == ["train text", "v|w", "tt"]
    corpus = corpus_of(tmp_path / "a.txt", test=str(tmp_path / "t.txt"), val_fraction=0.5)
    assert corpus.parts == ("train", "val", "test")
    assert [text_of(corpus, part) for part in corpus.parts] == ["train", " text", "tt"]


def test_sizes_include_separators_between_documents(tmp_path):
    path = write(tmp_path, {"a.txt": "né o\r\n\r\nzwei drei\n"}) / "a.txt"
    corpus = Corpus.whole(DataConfig(corpus=("x",), documents="block"), str(path))
    assert corpus.size("text") == TextSize(characters=17, bytes=18, words=4, documents=2)


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({}, {}, "a.txt: no such file"),
        ({"a.txt": ""}, {}, "a.txt: there is no text"),
        ({"a.txt": "\n\n\n"}, {"documents": "line"}, "there is no text"),
        ({"a.txt": "abcdefgh"}, {"val": "-"}, "--val and --test take files"),
        ({"a.txt": "abcdefgh"}, {}, "too little val text, 1 character; at least 2"),
        ({"a.txt": "abcdefgh"}, {"val_fraction": 0.9}, "too little train text, 0 characters; at least 2"),
        ({"a.txt": "abc"}, {"field": "text"}, "no .jsonl, .csv, .tsv or .parquet"),
        ({"a.txt": "abc"}, {"delimiter": ";"}, "no .csv or .tsv"),
        ({"a.txt": "abc"}, {"val": "v.txt"}, "v.txt: no such file"),
        ({"a.txt": "abc"}, {"val": "a.txt"}, "a.txt: given twice"),
        ({"a.txt/b.png": "x"}, {}, "no file ending in"),
        (
            {"a.txt/b.jsonl": '{"body": "x"}\n{"id": 1, "text": null}'},
            {"field": "text"},
            "a.txt: no record has text in the field 'text'; found: body, id, text",
        ),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused_in_one_line(tmp_path, monkeypatch, files, settings, message):
    monkeypatch.chdir(write(tmp_path, files))
    with pytest.raises(CorpusError, match=message) as caught:
        corpus_of("a.txt", **settings).stream("train")
    assert "\n" not in str(caught.value)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="no file matches"):
        corpus_of(tmp_path / "*.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_refused_since_text_is_read_more_than_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="pipe it into `-`"):
        corpus_of(tmp_path / "pipe")


def test_a_file_inside_a_folder_cannot_be_given_again(tmp_path):
    write(tmp_path, {"a/b.txt": "text"})
    with pytest.raises(CorpusError, match="given twice"):
        corpus_of(tmp_path / "a", tmp_path / "a" / "b.txt")


def test_the_fingerprint_depends_on_content_and_settings_but_not_on_path_and_time(tmp_path):
    text = "line one\nline two\n" * 5
    write(
        tmp_path,
        {
            "a.txt": text,
            "moved/b.txt": text,
            "edited.txt": text[:-1] + " ",
            "packed.gz": gzip.compress(text.encode()),
        },
    )
    base = corpus_of(tmp_path / "a.txt").fingerprint
    os.utime(tmp_path / "a.txt", (1, 1))
    assert corpus_of(tmp_path / "a.txt").fingerprint == base
    assert corpus_of(tmp_path / "moved" / "b.txt", encoding="UTF8").fingerprint == base
    assert corpus_of(tmp_path / "packed.gz").fingerprint == base
    others = [
        corpus_of(tmp_path / "edited.txt"),
        corpus_of(tmp_path / "a.txt", documents="line"),
        corpus_of(tmp_path / "a.txt", encoding="latin-1"),
        corpus_of(tmp_path / "a.txt", val_fraction=0.2),
        corpus_of(tmp_path / "a.txt", val=str(tmp_path / "edited.txt")),
        corpus_of(tmp_path / "a.txt", test=str(tmp_path / "edited.txt")),
        corpus_of(tmp_path / "a.txt", tmp_path / "edited.txt"),
        Corpus.whole(DataConfig(corpus=("x",)), str(tmp_path / "a.txt")),
    ]
    assert len({base, *(corpus.fingerprint for corpus in others)}) == len(others) + 1


def test_a_long_line_is_streamed_in_little_memory(tmp_path):
    path = tmp_path / "long.txt"
    with path.open("w") as file:
        for _ in range(200):
            file.write("no line end here " * 1000)
    corpus = corpus_of(path, documents="block")
    tracemalloc.start()
    try:
        assert corpus.size("train").characters == int(3_400_000 * 0.9)
        assert all(len(item) <= 2**16 + 4100 for item in corpus.stream("val"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_delimiter_is_part_of_the_fingerprint_where_a_file_has_one(tmp_path):
    write(tmp_path, {"a.csv": "a,text\n" + "1,some words\n" * 9, "a.txt": "text"})
    table = [str(tmp_path / "a.csv")]
    without = corpus_of(*table, field="text").fingerprint
    given = {corpus_of(*table, field="text", delimiter=name).fingerprint for name in ("tab", r"\t", "\t")}
    assert len(given | {without}) == 2
    plain = [
        Corpus.whole(DataConfig(corpus=("x",), delimiter=name), str(tmp_path / "a.txt"))
        for name in (None, ";")
    ]
    assert plain[0].fingerprint == plain[1].fingerprint
