"""Nasty texts, by what they are: a file of some format, and how `textgen train` is told to read it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from typing import NamedTuple

from fault_groups.subjects import sentences

BLOCK = (
    2**16
)  # textgen reads in blocks of powers of two; errors at their boundaries are tried around this one


class NastyText(NamedTuple):
    """The content of a file, its name, and options of `textgen train` and `textgen sample`."""

    make: Callable[[random.Random], bytes]
    file: str = "text.txt"
    options: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()


def _of(text: str | bytes, file: str = "text.txt", *options: str) -> NastyText:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return NastyText(lambda rng: content, file, options)


def _records(text: str | bytes) -> NastyText:
    return _of(text, "text.jsonl", "--field", "text")


def _table(text: str) -> NastyText:
    return _of(text, "text.csv", "--field", "text")


def _chars(characters: str, size: int = 3000) -> NastyText:
    return NastyText(lambda rng: "".join(rng.choices(characters, k=size)).encode("utf-8", "surrogatepass"))


def _within(piece: bytes, place: int) -> NastyText:
    """Sentences with a piece at a place."""
    return NastyText(lambda rng: (text := sentences(rng, 2 * BLOCK).encode())[:place] + piece + text[place:])


def _mixed_line_ends(rng: random.Random) -> bytes:
    ends = ("\n", "\r\n", "\r", "\n\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")
    return "".join(line + rng.choice(ends) for line in sentences(rng, 3000).splitlines()).encode()


def _random_bytes(rng: random.Random) -> bytes:
    return rng.randbytes(5000)


WORDS = "The cat sat on the mat and looked at the dog.\n" * 60
_ROWS = "".join(f"{number},The cat sat on mat {number}\n" for number in range(200))
_LINES = "".join(json.dumps({"text": f"The cat sat on mat {number}"}) + "\n" for number in range(200))
_DEEP = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
_ZALGO = "a" + "".join(map(chr, range(0x300, 0x370)))

TEXTS: dict[str, NastyText] = {
    "nothing": _of(""),
    "one byte": _of("a"),
    "one line feed": _of("\n"),
    "two characters": _of("ab"),
    "one emoji": _of("\U0001f600"),
    "one character, often": _of("a" * 20_000),
    "only spaces": _of(" " * 5000),
    "only NUL": _of("\0" * 5000),
    "NUL in sentences": _within(b"\0\0\0", 1000),
    "only carriage returns": _of("\r" * 5000),
    "only form feeds": _of("\f" * 5000),
    "control characters": _chars("".join(map(chr, range(32))) + "\x7f\x80\x9b"),
    "escape sequences": _of("\x1b[2J\x1b]0;x\x07 text\n" * 200),
    "mixed line ends": NastyText(_mixed_line_ends),
    "mixed line ends, by line": NastyText(_mixed_line_ends, options=("--documents", "line")),
    "mixed line ends, by block": NastyText(_mixed_line_ends, options=("--documents", "block")),
    "blank lines, by line": _of("\n" * 3000, "text.txt", "--documents", "line"),
    "blank lines, by block": _of("\n" * 3000, "text.txt", "--documents", "block"),
    "one line, by line": _of("a line without its end", "text.txt", "--documents", "line"),
    "a byte order mark": _of("\ufeff" + WORDS),
    "only a byte order mark": _of("\ufeff"),
    "many byte order marks": _of("\ufeff" * 3000),
    "UTF-16": _of(WORDS.encode("utf-16")),
    "UTF-16 as such": _of(WORDS.encode("utf-16"), "text.txt", "--encoding", "utf-16"),
    "UTF-16 cut in a character": _of(WORDS.encode("utf-16")[:-1], "text.txt", "--encoding", "utf-16"),
    "UTF-32": _of(WORDS.encode("utf-32")),
    "UTF-7 as such": _of("+AGE-" * 500, "text.txt", "--encoding", "utf-7"),
    "an encoding that is none": _of(WORDS, "text.txt", "--encoding", "rot13"),
    "an encoding with a NUL": _of(WORDS, "text.txt", "--encoding", "idna"),
    "Latin-1": _of("déjà vu, là-bas\n".encode("latin-1") * 200),
    "surrogates in UTF-8": _of("text \ud800 text\n" * 200),
    "overlong UTF-8": _of(b"text \xc0\xaf text\n" * 200),
    "beyond Unicode": _of(b"text \xf4\x90\x80\x80 text\n" * 200),
    "a cut character at the end": _of((WORDS + "é").encode()[:-1]),
    "an invalid byte at a block's end": _within(b"\xff", BLOCK - 1),
    "an invalid byte at a block's start": _within(b"\xff", BLOCK),
    "half a character at a block's end": _within(b"\xe2\x82", BLOCK - 2),
    "a character over a block's end": _within("€".encode(), BLOCK - 1),
    "an emoji over a block's end": _within("\U0001f469\u200d\U0001f680".encode(), BLOCK - 3),
    "a line end over a block's end": _within(b"\r\n", BLOCK - 1),
    "random bytes": NastyText(_random_bytes),
    "random bytes, as bytes": NastyText(_random_bytes, options=("--tokenizer", "byte")),
    "random bytes, as Latin-1": NastyText(_random_bytes, options=("--encoding", "latin-1")),
    "one huge line": _of("a word " * 300_000),
    "one huge line, by line": _of("a word " * 300_000, "text.txt", "--documents", "line"),
    "one huge word, as words": _of("a" * 2_000_000, "text.txt", "--tokenizer", "word"),
    "one huge word, as bpe": _of("a" * 500_000, "text.txt", "--tokenizer", "bpe"),
    "random words, as words": NastyText(
        lambda rng: " ".join("".join(rng.choices("abcdefgh", k=9)) for _ in range(3000)).encode(),
        options=("--tokenizer", "word"),
    ),
    "combining marks": _chars("".join(map(chr, range(0x300, 0x370)))),
    "combining marks, as bpe": _of("\u0301" * 5000, "text.txt", "--tokenizer", "bpe"),
    "a letter with many marks": _of(_ZALGO * 100),
    "a letter with many marks, nfc": _of(_ZALGO * 100, "text.txt", "--normalize", "nfc"),
    "what grows eighteenfold, nfkd": _of("\ufdfa" * 3000, "text.txt", "--normalize", "nfkd"),
    "Hangul in parts, nfc": _of("\u1112\u1161\u11ab" * 1000, "text.txt", "--normalize", "nfc"),
    "right to left": _chars("\u202e\u202d\u2066\u2069\u200fאבגابج abc\n"),
    "joiners": _chars("\u200d\u200c\u2060\ufe0f"),
    "joined emoji": _chars("\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f\U0001f3fb"),
    "flags": _chars("".join(map(chr, range(0x1F1E6, 0x1F200)))),
    "private use and noncharacters": _chars("\ue000\uf8ff\uffff\ufffe\U0010ffff\U000fffff\ufdd0"),
    "replacement characters": _of("\ufffd" * 3000),
    "all of the basic plane": _of("".join(chr(n) for n in range(1, 0x10000) if not 0xD800 <= n < 0xE000)),
    "every character once": _of("".join(map(chr, range(0x4E00, 0x9FFF)))),
    "tags and variation selectors": _chars("\U000e0041\U000e007f\U000e0100"),
    "what looks like end-of-text": _of("<|endoftext|>\n<eos></s>\n" * 200),
    "what looks like end-of-text, as bpe": _of("<|endoftext|> a\n" * 200, "text.txt", "--tokenizer", "bpe"),
    "what looks like Unicode escapes": _of("\\ud800 \\u0000 \\x00\n" * 200),
    "one label of many": _of(
        "".join(json.dumps({"text": "The cat", "l": str(n)}) + "\n" for n in range(500)),
        "text.jsonl", "--field", "text", "--label-field", "l",
    ),
    "labels that are lists": _of(
        '{"text": "The cat sat", "l": []}\n' * 200, "text.jsonl", "--field", "text", "--label-field", "l"
    ),
    "records": _records(_LINES),
    "records of surrogates": _records('{"text": "a \\ud800 b"}\n' * 200),
    "records of NUL": _records('{"text": "a \\u0000 b"}\n' * 200),
    "records of empty texts": _records('{"text": ""}\n' * 200),
    "records of null": _records('{"text": null}\n' * 200),
    "records of numbers": _records('{"text": 1e999}\n' * 200),
    "records of long numbers": _records('{"text": "a", "n": ' + "9" * 9000 + "}\n"),
    "records of NaN": _records('{"text": NaN}\n' * 200),
    "records with a name twice": _records('{"text": "a b", "text": "c d"}\n' * 200),
    "records without the field": _of(_LINES, "text.jsonl", "--field", "a.b.c"),
    "records with an odd field": _of(_LINES, "text.jsonl", "--field", ".."),
    "records nested deeply": _records(_DEEP),
    "records cut short": _records(_LINES[:-5]),
    "records of one huge line": _records(json.dumps({"text": "a word " * 200_000})),
    "records with a byte order mark": _records("\ufeff" + _LINES),
    "records in UTF-16": _records(_LINES.encode("utf-16")),
    "records with blank lines": _records(_LINES.replace("\n", "\n\n \n")),
    "an array nested deeply": _of("[" * 100_000, "text.json", "--field", "text"),
    "an array of many arrays": _of("[" + "[]," * 100_000 + "[]]", "text.json", "--field", "text"),
    "an array cut short": _of('[{"text": "a"}, {"te', "text.json", "--field", "text"),
    "an object, not an array": _of('{"text": "a"}', "text.json", "--field", "text"),
    "a table": _table("id,text\n" + _ROWS),
    "a table with a quote never closed": _table("id,text\n" + _ROWS + '1,"a\n' + _ROWS * 50),
    "a table of a huge cell": _table('id,text\n1,"' + "a b " * 500_000 + '"\n'),
    "a table of quotes": _table('id,text\n1,"""""""\n' * 100),
    "a table with NUL": _table("id,text\n1,a\0b\n" * 100),
    "a table with rows of all lengths": _table("id,text\n1\n1,2,3,4\n\n,\n" * 50),
    "a table with a column twice": _table("text,text\na b,c d\n" * 100),
    "a table with an empty header": _of(",,\n" + _ROWS, "text.csv", "--field", "2"),
    "a table of column 10**30": _of(_ROWS, "text.csv", "--field", str(10**30)),
    "a table with an odd delimiter": _of(_ROWS, "text.csv", "--field", "1", "--delimiter", "\n"),
    "a table of a single quote": _of('"', "text.csv", "--field", "1"),
    "tabs": _of("id\ttext\n1\ta \\t b\n" * 100, "text.tsv", "--field", "text"),
    "gzip cut short": _of(gzip.compress(WORDS.encode())[:-9], "text.txt.gz"),
    "gzip of nothing": _of(gzip.compress(b""), "text.txt.gz"),
    "gzip with rubbish after it": _of(gzip.compress(WORDS.encode()) + b"rubbish", "text.txt.gz"),
    "gzip in gzip": _of(gzip.compress(gzip.compress(WORDS.encode())), "text.txt.gz"),
    "gzip with a wrong checksum": _of(gzip.compress(WORDS.encode())[:-8] + bytes(8), "text.txt.gz"),
    "only the start of gzip": _of(b"\x1f\x8b", "text.txt.gz"),
    "a bomb of 20 MB, gzip": _of(gzip.compress(b"a" * 20_000_000), "text.txt.gz"),
    "a bomb of 20 MB, bzip2": _of(bz2.compress(b"a" * 20_000_000), "text.txt.bz2"),
    "a bomb of 20 MB, xz": _of(lzma.compress(b"a" * 20_000_000), "text.txt.xz"),
    "a bomb of 20 MB, one line of JSON": _of(
        gzip.compress(b'{"text": "' + b"a" * 20_000_000 + b'"}'), "text.jsonl.gz", "--field", "text"
    ),
    "xz cut short": _of(lzma.compress(WORDS.encode())[:-20], "text.txt.xz"),
    "zstd that is none": _of(b"\x28\xb5\x2f\xfd" + bytes(30), "text.txt.zst"),
    "Parquet that is none": _of(b"PAR1" + bytes(100) + b"PAR1", "text.parquet", "--field", "text"),
    "a picture": _of(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20),
    "a program": _of(b"\x7fELF" + bytes(range(256)) * 20, "text.txt", "--tokenizer", "byte"),
    "a pickle": _of(b"\x80\x04\x95" + bytes(100)),
}  # fmt: skip
