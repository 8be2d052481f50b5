"""Texts at URLs in the commands: trained on, recorded, and never fetched because a run says so."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import textgen
from textgen.run import CONFIG, Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
CACHE = Path("cache") / "textgen"
Server = Any


@pytest.fixture
def url(cli: Cli, server: Server, text: str) -> str:
    """The text of corpus.txt, compressed."""
    return server.add("/books/tale.txt.gz", gzip.compress(text.encode(), mtime=0), etag='"1"')


def drop_the_end(run: str) -> None:
    """Make a complete run look as if it was killed before its last evaluation."""
    metrics = Run(run).metrics_path
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if '"final"' not in line))


def test_a_run_trains_on_a_url_and_says_so(cli: Cli, server: Server, url: str) -> None:
    secret = url.replace("//", "//ada:secret@") + "?token=secret#top"
    assert cli("train", secret, *TINY).exit_code == 0
    local = cli("train", "corpus.txt", *TINY, "--run", "local")
    assert local.exit_code == 0
    run = Run("runs/tale")
    assert run.config.data.corpus == (url,)
    content = server.pages["/books/tale.txt.gz"].content
    digest = hashlib.sha256(content).hexdigest()
    assert run.config.remote == ({"url": url, "sha256": digest, "shortened": True},)
    assert run.load_weights()["head.weight"].tobytes() == Run("local").load_weights()["head.weight"].tobytes()
    shown = cli("info", "runs/tale").stdout
    assert f"{url}, SHA-256 {digest}" in shown
    assert json.loads(cli("info", "runs/tale", "--json").stdout)["remote"] == list(run.config.remote)
    assert not [path for path in run.path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_the_same_url_again_is_not_fetched_again(cli: Cli, server: Server, url: str) -> None:
    cli("train", url, *TINY)
    assert server.sent == len(server.pages["/books/tale.txt.gz"].content)
    again = cli("train", url, *TINY)
    assert server.sent == 0
    assert "Using the copy" not in again.stdout
    server.close()
    offline = cli("train", url, *TINY)
    assert offline.exit_code == 0
    assert f"{url}: connection refused" in offline.stdout
    assert "Using the copy that was fetched before." in offline.stdout


def test_val_and_test_may_be_urls(cli: Cli, server: Server, url: str, text: str) -> None:
    val, test = (server.add(f"/{name}.txt", f"{name} {text[:900]}") for name in ("val", "test"))
    assert cli("train", url, "--val", val, "--test", test, *TINY).exit_code == 0
    data = Run("runs/tale").config.data
    assert (data.val, data.test) == (val, test)
    assert [entry["url"] for entry in Run("runs/tale").config.remote] == [url, val, test]
    assert cli("eval", "runs/tale", "--part", "test").exit_code == 0


COMMANDS = (
    ("train", "--resume", "runs/tale"),
    ("train", "--from", "runs/tale", "--steps", 2),
    ("train", "--config", "runs/tale"),
    ("eval", "runs/tale"),
    ("inspect", "runs/tale", "--characters", 50),
    ("sample", "runs/tale", "--novelty", "--max-new-tokens", 5),
    ("gradients", "runs/tale", "--steps", 4, "--tokens", 200, "--positions", 2),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command[:2])))
def test_a_run_never_fetches_its_text_unasked(
    cli: Cli, server: Server, url: str, command: tuple[object, ...]
) -> None:
    cli("train", url, *TINY)
    drop_the_end("runs/tale")
    shutil.rmtree(CACHE)
    server.log.clear()
    refused = cli(*command).only_error
    assert f"{url}: the training text of runs/tale is not in the cache; --fetch fetches it" in refused
    assert server.log == []
    done = cli(*command, "--fetch")
    assert done.exit_code == 0, done.stderr
    assert server.sent == len(server.pages["/books/tale.txt.gz"].content)


def test_a_run_finds_its_text_in_the_cache_without_a_connection(cli: Cli, server: Server, url: str) -> None:
    cli("train", f"{url}?token=1", *TINY)
    drop_the_end("runs/tale")
    server.close()
    for command in (("train", "--from", "runs/tale", "--steps", 2), ("train", "--resume", "runs/tale")):
        done = cli(*command)
        assert done.exit_code == 0, done.stderr
    assert Run("runs/tale-2").config.remote == Run("runs/tale").config.remote


def test_another_text_than_that_of_the_run_is_refused(cli: Cli, server: Server, url: str, text: str) -> None:
    cli("train", url, *TINY)
    shutil.rmtree(CACHE)
    server.add("/books/tale.txt.gz", gzip.compress(text[1:].encode(), mtime=0), etag='"1"')
    assert "has changed since runs/tale was trained on it" in cli("eval", "runs/tale", "--fetch").only_error


def test_a_url_whose_query_was_not_saved_has_to_be_given_again(cli: Cli, url: str) -> None:
    cli("train", f"{url}?token=1", *TINY)
    shutil.rmtree(CACHE)
    refused = cli("eval", "runs/tale", "--fetch").only_error
    assert "give the whole URL again with `textgen score runs/tale URL`" in refused
    cli("score", "runs/tale", f"{url}?token=1")
    assert cli("eval", "runs/tale").exit_code == 0


def test_a_url_that_the_user_gives_beside_a_run_is_fetched(cli: Cli, server: Server, url: str) -> None:
    cli("train", url, *TINY)
    shutil.rmtree(CACHE)
    assert cli("train", url, "--config", "runs/tale", "--steps", 2).exit_code == 0
    other = server.add("/other.txt", "Another text about dogs and cats.\n" * 40)
    assert cli("train", other, "--from", "runs/tale", "--steps", 2).exit_code == 0
    assert [entry["url"] for entry in Run("runs/other").config.remote] == [other]


@pytest.mark.parametrize("command", COMMANDS[:4], ids=lambda command: " ".join(map(str, command[:2])))
def test_a_config_that_names_a_url_without_its_digest_is_refused(
    cli: Cli, rewrite: Callable[[Path, Any], None], server: Server, url: str, command: tuple[object, ...]
) -> None:
    """Else a run from a stranger could have it fetched as if the user had named it."""
    cli("train", url, *TINY)
    drop_the_end("runs/tale")
    config = json.loads((Path("runs/tale") / CONFIG).read_text())
    other = {"url": "https://elsewhere/a.txt", "sha256": "0" * 64}
    rewrite(Path("runs/tale") / CONFIG, config | {"remote": [other]})
    server.log.clear()
    assert f"has no entry for {url}; it is damaged" in cli(*command, "--fetch").only_error
    assert server.log == []


def test_other_texts_may_be_urls(cli: Cli, server: Server, url: str, text: str) -> None:
    cli("train", "corpus.txt", *TINY)
    other = server.add("/other.txt", text[:2000])
    scored = json.loads(cli("score", "runs/corpus", f"{other}?token=1", "--json").stdout)
    assert scored["text"] == other
    measured = json.loads(cli("eval", "runs/corpus", f"{other}?token=1", "--json").stdout)
    assert measured["text"] == other
    assert measured["nats_per_token"] == pytest.approx(scored["nats_per_token"], rel=1e-4)
    assert cli("inspect", "runs/corpus", other, "--characters", 50).exit_code == 0
    adapted = cli("sample", "runs/corpus", "--adapt", other, "--adapt-method", "sgd", "--max-new-tokens", 5)
    assert f"Adapted to {other}" in adapted.stderr
    server.close()
    offline = cli("score", "runs/corpus", f"{other}?token=1")
    assert offline.exit_code == 0
    assert "Using the copy that was fetched before." in offline.stderr


def test_what_cannot_be_fetched_is_one_line(cli: Cli, server: Server) -> None:
    for argument, reason in {
        server.url("/no.txt"): "no such file on the server",
        "ftp://host/a.txt": "textgen does not read ftp://",
        "http://nowhere.invalid/a.txt": "no such host",
    }.items():
        assert f"textgen: {argument}: {reason}" in cli("train", argument, *TINY).only_error
    folder = cli("train", "ftp://host/folder/", *TINY).only_error
    assert "ftp://host/folder/manifest.json: textgen does not read ftp://" in folder
    assert "A URL that ends with / is that of encoded text" in folder


def test_an_error_in_the_text_names_the_url_and_not_the_copy(cli: Cli, server: Server, url: str) -> None:
    broken = server.add("/broken.txt", b"good text\n" * 50 + b"\xff")
    refused = cli("train", broken.replace("//", "//ada:secret@"), *TINY).only_error
    assert f"{broken}: invalid utf-8 at byte 500" in refused


def test_the_same_content_at_two_urls_is_given_twice(cli: Cli, server: Server, url: str) -> None:
    other = server.add("/copy.txt.gz", server.pages["/books/tale.txt.gz"].content)
    assert "given twice" in cli("train", url, other, *TINY).only_error


def test_from_python(cli: Cli, server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = textgen.train(url, steps=2, hidden_size=8, embedding_dim=4, progress=False)
    loss = model.evaluate().loss.nats_per_token
    shutil.rmtree(CACHE)
    with pytest.raises(textgen.errors.TextgenError, match="not in the cache"):
        model.evaluate()
    assert model.evaluate(fetch=True).loss.nats_per_token == loss
    drop_the_end(str(model.path))
    shutil.rmtree(CACHE)
    with pytest.raises(textgen.errors.TextgenError, match="not in the cache"):
        textgen.resume(model.path, progress=False)
    assert textgen.resume(model.path, fetch=True, progress=False).path == model.path
