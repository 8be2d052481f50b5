import json
import os
import stat
import threading

import numpy as np
import pytest

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.text import store as store_module
from textgen.text.corpus import Corpus
from textgen.text.store import TokenStore, default_cache_dir
from textgen.text.tokenizer import Tokenizer

TEXT = "one line\nanother line, naïve\n" * 20


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "textgen"


def corpus_of(path, **settings):
    return Corpus(DataConfig(corpus=(str(path),), documents="line", **settings))


def built(path, cache, kind="char", progress=None, **settings):
    corpus = corpus_of(path, **settings)
    return TokenStore.open_or_build(corpus, Tokenizer.train(kind, corpus.stream("train")), cache, progress)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_store_has_the_ids_of_each_part_and_the_counts_of_the_first(path, cache, kind):
    corpus = corpus_of(path)
    tokenizer = Tokenizer.train(kind, corpus.stream("train"))
    store = TokenStore.open_or_build(corpus, tokenizer, cache)
    for part in ("train", "val"):
        expected = np.concatenate([*tokenizer.encode_stream(corpus.stream(part))])
        assert store.tokens(part).tolist() == expected.tolist()
        assert store.size(part) == corpus.size(part)
    assert (
        store.counts.tolist() == np.bincount(store.tokens("train"), minlength=tokenizer.vocab_size).tolist()
    )
    assert store.parts == ("train", "val")


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_ids_are_stored_in_the_smallest_type_that_can_hold_them(path, cache, monkeypatch, vocab_size, dtype):
    corpus = corpus_of(path)
    tokenizer = Tokenizer.train("byte", [])
    monkeypatch.setattr(tokenizer, "vocab_size", vocab_size)
    monkeypatch.setattr(tokenizer, "end_of_text_id", 255)
    tokens = TokenStore.open_or_build(corpus, tokenizer, cache).tokens("train")
    assert tokens.dtype == dtype
    assert not tokens.flags.writeable


def counting_builds(monkeypatch):
    builds = []
    build = store_module._build
    monkeypatch.setattr(store_module, "_build", lambda *args: (builds.append(args), build(*args)))
    return builds


def test_an_edited_file_is_encoded_again_but_not_a_touched_or_moved_one(path, cache, monkeypatch):
    builds = counting_builds(monkeypatch)
    first = built(path, cache)
    os.utime(path, (1, 1))
    path = path.rename(path.with_name("moved.txt"))
    assert built(path, cache).key == first.key
    assert len(builds) == 1
    before = path.stat()
    path.write_text(TEXT.replace("one", "two", 1), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # with the same time and size as before
    edited = built(path, cache)
    assert edited.key != first.key
    assert edited.tokens("train").tolist() != first.tokens("train").tolist()
    assert built(path, cache, kind="byte").key not in (first.key, edited.key)
    assert len(builds) == 3


def damage_tokens(store):
    os.truncate(store / "train.bin", 10)


def lengthen_tokens(store):
    with (store / "train.bin").open("ab") as file:
        file.write(bytes(10))


def damage_meta(store):
    (store / "manifest.json").write_text('{"dtype"')


def damage_meta_keys(store):
    (store / "manifest.json").write_text(json.dumps({"dtype": "uint16", "tokens": [], "sizes": {}}))


def damage_counts(store):
    (store / "counts.npy").write_bytes(b"")


def delete_a_part(store):
    (store / "val.bin").unlink()


@pytest.mark.parametrize(
    "damage", [damage_tokens, lengthen_tokens, damage_meta, damage_meta_keys, damage_counts, delete_a_part]
)
def test_a_damaged_store_is_built_again(path, cache, damage):
    store = built(path, cache)
    tokens = store.tokens("train").tolist()
    del store
    [folder] = cache.iterdir()
    damage(folder)
    again = built(path, cache)
    assert again.tokens("train").tolist() == tokens
    assert list(cache.iterdir()) == [folder]


def test_an_interrupted_build_leaves_nothing_behind(path, cache):
    def interrupt(part, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(path, cache, progress=interrupt)
    assert list(cache.iterdir()) == []


def test_a_text_that_changes_while_it_is_encoded_is_refused_and_nothing_is_left_behind(path, cache):
    size = path.stat().st_size

    def grow(what, done, total):
        if path.stat().st_size == size:
            with path.open("a", encoding="utf-8") as file:
                file.write("one more line\n")

    with pytest.raises(CorpusError, match=r"\.txt: changed while it was read"):
        built(path, cache, progress=grow)
    assert list(cache.iterdir()) == []


def test_remains_of_a_killed_build_are_removed_by_the_next_one(path, cache):
    remains = cache / f".{64 * 'a'}.killed"
    remains.mkdir(parents=True)
    (remains / "train.bin").write_bytes(b"x")
    store = built(path, cache)
    assert {entry.name for entry in cache.iterdir()} == {store.key}


def test_two_builders_at_once_both_succeed(path, cache, monkeypatch):
    build, together = store_module._build, threading.Barrier(2)
    monkeypatch.setattr(
        store_module, "_build", lambda *args: (together.wait(10), build(*args), together.wait(10))
    )
    stores = []
    builders = [threading.Thread(target=lambda: stores.append(built(path, cache))) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(stores) == 2
    assert stores[0].tokens("train").tolist() == stores[1].tokens("train").tolist()
    assert [entry.name for entry in cache.iterdir()] == [stores[0].key]


def test_a_tokenizer_that_produces_no_tokens_for_a_part_is_refused(path, cache, tmp_path):
    words = {"model": {"type": "WordLevel", "vocab": {"<unk>": 0, "the": 1}, "unk_token": "<unk>"}}
    file = tmp_path / "words.json"
    file.write_text(json.dumps(words | {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}}))
    path.write_text("the the the " * 50 + "\n" * 100)
    with pytest.raises(CorpusError, match="no tokens for the val text"):
        TokenStore.open_or_build(Corpus(DataConfig(corpus=(str(path),))), Tokenizer.from_file(file), cache)
    assert not list(cache.iterdir())


def test_progress_ends_with_all_characters_of_each_part(path, cache):
    reported = []
    store = built(path, cache, progress=lambda part, done, total: reported.append((part, done, total)))
    assert len(reported) > 10
    for part in ("train", "val"):
        size = store.size(part)
        total = size.characters - (size.documents - 1)  # without the line ends between documents
        assert [entry for entry in reported if entry[0] == f"encoding {part}"][-1][1:] == (total, total)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_option(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CorpusError, match="--cache-dir") as caught:
        built(path, tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "_build", full)
    with pytest.raises(CorpusError, match=r"No space left on device; .*--cache-dir"):
        built(path, tmp_path / "cache")


def test_a_whole_text_has_a_store_of_one_part(path, cache):
    corpus = corpus_of(path)
    tokenizer = Tokenizer.train("char", corpus.stream("train"))
    config = DataConfig(corpus=("unused",), documents="line")
    store = TokenStore.open_or_build(Corpus.whole(config, str(path)), tokenizer, cache)
    assert store.parts == ("text",)
    assert tokenizer.decode(store.tokens("text")) == TEXT.strip().replace("\n", tokenizer.end_of_text)


def test_without_a_home_directory_the_error_names_the_cache_dir_option(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", homeless)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "textgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(ConfigError, match="--cache-dir"):
        default_cache_dir()


def test_the_cache_is_where_the_operating_system_has_it(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "textgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "textgen"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_cache_dir() == tmp_path / "Library" / "Caches" / "textgen"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert default_cache_dir() == tmp_path / "Local" / "textgen"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_files_have_the_permissions_of_the_users_umask(path, tmp_path):
    before = os.umask(0o022)
    try:
        Tokenizer.train("byte", []).save(tmp_path / "tokenizer.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "tokenizer.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["manifest.json", "train.bin", "val.bin", "counts.npy", "train-labels.bin"])
def test_a_store_with_a_flipped_bit_is_built_again_and_says_so(tmp_path, cache, name, caplog):
    rows = [{"text": f"line {number}", "kind": "odd" if number % 2 else "even"} for number in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(corpus=(str(tmp_path / "a.jsonl"),), field="text", label_field="kind")
    tokenizer = Tokenizer.train("char", Corpus(config).stream("train"))

    def opened():
        return TokenStore.open_or_build(Corpus(config), tokenizer, cache, labels=("even", "odd"))

    def content(store):
        return [
            (store.tokens(part).tolist(), store.labels(part).tolist(), store.size(part))
            for part in store.parts
        ]

    store = opened()
    expected = content(store)
    whole = {path.name: path.read_bytes() for path in store.path.iterdir()}
    assert name in whole
    rng = np.random.default_rng(0)
    for _ in range(5):
        caplog.clear()
        damaged = bytearray(whole[name])
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        (store.path / name).write_bytes(damaged)
        again = opened()
        # A flip in white space of the JSON changes nothing.
        assert "it is built again" in caplog.text or name == "manifest.json"
        assert content(again) == expected
        assert {path.name: path.read_bytes() for path in again.path.iterdir()} == whole | {
            "manifest.json": (again.path / "manifest.json").read_bytes()
        }
