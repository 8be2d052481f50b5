"""Encoded text behind a URL is trained on while it is fetched from a server that is slow and fails."""

from __future__ import annotations

import gc
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from textgen.run import Run
from textgen.text.remote import shards, verified

if TYPE_CHECKING:
    from tests.conftest import Cli

Server = Any
TINY = "--steps 30 --evaluations 3 --hidden-size 8 --batch-size 4 --seq-len 16 --device cpu".split()
SHARDS = Path("cache") / "textgen" / "shards"


def encode(folder: Path, documents: str) -> Path:
    """A folder of about ten shards."""
    from textgen.settings.config import DataConfig
    from textgen.settings.given import Section
    from textgen.text.remote.texts import RemoteTexts
    from textgen.training.planning.encode import encode_text

    rng = random.Random(0)
    words = ["alpha", "beta", "gamma", "naïve", "delta", "don't"]
    lines = (" ".join(rng.choice(words) for _ in range(rng.randint(2, 12))) for _ in range(3000))
    (folder / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = Section(DataConfig, {"corpus": (str(folder / "a.txt"),), "documents": documents})
    encode_text(data, folder / "encoded", remote=RemoteTexts(folder), shard_characters=12_000)
    return folder / "encoded"


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded text that is read in its order."""
    return encode(tmp_path_factory.mktemp("text"), "file")


@pytest.fixture(scope="module")
def trained(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run on the folder itself."""
    folder = tmp_path_factory.mktemp("local")
    arguments = "train", encoded, *TINY, "--run", folder / "run", "--cache-dir", folder
    done = subprocess.run([sys.executable, "-m", "textgen", *map(str, arguments)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return weights(folder / "run")


@pytest.fixture
def url(server: Server, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder on a server, which is asked again at once after it failed."""
    monkeypatch.setattr(verified, "WAITS", (0.01, 0.02, 0.03))
    return serve(server, encoded)


def serve(server: Server, folder: Path) -> str:
    for path in folder.iterdir():
        server.add(f"/encoded/{path.name}", path.read_bytes())
    return str(server.url("/encoded/"))


def weights(run: str | Path) -> bytes:
    return (Path(run) / "model.safetensors").read_bytes()


def files_of_shards() -> list[Path]:
    return list(SHARDS.glob("*/[!.]*.bin"))


def bytes_of_shards() -> int:
    return sum(path.stat().st_size for path in files_of_shards())


def test_training_is_that_on_the_folder_and_needs_little_room(
    cli: Cli, server: Server, url: str, trained: bytes
) -> None:
    refused = cli("train", url, *TINY, "--cache-size", "50kB").only_error
    assert refused.startswith(
        "textgen: --cache-size 50kB: too small, as training reads the text at batch_size=4"
    )
    assert not Path("runs").exists()
    enough = refused.rsplit(maxsplit=1)[-1]
    shutil.rmtree("cache")
    for page in server.pages.values():
        page.pause = 0.005
    secret = url.replace("//", "//ada:secret@") + "manifest.json?token=secret"
    done = cli("train", secret, *TINY, "--cache-size", enough)
    assert done.exit_code == 0, done.stderr
    assert "n-grams: not counted" in done.stdout
    assert 0 < bytes_of_shards() <= float(enough.removesuffix("kB")) * 1000
    run = Run("runs/encoded")
    assert weights(run.path) == trained
    digest = run.measured("corpus_fingerprint")
    assert run.config.data.corpus == (url,)
    assert run.config.remote == ({"url": url, "sha256": digest, "shortened": True},)
    kept = [path for folder in (run.path, Path("cache")) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"secret" in path.read_bytes()]


def test_training_begins_before_all_is_there_and_the_cache_says_what_is(
    cli: Cli, url: str, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textgen.training.trainer import Trainer

    there: list[int] = []
    advance = Trainer.advance
    monkeypatch.setattr(
        Trainer, "advance", lambda trainer: there.append(len(files_of_shards())) or advance(trainer)
    )
    # Else all of so short a text is read to see in which Unicode form it is.
    monkeypatch.setattr("textgen.text.normalize._FORM_CHARACTERS", 100)
    monkeypatch.setattr("textgen.text.encoded._DECODED", 100)
    assert cli("train", url, *TINY, "--batch-size", 2, "--no-ngram").exit_code == 0
    assert 0 < there[0] <= there[-1] < len([*encoded.glob("*.bin")])
    entries = json.loads(cli("cache", "--json").stdout)["entries"]
    [entry] = [entry for entry in entries if entry["kind"] == "shards"]
    assert entry["texts"] == [url]
    assert entry["runs"] == [str(Path("runs/encoded").absolute())]
    assert entry["bytes"] > bytes_of_shards()
    gc.collect()  # else this process still reads it
    assert cli("cache", "--clear").exit_code == 0
    assert files_of_shards() == []


def test_shuffled_documents_are_those_of_the_folder(cli: Cli, server: Server, tmp_path: Path) -> None:
    folder = encode(tmp_path, "line")
    url = serve(server, folder)
    for corpus, run in ((url, "one"), (folder, "two")):
        done = cli("train", corpus, *TINY, "--no-ngram", "--run", run)
        assert done.exit_code == 0, done.stderr
    assert weights("one") == weights("two")
    refused = cli("train", url, *TINY, "--cache-size", "100kB").only_error
    assert "too small" in refused  # all shards, as they are smaller than a block of documents


def wait_for_threads() -> None:
    """Wait for what fetches in the background, which ends with the process of a command otherwise."""
    while any(thread.name == "textgen shards" for thread in threading.enumerate()):
        time.sleep(0.01)


def take_away_later(server: Server, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the server fail, and the cache forget all training text, after some steps of training."""
    from textgen.training.trainer import Trainer

    advance = Trainer.advance

    def failing(trainer: Trainer) -> None:
        if trainer.position.step == steps:
            for page in server.pages.values():
                page.status = 503
            trainer.batches._source._tokens._open.clear()
            for path in files_of_shards():
                path.unlink()
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", failing)


def test_a_server_that_goes_away_ends_training_in_one_line_and_resume_goes_on(
    cli: Cli, server: Server, url: str, trained: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        take_away_later(server, patch, 17)
        ended = cli("train", url, *TINY)
    assert ended.exit_code == 1
    [line] = ended.stderr.splitlines()
    assert "the server has an error (503); try again later (after 4 tries)" in line
    assert line.endswith("from step 17 with: textgen train --resume runs/encoded --fetch")
    assert (Path("runs/encoded") / "training" / "step-17").is_dir()
    resume = "train", "--resume", "runs/encoded"
    wait_for_threads()
    server.log.clear()
    assert "--fetch fetches it from there" in cli(*resume).stderr
    assert server.log == []
    again = cli(*resume, "--fetch")
    assert "from step 17 with" in again.stderr
    for page in server.pages.values():
        page.status = 200
    assert cli(*resume, "--fetch").exit_code == 0
    assert weights("runs/encoded") == trained


FAILURES: dict[str, tuple[dict[str, Any], str | None]] = {
    "errors at first": ({"failures": [500, 503, 429]}, None),
    "errors": ({"status": 500}, "the server has an error (500); try again later (after 4 tries)"),
    "not there": ({"status": 404}, "no such file on the server; check the URL (404)"),
    "cut, with a version": ({"cut_after": 3000, "etag": '"1"'}, None),
    "cut": ({"cut_after": 3000}, "the connection ended after 3,000 of"),
    "too short": ({"content": b"abc"}, "has 3 bytes, not"),
    "too long": ({"content": bytes(9000)}, "has 9,000 bytes, not"),
    "far too long": ({"content": bytes(900_000)}, "has more than"),
}


@pytest.mark.parametrize(("about", "message"), FAILURES.values(), ids=FAILURES)
def test_a_shard_that_cannot_be_had_is_named_in_one_line(
    cli: Cli, server: Server, url: str, trained: bytes, about: dict[str, Any], message: str | None
) -> None:
    for name, value in about.items():
        setattr(server.pages["/encoded/train-000003.bin"], name, value)
    done = cli("train", url, *TINY)
    if message is None:
        assert done.exit_code == 0, done.stderr
        assert weights("runs/encoded") == trained
    else:
        [line] = done.stderr.splitlines()
        assert f"{url}train-000003.bin: " in line
        assert message in line
        assert not [path for path in files_of_shards() if path.name == "train-000003.bin"]


def test_wrong_bytes_are_asked_for_again_and_never_kept(cli: Cli, server: Server, url: str) -> None:
    page = server.pages["/encoded/train-000003.bin"]
    page.content = bytes(len(page.content))
    [line] = cli("train", url, *TINY).stderr.splitlines()
    assert "train-000003.bin: its bytes have another digest than in the manifest; put there what" in line
    asked = [asked for asked in server.log if asked.path == "/encoded/train-000003.bin"]
    assert len(asked) % (1 + verified.MOST_WRONG) == 0
    assert not [path for path in files_of_shards() if path.name == "train-000003.bin"]


def test_a_run_never_fetches_its_encoded_text_unasked(cli: Cli, server: Server, url: str) -> None:
    assert cli("train", url, *TINY).exit_code == 0
    losses = {cli("eval", "runs/encoded", "--json", "--no-ngram").stdout}
    for command in (("eval", "runs/encoded"), ("train", "--from", "runs/encoded", "--steps", 2)):
        shutil.rmtree("cache")
        server.log.clear()
        refused = cli(*command).only_error
        assert "the training text of runs/encoded is not in the cache; --fetch fetches it" in refused
        assert server.log == []
        assert cli(*command, "--fetch").exit_code == 0
    losses.add(cli("eval", "runs/encoded", "--json", "--no-ngram").stdout)
    assert len(losses) == 1
    given = cli("eval", "runs/encoded", url, "--part", "val", "--json", "--no-ngram", "--cache-size", "1MB")
    assert json.loads(given.stdout)["nats_per_token"] == json.loads(losses.pop())["nats_per_token"]


def test_text_whose_query_was_not_saved_is_fetched_by_eval(cli: Cli, server: Server, url: str) -> None:
    secret = f"{url}manifest.json?token=1"
    assert cli("train", secret, *TINY, "--no-ngram").exit_code == 0
    for path in files_of_shards():
        path.unlink()
    refused = cli("eval", "runs/encoded", "--fetch").only_error
    assert "fetch it with the whole URL, as `textgen eval runs/encoded URL --part train` does" in refused
    assert cli("eval", "runs/encoded", secret, "--part", "val").exit_code == 0
    assert cli("eval", "runs/encoded").exit_code == 0


def test_another_manifest_than_that_of_the_run_is_refused(cli: Cli, server: Server, url: str) -> None:
    from textgen.system.digests import sealed

    cli("train", url, *TINY)
    shutil.rmtree("cache")
    content = json.loads(server.pages["/encoded/manifest.json"].content)
    content.pop("sha256")
    server.add("/encoded/manifest.json", json.dumps(sealed(content | {"held_out_characters": 7})))
    assert (
        "has changed since runs/encoded was trained on it"
        in cli("eval", "runs/encoded", "--fetch").only_error
    )


def test_what_is_no_encoded_text_is_one_line(cli: Cli, server: Server, url: str) -> None:
    server.add("/web/manifest.json", '{"name": "an app"}')
    assert "not a manifest of encoded text" in cli("train", server.url("/web/"), *TINY).only_error
    missing = cli("train", server.url("/none/"), *TINY).only_error
    assert "A URL that ends with / is that of encoded text; name other files by their own URLs" in missing
    beside = cli("train", url, server.url("/web/a.txt"), *TINY).only_error
    assert "encoded text cannot be read together with other texts" in beside
    assert "leave out --field" in cli("train", url, "--field", "text", *TINY).only_error
    assert "is encoded already" in cli("encode", url, "--output", "again").only_error
    assert "--cache-size 'much': not a size" in cli("train", url, "--cache-size", "much").only_error
    server.close()
    assert "connection refused" in cli("train", url, *TINY, "--cache-dir", "other").only_error


def test_waiting_for_a_shard_ends_with_a_signal(
    cli: Cli, server: Server, url: str, trained: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    monkeypatch.setattr(verified, "WAITS", (60.0,))
    wait_for = shards.RemoteShards._wait_for

    def interrupted(self: shards.RemoteShards, name: str, job: Any) -> None:
        if (
            self._wanted[name].path.name.startswith("train")
            and server.pages["/encoded/counts.npy"].status == 503
        ):
            os.kill(os.getpid(), signal.SIGTERM)
        wait_for(self, name, job)

    with monkeypatch.context() as patch:
        take_away_later(server, patch, 9)
        patch.setattr(shards.RemoteShards, "_wait_for", interrupted)
        ended = cli("train", url, *TINY)
    assert ended.exit_code == 128 + signal.SIGTERM
    assert "stopped at step 9 and saved. Resume with: textgen train --resume runs/encoded" in ended.stderr
    for page in server.pages.values():
        page.status = 200
    assert cli("train", "--resume", "runs/encoded", "--fetch").exit_code == 0
    assert weights("runs/encoded") == trained
