"""Reading a source from a place in the middle gives what reading it from the beginning gives there."""

import random

import pytest

from tests.text.test_shard_encoding import WRITERS
from textgen.settings.config import DataConfig
from textgen.text import formats
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator
from textgen.text.restarts import RestartableSource

SEEKABLE = {
    "write_text", "write_mark_and_utf16", "write_mark", "write_lines", "write_blocks", "write_json_lines",
    "write_tables",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 301)


def joined(stream):
    """A stream with the pieces of each document put together."""
    items = []
    for item in stream:
        if isinstance(item, str) and items and isinstance(items[-1], str):
            items[-1] += item
        else:
            items.append(item)
    return items


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_stream_from_a_place_on_is_the_rest_of_the_whole_stream(tmp_path, write, seed):
    rng = random.Random(seed)
    names, settings = write(tmp_path, rng)
    corpus = Corpus(DataConfig(corpus=names, val_fraction=0, **settings))
    for portion in corpus.portions("train"):
        source = portion.source
        whole = [*source.stream()]
        restartable = RestartableSource(source, every=250)
        assert joined(item for _, item in restartable.stream(0)) == joined(whole)
        text = "".join(item for item in whole if isinstance(item, str))
        places = {restart.position: restart for restart in map(restartable.before, range(len(text)))}
        if write.__name__ in SEEKABLE:
            assert sum(restart.place is not None for restart in places.values()) >= 2
        for position, restart in places.items():
            found = [*restartable.stream(position)]
            assert found[0][0] == position == restart.position
            assert "".join(item for _, item in found if isinstance(item, str)) == text[position:]
            separators = [item for _, item in found if isinstance(item, Separator)]
            expected = [item for item in whole if isinstance(item, Separator)]
            assert separators == expected[len(expected) - len(separators) :]


def test_a_place_far_into_a_file_reads_nothing_before_it(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("".join(f"line {number}\n" for number in range(5000)))
    config = DataConfig(corpus=(str(tmp_path / "a.txt"),), documents="line", val_fraction=0)
    source = Corpus(config).portions("train")[0].source
    restartable = RestartableSource(source, every=1000)
    length = sum(len(item) for _, item in restartable.stream(0) if isinstance(item, str))
    read = []
    blocks = formats.TextFile._stored_blocks

    def counted(file, byte=0):
        for block in blocks(file, byte):
            read.append(len(block))
            yield block

    monkeypatch.setattr(formats.TextFile, "_stored_blocks", counted)
    assert [item for _, item in restartable.stream(length - 9)][-1] == "line 4999"
    assert sum(read) < 3000
