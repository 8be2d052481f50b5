"""Shards of any size, made in any order by anyone, hold the tokens of the store that is made in one go."""

import gzip
import json
import random

import numpy as np
import pytest

from textgen.settings.config import DataConfig
from textgen.text import formats
from textgen.text.corpus import Corpus
from textgen.text.planning import make_plan
from textgen.text.shard_encoding import assemble, encode_shard, is_complete
from textgen.text.shard_plan import read_plan
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer

WORDS = ["the", "a", "naïve", "Ünï", "don't", "x1", "über-all", "中文，字", "😀", "e\u0301", "42"]


def prose(rng, words, ends=(" ", " ", " ", "  ", "\n", "\n\n", ". ", "\r\n", "\t", " \n \n")):
    return "".join(rng.choice(WORDS) + rng.choice(ends) for _ in range(words))


def write_text(folder, rng):
    (folder / "a.txt").write_bytes(prose(rng, 500).encode())
    return (str(folder / "a.txt"),), {}


def write_mark_and_utf16(folder, rng):
    (folder / "a.txt").write_bytes(prose(rng, 400).encode("utf-16"))
    return (str(folder / "a.txt"),), {"encoding": "utf-16", "normalize": "nfc"}


def write_mark(folder, rng):
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbf" + prose(rng, 400).encode())
    return (str(folder / "a.txt"),), {"normalize": "nfkd"}


def write_lines(folder, rng):
    (folder / "a.txt").write_bytes(b"\n\n" + prose(rng, 500).encode())
    (folder / "b.txt").write_bytes(prose(rng, 300).encode() + b"\n")
    return (str(folder / "a.txt"), str(folder / "b.txt")), {"documents": "line"}


def write_blocks(folder, rng):
    (folder / "a.txt").write_bytes(prose(rng, 600).encode())
    return (str(folder / "a.txt"),), {"documents": "block", "normalize": "nfkc"}


def write_many_files(folder, rng):
    for number in range(40):
        (folder / f"{number:02}.txt").write_bytes(prose(rng, number % 4 * 30).encode())
    return (str(folder),), {}


def write_old_mac_lines(folder, rng):
    (folder / "a.txt").write_bytes(prose(rng, 600).replace("\r", "").replace("\n", "\r").encode())
    return (str(folder / "a.txt"),), {"documents": "line"}


def write_compressed(folder, rng):
    (folder / "a.txt.gz").write_bytes(gzip.compress(prose(rng, 600).encode()))
    return (str(folder / "a.txt.gz"),), {"documents": "line"}


def rows(rng, count):
    for number in range(count):
        text = None if number % 17 == 3 else "" if number % 23 == 5 else prose(rng, rng.randint(1, 12))
        yield {"text": text, "kind": rng.choice(["a", "b", None, "c"]), "n": number}


def write_json_lines(folder, rng):
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows(rng, 120))]
    (folder / "a.jsonl").write_text("\n".join([*lines[:50], "", *lines[50:]]), encoding="utf-8", newline="")
    return (str(folder / "a.jsonl"),), {"field": "text", "label_field": "kind"}


def write_json_array(folder, rng):
    (folder / "a.json").write_text(json.dumps([*rows(rng, 100)]), encoding="utf-8")
    return (str(folder / "a.json"),), {"field": "text", "label_field": "kind", "val_order": "end"}


def write_tables(folder, rng):
    texts = [prose(rng, 6).replace("\r", "").strip() or "x" for _ in range(150)]
    content = "n,text,kind\n" + "".join(f'{n},"{text}",{"ab"[n % 2]}\n' for n, text in enumerate(texts))
    (folder / "a.csv").write_text(content, encoding="utf-8", newline="")
    content = "".join(f"{n}\t{' '.join(text.split())}\n" for n, text in enumerate(texts))
    (folder / "b.tsv").write_text(content, encoding="utf-8", newline="")
    return (str(folder / "a.csv"), str(folder / "b.tsv")), {"field": "2"}


def write_parquet(folder, rng):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([*rows(rng, 150)])
    parquet.write_table(table, folder / "a.parquet", row_group_size=20)
    return (str(folder / "a.parquet"),), {"field": "text", "label_field": "kind"}


WRITERS = [
    write_text, write_mark_and_utf16, write_mark, write_lines, write_blocks, write_many_files,
    write_old_mac_lines, write_compressed, write_json_lines, write_json_array, write_tables, write_parquet,
]  # fmt: skip
SPLITS = [
    {"val_order": "end"},
    {"val_order": "end", "val_characters": 150},
    {"val_order": "hash"},
    {"val_order": "hash", "val_characters": 200},
    {"val_fraction": 0.0},
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 301)


def labels_of(corpus, config):
    if config.label_field is None:
        return ()
    return tuple(sorted({label for label in corpus.labels("train") if label is not None}))


def both(tmp_path, config, kind, shard_characters):
    """The store of the cache, and that of shards that are made in a random order."""
    tokenizer = Tokenizer.train(
        kind, Corpus(config).stream("train"), vocab_size=290 if kind == "bpe" else None
    )
    labels = labels_of(Corpus(config), config)
    single = TokenStore.open_or_build(Corpus(config), tokenizer, tmp_path / "cache", labels=labels)
    folder = tmp_path / "encoded"
    make_plan(Corpus(config), tokenizer, {}, labels=labels, shard_characters=shard_characters).write(tmp_path)
    plan = read_plan(tmp_path)
    order = list(range(len(plan.shards)))
    random.Random(0).shuffle(order)
    for index in order:
        assert not is_complete(plan, index, folder)
        encode_shard(plan, index, folder)
        assert is_complete(plan, index, folder)
    assert assemble(plan, folder) is not None
    return single, TokenStore(folder, is_cached=False), plan


def assert_equal(single, sharded):
    assert sharded.parts == single.parts
    assert sharded.counts.tolist() == single.counts.tolist()
    assert sharded.records == single.records
    for part in single.parts:
        expected = np.asarray(single.tokens(part))
        assert np.asarray(sharded.tokens(part)).tolist() == expected.tolist()
        assert sharded.tokens(part).dtype == expected.dtype
        assert sharded.size(part) == single.size(part)
        if single.labels(part) is None:
            assert sharded.labels(part) is None
        else:
            assert np.asarray(sharded.labels(part)).tolist() == np.asarray(single.labels(part)).tolist()


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: "-".join(map(str, split.values())))
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_shards_hold_the_tokens_of_the_single_file(tmp_path, write, split):
    rng = random.Random(f"{write.__name__} {split}")
    (tmp_path / "texts").mkdir()
    corpus, settings = write(tmp_path / "texts", rng)
    config = DataConfig(corpus=corpus, **{**split, **settings})
    kind = rng.choice(["char", "byte", "bpe", "word"])
    single, sharded, plan = both(tmp_path, config, kind, rng.choice([137, 400, 900]))
    assert len(plan.shards) > 1
    assert_equal(single, sharded)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("size", [300, 10**6])
def test_every_kind_of_tokenizer_and_given_validation_and_test_texts(tmp_path, kind, size):
    rng = random.Random(size)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(rng, 80)))
    for name, words in (("a.txt", 500), ("val.txt", 400), ("test.txt", 200)):
        (tmp_path / name).write_text(prose(rng, words), encoding="utf-8")
    config = DataConfig(
        corpus=(str(tmp_path / "a.txt"), str(tmp_path / "a.jsonl")),
        val=str(tmp_path / "val.txt"),
        test=str(tmp_path / "test.txt"),
        documents=rng.choice(["line", "block"]),
        field="text",
        val_characters=300,
    )
    single, sharded, _ = both(tmp_path, config, kind, size)
    assert sharded.parts == ("train", "val", "test")
    assert_equal(single, sharded)
