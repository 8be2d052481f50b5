"""The URLs of a config: those that the user gave are fetched, those that a run names only when allowed."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.text.remote.texts import NamedText, RemoteRecord, RemoteTexts

Server = Any


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_urls_become_local_files_and_lose_their_secrets(server: Server, tmp_path: Path) -> None:
    texts = {name: server.add(f"/{name}.txt", name) for name in ("corpus", "val", "test")}
    config = DataConfig(
        corpus=("a.txt", f"{texts['corpus']}?token=secret", "-"), val=texts["val"], test=texts["test"]
    )
    local = RemoteTexts(tmp_path).localize(config)
    assert local.config.corpus == ("a.txt", texts["corpus"], "-")
    assert (local.config.val, local.config.test) == (texts["val"], texts["test"])
    assert {url: path.read_text() for url, path in local.files.items()} == {
        url: name for name, url in texts.items()
    }
    assert local.records == tuple(
        RemoteRecord(url, sha256(name), name == "corpus") for name, url in texts.items()
    )
    assert local.notes == ()


def test_a_config_without_urls_needs_no_cache(tmp_path: Path) -> None:
    config = DataConfig(corpus=("a.txt", "-"))
    assert RemoteTexts(tmp_path / "cache").localize(config).config == config
    assert not (tmp_path / "cache").exists()


def test_urls_that_differ_only_in_their_query_are_refused(server: Server, tmp_path: Path) -> None:
    urls = tuple(server.add(f"/a.txt?{text}", text) for text in ("one", "two"))
    with pytest.raises(CorpusError, match="differ only in their query") as refused:
        RemoteTexts(tmp_path).localize(DataConfig(corpus=urls))
    assert "?" not in str(refused.value)


def named(url: str, text: str, *, shortened: bool = False) -> NamedText:
    return NamedText(RemoteRecord(url, sha256(text), shortened), "runs/a")


def test_what_a_run_names_is_read_from_the_cache_without_asking(server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", "text")
    copy = RemoteTexts(tmp_path).given(url)
    server.log.clear()
    server.add("/a.txt", "changed")
    for may_fetch in (False, True):
        assert RemoteTexts(tmp_path, may_fetch).named(named(url, "text")) == copy.path
    assert server.log == []


def test_what_a_run_names_is_fetched_only_when_allowed(server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", "text")
    with pytest.raises(CorpusError, match="of runs/a is not in the cache; --fetch fetches it"):
        RemoteTexts(tmp_path).named(named(url, "text"))
    assert server.log == []
    path = RemoteTexts(tmp_path, may_fetch=True).named(named(url, "text"))
    assert path.read_text() == "text"


def test_another_text_than_that_of_the_run_is_refused(server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", "changed")
    with pytest.raises(CorpusError, match="has changed since runs/a was trained on it"):
        RemoteTexts(tmp_path, may_fetch=True).named(named(url, "text"))


def test_without_its_query_it_has_to_be_given_again(server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", "text")
    text = named(url, "text", shortened=True)
    remote = RemoteTexts(tmp_path, may_fetch=True)
    with pytest.raises(CorpusError, match="give the whole URL again with `textgen score runs/a URL`"):
        remote.named(text)
    assert server.log == []
    remote.given(f"{url}?token=secret")
    assert remote.named(text).read_text() == "text"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        RemoteRecord("https://host/a.txt", digest)
