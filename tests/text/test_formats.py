import gzip

import pytest

from textgen.errors import CorpusError
from textgen.text import formats
from textgen.text.formats import TextFile, looks_like_text, text_blocks


def read(path, encoding="utf-8"):
    return "".join(text_blocks(TextFile(path, path.name), encoding))


def written(tmp_path, data, name="text.txt"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 5)


@pytest.mark.usefixtures("small_blocks")
def test_text_is_kept_exactly_with_carriage_returns_and_nul(tmp_path):
    text = "a\r\nb\rc\0d\u2028é中👩‍👩‍👧 שלום\n"
    assert read(written(tmp_path, text.encode())) == text


@pytest.mark.usefixtures("small_blocks")
def test_only_the_first_byte_order_mark_is_dropped(tmp_path):
    assert read(written(tmp_path, "\ufeffa\ufeffb".encode())) == "a\ufeffb"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("data", "offset"), [(b"abcdefghij\xffk", 10), ("abcdefgé".encode() + b"\xc3(", 9)])
def test_an_invalid_byte_is_reported_with_its_offset(tmp_path, data, offset):
    with pytest.raises(CorpusError, match=rf"text.txt: invalid utf-8 at byte {offset} .*--encoding"):
        read(written(tmp_path, data))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("data", "encoding", "good"),
    [
        (b"abcdefghij\xffk", "utf-8", "abcdefghij"),
        (b"abcdefghi\xe4\xb8(", "utf-8", "abcdefghi"),
        ("\ufeffabc".encode() + b"\xff", "utf-8", "abc"),
        ("日本語".encode("utf-16") + b"\x00\xdca\x00", "utf-16", "日本語"),
        ("日本語".encode("shift_jis") + b"\x81", "shift_jis", "日本語"),
    ],
)
def test_all_text_before_an_invalid_byte_is_read(tmp_path, data, encoding, good):
    path = written(tmp_path, data)
    blocks = text_blocks(TextFile(path, path.name), encoding)
    found = []
    with pytest.raises(CorpusError, match="invalid"):
        found.extend(blocks)
    assert "".join(found) == good


@pytest.mark.usefixtures("small_blocks")
def test_a_character_cut_off_by_the_end_of_the_file_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="at byte 7"):
        read(written(tmp_path, b"abcdefg\xe4\xb8"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "shift_jis", "gb18030"])
def test_another_encoding_is_read_when_it_is_named(tmp_path, encoding):
    text = "naïve\r\n" if encoding in ("latin-1", "cp1252") else "日本\r\n"
    assert read(written(tmp_path, text.encode(encoding)), encoding) == text


def test_utf16_is_recognised(tmp_path):
    with pytest.raises(CorpusError, match="--encoding utf-16"):
        read(written(tmp_path, "hello".encode("utf-16")))


@pytest.mark.parametrize(
    ("data", "meaning"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"PK\x03\x04rest", "zip"),
        (b"\x7fELF\x02\x01", "program"),
        (gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "twice"),  # no time in the name of the test
        (bytes(range(256)) * 4, "binary"),
        (b"\x00\x01\x02text" * 40, "binary"),
    ],
)
def test_binary_input_is_refused_in_one_line(tmp_path, data, meaning):
    with pytest.raises(CorpusError, match=meaning) as caught:
        read(written(tmp_path, data))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("text.txt: ")


def test_a_text_with_some_nul_characters_is_text(tmp_path):
    text = "a line of text\0" * 100
    assert read(written(tmp_path, text.encode())) == text


@pytest.mark.parametrize("beginning", ["PAR1 is a region", "GIF89a and GIF87a", "BZhang wrote", "PK"])
def test_a_text_may_begin_with_a_magic_number_in_letters(tmp_path, beginning):
    text = f"{beginning} of the text.\n" * 9
    (tmp_path / "a.txt").write_text(text)
    assert "".join(text_blocks(TextFile(tmp_path / "a.txt", "a.txt"), "utf-8")) == text


def test_a_file_that_cannot_be_opened_is_reported_by_name(tmp_path):
    with pytest.raises(CorpusError, match=r"gone\.txt: No such file"):
        read(tmp_path / "gone.txt")


@pytest.mark.parametrize(
    ("name", "ending", "format"),
    [
        ("a.txt", ".txt", "text"),
        ("a.jsonl.gz", ".jsonl", "jsonl"),
        ("a.b.CSV", ".csv", "csv"),
        ("a.tsv.zst", ".tsv", "tsv"),
        ("a.xz", ".txt", "text"),
        ("a.tar.bz2", ".tar", "text"),
        (".jsonl", "", "text"),
        ("a", "", "text"),
    ],
)
def test_the_name_decides_how_a_file_is_read(tmp_path, name, ending, format):
    file = TextFile(tmp_path / name, name)
    assert (file.ending, file.format) == (ending, format)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[{}]", "json"),
        (b"\n[\n {", "json"),
        (b"[1]", "text"),
        (b"{}", "text"),
        (b"[]", "text"),
        (b"", "text"),
    ],
)
def test_a_json_file_has_records_when_it_is_an_array_of_objects(tmp_path, data, expected):
    assert TextFile(written(tmp_path, data, "a.json"), "a.json").format == expected


@pytest.mark.parametrize("encoding", ["unicode_escape", "utf-7"])
def test_text_that_decodes_to_a_lone_surrogate_is_refused(tmp_path, encoding):
    path = written(tmp_path, {"unicode_escape": rb"a\ud800b", "utf-7": b"a+2AA-b"}[encoding])
    with pytest.raises(CorpusError, match="decodes to a lone surrogate"):
        read(path, encoding)


@pytest.mark.parametrize("family", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_text_of_two_or_four_bytes_a_character_is_named_for_what_it_is(tmp_path, family, order):
    path = written(tmp_path, "\ufeffsome text\n".encode(f"{family}-{order}"))
    with pytest.raises(CorpusError, match=f"{family.upper()}, not utf-8; use --encoding {family}$"):
        read(path)
    assert read(path, family) == "some text\n"
    assert looks_like_text(TextFile(path, "text.txt"))
