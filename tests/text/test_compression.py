"""Compressed files of every kind, made by the libraries and programs that people make them with."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import threading
import tracemalloc
import zlib

import pytest
import zstandard

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.compression import decompressed
from textgen.text.corpus import Corpus
from textgen.text.formats import TextFile, decode_stream, raw_blocks, text_blocks

KINDS = {
    "gzip": (".gz", lambda data: gzip.compress(data, mtime=0)),
    "bzip2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
    "zstd": (".zst", zstandard.ZstdCompressor(write_checksum=True).compress),
}
TEXT = "".join(f"line {number}: é中 {number * number}\n" for number in range(20_000))
kinds = pytest.mark.parametrize("kind", KINDS)


def read(path):
    return "".join(text_blocks(TextFile(path, path.name), "utf-8"))


def in_blocks(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@kinds
@pytest.mark.parametrize("name", ["a.txt{}", "corpus.txt", "corpus"])
def test_the_first_bytes_say_how_a_file_is_compressed_whatever_its_name(tmp_path, kind, name):
    ending, compress = KINDS[kind]
    path = tmp_path / name.format(ending)
    path.write_bytes(compress(TEXT.encode()))
    assert read(path) == TEXT


@kinds
@pytest.mark.parametrize("size", [1, 7, 2**16])
def test_several_streams_in_one_file_are_all_read_wherever_blocks_end(kind, size):
    _, compress = KINDS[kind]
    packed = compress(b"one ") + compress(b"") + compress(b"two " * 9) + b"\0" * 8
    assert b"".join(decompressed(in_blocks(packed, size), "a")) == b"one " + b"two " * 9


@kinds
def test_a_damaged_file_is_refused_in_one_line(tmp_path, kind):
    ending, compress = KINDS[kind]
    packed = compress(TEXT.encode())
    middle = len(packed) // 2
    wrong = bytes(byte ^ 0x55 for byte in packed[middle : middle + 9])
    for damaged in (
        packed[:-4],
        packed[:middle],
        packed[:12],
        packed[:middle] + wrong + packed[middle + 9 :],
        packed + b"more",
        packed + packed[:-4],
    ):
        path = tmp_path / f"a.txt{ending}"
        path.write_bytes(damaged)
        message = rf"^a\.txt{ending}: damaged {kind} file \(.*\); compress it again$"
        with pytest.raises(CorpusError, match=message):
            list(raw_blocks(TextFile(path, path.name)))


def test_the_text_before_the_damage_is_not_mistaken_for_the_whole():
    packed = zstandard.ZstdCompressor().compress(TEXT.encode())
    with pytest.raises(CorpusError, match="cut short"):
        list(decompressed([packed[:-1]], "a"))


@pytest.mark.parametrize("text", ["BZh is a text", "BZ", "B", "", "BZh91AY&", "(\u0135", "P", "P*M"])
def test_a_text_that_begins_like_a_compressed_file_is_text(text):
    for size in (1, 100):
        assert b"".join(decompressed(in_blocks(text.encode(), size), "a")).decode() == text


def test_a_text_named_gz_that_something_has_decompressed_is_read_as_it_is(tmp_path):
    (tmp_path / "a.gz").write_text("plain")
    assert read(tmp_path / "a.gz") == "plain"


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_the_programs_that_people_compress_with_are_understood(tmp_path, ending):
    (tmp_path / "a.txt").write_text(TEXT)
    program = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}[ending]
    try:
        subprocess.run([program, str(tmp_path / "a.txt")], check=True)
    except FileNotFoundError:
        pytest.skip(f"no {program}")
    assert read(tmp_path / f"a.txt{ending}") == TEXT


def test_frames_of_zstd_that_hold_no_text_and_a_window_of_two_gigabytes_are_read():
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    output = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(
        output, closefd=False
    ) as writer:
        writer.write(TEXT.encode())
    skippable = b"\x50*M\x18" + (5).to_bytes(4, "little") + b"other"
    packed = skippable + output.getvalue() + skippable
    assert b"".join(decompressed([packed], "a")).decode() == TEXT


@kinds
def test_a_text_that_compresses_well_is_decompressed_in_little_memory(kind):
    _, compress = KINDS[kind]
    packed = compress(b"a" * 2**26)
    tracemalloc.start()
    try:
        largest = max(map(len, decompressed([packed], "a")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest <= 2**16
    assert peak < 2**24


@kinds
def test_records_are_read_from_a_compressed_file(tmp_path, kind):
    ending, compress = KINDS[kind]
    records = {
        "jsonl": "\n".join(json.dumps({"text": f"text {number}"}) for number in range(9)),
        "json": json.dumps([{"text": f"text {number}"} for number in range(9)]),
        "csv": "n,text\n" + "".join(f"{number},text {number}\n" for number in range(9)),
        "tsv": "n\ttext\n" + "".join(f"{number}\ttext {number}\n" for number in range(9)),
    }
    for format, content in records.items():
        path = tmp_path / f"a.{format}{ending}"
        path.write_bytes(compress(content.encode()))
        corpus = Corpus.whole(DataConfig(corpus=("x",), field="text"), str(path))
        found = [item for item in corpus.stream("text") if isinstance(item, str)]
        assert found == [f"text {number}" for number in range(9)]


@kinds
def test_a_compressed_text_keeps_the_fingerprint_of_the_text(tmp_path, kind):
    ending, compress = KINDS[kind]
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / f"b.txt{ending}").write_bytes(compress(TEXT.encode()))
    fingerprints = {Corpus(DataConfig(corpus=(str(path),))).fingerprint for path in tmp_path.iterdir()}
    assert len(fingerprints) == 1


def test_without_a_library_for_zstd_the_error_names_the_extra(tmp_path, monkeypatch):
    if sys.version_info >= (3, 14):
        pytest.skip("Python has one itself")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.delattr("backports.zstd", raising=False)
    (tmp_path / "a.txt.zst").write_bytes(KINDS["zstd"][1](b"text"))
    with pytest.raises(CorpusError, match=r"a.txt.zst: .*pip install 'textgen\[zstd\]'$"):
        read(tmp_path / "a.txt.zst")


@kinds
def test_a_compressed_pipe_is_read_as_it_arrives(kind):
    """The first line can be read before the second one is written."""
    compressor = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "bzip2": bz2.BZ2Compressor,
        "xz": lzma.LZMACompressor,
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }[kind]
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as target:
        text = decode_stream(source, "standard input", "utf-8")
        for line in ("first\n", "second\n"):  # a stream each, since not every kind can be flushed
            made = compressor()
            target.write(made.compress(line.encode()) + made.flush())
            assert next(text) == line
        target.close()
        assert "".join(text) == ""


def test_a_named_pipe_is_opened_once(tmp_path):
    for name in ("pipe", "pipe.json"):
        os.mkfifo(tmp_path / name)
        writer = threading.Thread(target=(tmp_path / name).write_bytes, args=(gzip.compress(TEXT.encode()),))
        writer.start()
        file = TextFile(tmp_path / name, name)
        assert file.format == "text"
        assert "".join(text_blocks(file, "utf-8")) == TEXT
        writer.join()
