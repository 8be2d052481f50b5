"""textgen push: what is sent is shown, complete, and nothing that is private."""

from __future__ import annotations

import getpass
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from textgen.hub.fetch import open_run
from textgen.run import Run, files_json

if TYPE_CHECKING:
    from tests.conftest import Cli, Invoke
    from tests.hub.conftest import FakeHub

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
TEXT = "The quick brown fox jumps over the lazy dog, and nobody knows why it does that so often.\n"
SENT = {
    "README.md",
    "config.json",
    "files.json",
    "metrics.jsonl",
    "model.safetensors",
    "tokenizer.json",
    "loss.png",
}


@pytest.fixture(scope="module")
def trained(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text from standard input and of a file named by its absolute path, with n-grams."""
    folder = tmp_path_factory.mktemp("ada")
    (folder / "val.txt").write_text(TEXT * 9)
    arguments = ["-", "--val", folder / "val.txt", "--run", folder / "secret-client", *TINY]
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    invoke("train", *arguments, input=TEXT * 40, env=cache)
    return folder / "secret-client"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged; what stands beside the run's files is not to be sent."""
    path = tmp_path / "secret-client"
    shutil.copytree(trained, path)
    (path / "diary.txt").write_text("private")
    (path / ".env").write_text("PASSWORD=1")
    return path


def push(cli: Cli, run: Path, *options: str) -> list[str]:
    """Push, which succeeds; returns the lines on standard output."""
    done = cli("push", run, "ada/tales", "--license", "mit", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_pushed_run_comes_back_as_it_was(cli: Cli, hub: FakeHub, run: Path) -> None:
    lines = push(cli, run)
    files = hub.repositories["ada/tales"].files
    assert files.keys() == SENT
    listed = {
        line.split()[0]: int(line.split()[1].replace(",", "")) for line in lines if line.endswith("bytes")
    }
    assert listed == {name: len(content) for name, content in files.items()}
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    fetched = open_run("hf:ada/tales")
    assert fetched.config.model == Run(run).config.model
    assert fetched.facts()["best"] == Run(run).facts()["best"]
    settings = ("--seed", 7, "--max-new-tokens", 50)
    assert (
        cli("sample", "hf:ada/tales", *settings).stdout == cli("sample", run, *settings, "--no-ngram").stdout
    )


def test_weights_are_sent_as_a_large_file_once(cli: Cli, hub: FakeHub, run: Path) -> None:
    push(cli, run)
    sent = [line for line in hub.log if "lfs" in line]
    assert [line.split()[0] for line in sent] == ["POST", "PUT", "POST"]  # where to, the file, and whole?
    assert [*hub.objects.values()] == [(run / "model.safetensors").read_bytes()]
    hub.log.clear()
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    push(cli, run)
    assert not [line for line in hub.log if line.startswith("PUT")]


@pytest.mark.parametrize(("status", "words"), [(403, "the hub refused (status 403)"), (400, "status 400")])
def test_a_large_file_that_cannot_be_sent_is_one_line(
    cli: Cli, hub: FakeHub, run: Path, status: int, words: str
) -> None:
    hub.refused_uploads = status
    done = cli("push", run, "ada/tales", "--license", "mit")
    assert done.exit_code == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("textgen: hf:ada/tales: ")
    assert words in error
    assert hub.repositories["ada/tales"].files == {}


def test_nothing_private_leaves(cli: Cli, hub: FakeHub, run: Path, tmp_path: Path) -> None:
    config = (run / "config.json").read_text()
    assert re.search('"/.*val.txt"', config)  # there is something to leave out
    (left_out,) = [line for line in push(cli, run) if line.startswith("Not sent: ")]
    for name in ("training/", "stdin.txt", "diary.txt", ".env", "ngram.safetensors"):
        assert name in left_out
    sent = b"".join(hub.repositories["ada/tales"].files.values())
    for private in (str(tmp_path), "secret-client", "/tmp", str(Path.home()), "PASSWORD", "quick brown fox"):
        assert private.encode() not in sent
    assert not re.search(rf'"[^"]*/{getpass.getuser()}/'.encode(), sent)
    public = json.loads(hub.repositories["ada/tales"].files["config.json"])
    assert (public["data"]["corpus"], public["data"]["val"], public["directory"]) == (["-"], "val.txt", None)


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(cli: Cli, hub: FakeHub, run: Path) -> None:
    lines = push(cli, run, "--dry-run")
    assert lines[0] == "Would be sent to hf:ada/tales:"
    assert {line.split()[0] for line in lines if line.endswith("bytes")} == SENT
    assert "license: mit" in lines
    assert hub.log == []
    push(cli, run)
    card = hub.repositories["ada/tales"].files["README.md"].decode()
    assert "\n".join(lines[lines.index("---") :]).rstrip() == card.rstrip()


def test_the_sample_of_the_card_is_what_its_command_writes(cli: Cli, hub: FakeHub, run: Path) -> None:
    push(cli, run)
    card = hub.repositories["ada/tales"].files["README.md"].decode()
    found = re.search(
        r"`textgen (sample hf:ada/tales .*?)`.*?\n\n```text\n(.*?)\n```\n", card, flags=re.DOTALL
    )
    assert found is not None
    assert cli(*found[1].split()).stdout.removesuffix("\n") == found[2].removesuffix("\n")
    figure = Run(run).facts()["best"]["bits_per_character"]
    assert f"{figure:.4f} bits per character" in card


def test_ngrams_are_sent_when_asked_for_and_removed_by_a_push_without(
    cli: Cli, hub: FakeHub, run: Path
) -> None:
    cli("ngram", run, "--order", 3)
    push(cli, run, "--ngram")
    repository = hub.repositories["ada/tales"]
    assert repository.files.keys() == SENT | {"ngram.safetensors"}
    assert "ngram.safetensors" in repository.files["README.md"].decode()
    assert open_run("hf:ada/tales").has_companion
    # They were counted after the last measurement.
    assert "n-grams below was not measured" in repository.files["README.md"].decode()
    repository.files["notes.md"] = b"of the owner"
    push(cli, run)
    assert repository.files.keys() == SENT | {"notes.md"}
    (run / "ngram.safetensors").unlink()
    assert "leave out --ngram" in cli("push", run, "ada/tales", "--license", "mit", "--ngram").only_error


def test_a_branch_leaves_the_main_branch_alone(cli: Cli, hub: FakeHub, run: Path) -> None:
    lines = push(cli, run, "--revision", "v2")
    assert "textgen sample hf:ada/tales@v2" in lines[-1]
    branches = hub.repositories["ada/tales"].branches
    assert (branches["main"][-1], branches["v2"][-1].keys()) == ({}, SENT)
    assert b"hf:ada/tales@v2" in branches["v2"][-1]["README.md"]


def test_private_makes_a_private_repository_or_sends_nothing(cli: Cli, hub: FakeHub, run: Path) -> None:
    push(cli, run, "--private")
    repository = hub.repositories["ada/tales"]
    assert repository.private
    repository.private, repository.branches["main"] = False, [{}]
    error = cli("push", run, "ada/tales", "--license", "mit", "--private").stderr
    assert "is public already, and nothing was sent" in error
    assert repository.files == {}


def test_json_has_the_card_and_the_commit(cli: Cli, hub: FakeHub, run: Path) -> None:
    done = cli("push", run, "ada/tales", "--license", "mit", "--json")
    result = json.loads(done.stdout)
    assert result["commit"].startswith(f"{hub.url}/ada/tales/commit/")
    assert set(result["files"]) == SENT
    assert result["card"].startswith("---\n")


def test_the_licence_is_asked_for(cli: Cli, run: Path) -> None:
    assert "--license: say under which licence" in cli("push", run, "ada/tales").only_error
    error = cli("push", run, "ada/tales", "--license", "cc-bi-4.0", "--dry-run").only_error
    assert "unknown licence 'cc-bi-4.0'; did you mean 'cc-by-4.0'?" in error


def test_a_name_that_the_hub_does_not_allow_is_refused(cli: Cli, hub: FakeHub, run: Path) -> None:
    for name, options in (("tales", []), ("ada/my tales", []), ("ada/tales", ["--revision", "../x"])):
        assert "not the name of a" in cli("push", run, name, "--license", "mit", *options).only_error
    assert hub.log == []


def test_who_is_not_logged_in_is_told(
    cli: Cli, hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN")
    assert "log in with `hf auth login`" in cli("push", run, "ada/tales", "--license", "mit").stderr
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert "log in with `hf auth login`" in cli("push", run, "ada/tales", "--license", "mit").stderr
    assert hub.repositories == {}


def test_a_damaged_run_is_refused_before_anything_is_sent(cli: Cli, hub: FakeHub, run: Path) -> None:
    weights = load_file(run / "model.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    save_file(weights | {name: np.full_like(weights[name], np.nan)}, run / "model.safetensors")
    assert "has the value nan" in cli("push", run, "ada/tales", "--license", "mit").stderr.splitlines()[-1]
    (run / "model.safetensors").unlink()
    assert "no weights yet" in cli("push", run, "ada/tales", "--license", "mit").only_error
    (run / "metrics.jsonl").write_text("{}\n")
    error = cli("push", run, "ada/tales", "--license", "mit").only_error
    assert f"{run / 'metrics.jsonl'}, line 1" in error
    (run / "config.json").write_text("{}")
    assert "config.json" in cli("push", run, "ada/tales", "--license", "mit").only_error
    (run / "config.json").unlink()
    assert "Name a run directory" in cli("push", run, "ada/tales", "--license", "mit").only_error
    assert hub.log == []


def test_digests_are_those_of_what_is_sent(cli: Cli, hub: FakeHub, run: Path, tmp_path: Path) -> None:
    push(cli, run)
    files = hub.repositories["ada/tales"].files
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(files[name])
    assert files["files.json"].decode() == files_json(tmp_path)
