"""Encoded text in place of the corpus that it was made from."""

import json

import pytest

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator
from textgen.text.encoded import encoded_config, encoded_folder, settings_of
from textgen.text.shard_encoding import assemble, encode_shard
from textgen.text.shard_planner import make_plan
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer


@pytest.fixture
def corpus(tmp_path):
    rows = [{"text": f"Ünï {number}\nzwei", "kind": "ab"[number % 2]} for number in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(
        corpus=(str(tmp_path / "a.jsonl"),), field="text", label_field="kind", val_order="hash"
    )
    return Corpus(config)


@pytest.fixture
def folder(tmp_path, corpus):
    tokenizer = Tokenizer.train("char", corpus.stream("train"))
    data = settings_of(corpus._config)
    plan = make_plan(corpus, tokenizer, data, labels=("a", "b"), shard_characters=100)
    (tmp_path / "encoded").mkdir()
    plan.write(tmp_path / "encoded")
    for index in range(len(plan.shards)):
        encode_shard(plan, index, tmp_path / "encoded")
    assemble(plan, tmp_path / "encoded")
    return tmp_path / "encoded"


def joined(stream):
    return "".join("|" if isinstance(item, Separator) else item for item in stream)


def test_its_text_labels_and_sizes_are_those_of_the_corpus(folder, corpus):
    encoded = TokenStore.open_encoded(folder)
    assert encoded.parts == corpus.parts
    assert encoded.has_exchangeable_documents == corpus.has_exchangeable_documents
    assert encoded.held_out_characters == corpus.held_out_characters
    assert encoded.record_count == corpus.record_count
    for part in corpus.parts:
        assert joined(encoded.stream(part)) == joined(corpus.stream(part))
        assert [*encoded.labels(part)] == [*corpus.labels(part)]
        assert encoded.size(part) == corpus.size(part)
    assert encoded.fingerprint == TokenStore.open_encoded(folder).fingerprint


def test_a_store_of_another_tokenizer_or_other_labels_is_refused(folder, tmp_path):
    encoded = TokenStore.open_encoded(folder)
    store = TokenStore.open_or_build(encoded, encoded.tokenizer, tmp_path / "no cache", labels=("a", "b"))
    assert store is encoded.store
    for tokenizer, labels in ((Tokenizer.train("byte", []), ()), (encoded.tokenizer, ("b", "a"))):
        with pytest.raises(CorpusError, match="another tokenizer, or other labels"):
            TokenStore.open_or_build(encoded, tokenizer, tmp_path, labels=labels)


def test_settings_that_would_change_the_tokens_are_refused(folder):
    manifest = TokenStore.open_encoded(folder).store.manifest
    config = encoded_config(manifest, folder, {"corpus": (str(folder),), "field": "text", "chat_stop": None})
    assert (config.field, config.label_field, config.corpus) == ("text", "kind", (str(folder),))
    with pytest.raises(ConfigError, match="encoded already: leave out --field, --val, or encode it again"):
        encoded_config(manifest, folder, {"field": "other", "val": "x.txt"})


def test_a_folder_is_recognised_by_its_manifest(folder, tmp_path):
    assert encoded_folder((str(folder),)) == folder
    assert encoded_folder(("-",)) is None
    assert encoded_folder((str(tmp_path),)) is None
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "an app"}')
    assert encoded_folder((str(tmp_path / "web"),)) is None
    with pytest.raises(CorpusError, match="cannot be read together"):
        encoded_folder((str(folder), str(tmp_path / "a.jsonl")))
    (folder / "manifest.json").unlink()
    with pytest.raises(CorpusError, match="some shards are missing"):
        encoded_folder((str(folder),))


def read_all(folder):
    encoded = TokenStore.open_encoded(folder)
    return [*encoded.stream("train"), *encoded.labels("val")]


@pytest.mark.parametrize(
    "name", ["train-000001.bin", "counts.npy", "tokenizer.json", "val-000000-labels.bin"]
)
def test_a_missing_or_changed_file_is_one_line(folder, name):
    assert (folder / name).exists()
    content = bytearray((folder / name).read_bytes())
    (folder / name).unlink()
    with pytest.raises(CorpusError, match=rf"{name}: .*; repeat the textgen encode"):
        TokenStore.open_encoded(folder)
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorpusError, match=rf"{name}(:.*| has changed .*); "):
        read_all(folder)
