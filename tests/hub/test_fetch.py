"""Runs by hf:USER/NAME: fetched whole and nothing else, found in the cache, refused in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import textgen
from textgen.errors import ConfigError, RunError
from textgen.hub.fetch import local_path, open_run
from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli, MakeRun
    from tests.hub.conftest import FakeHub, FakeRepository

    Put = Callable[..., FakeRepository]

SAMPLE = ("--seed", 1, "--max-new-tokens", 40)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def tales(make_run: MakeRun, put: Put) -> Run:
    """An untrained run that is on the hub too, as ada/tales, beside files that are no part of a run."""
    run = make_run("tales")
    repository = put("ada/tales", run.path)
    repository.files["pytorch_model.bin"] = b"a pickle"
    repository.files["README.md"] = b"a card"
    return run


def test_a_run_on_the_hub_writes_the_same_text(cli: Cli, tales: Run) -> None:
    local = cli("sample", tales.path, *SAMPLE)
    assert local.exit_code == 0
    fetched = cli("sample", "hf:ada/tales", *SAMPLE)
    assert fetched.stdout == local.stdout, fetched.stderr
    assert fetched.stderr == "Fetching hf:ada/tales\n"
    assert cli("sample", "hf:ada/tales", *SAMPLE).stderr == ""  # it is in the cache


def test_a_terminal_shows_how_much_is_fetched(hub: FakeHub, tales: Run, hub_cache: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(hub_cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "textgen", "sample", "hf:ada/tales", *map(str, SAMPLE)]
    done = subprocess.run(command, env=kept | settings, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end, of a terminal
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert done.stdout
    assert re.search(rb"hf:ada/tales: +\d+%\|", shown)
    assert b"%|" not in shown.rpartition(b"\r")[2]  # it is gone in the end


def test_only_the_files_of_the_run_are_fetched(hub: FakeHub, tales: Run, hub_cache: Path) -> None:
    path = open_run("hf:ada/tales").path
    assert {file.name for file in path.iterdir()} == {file.name for file in tales.path.iterdir()}
    assert hub_cache in path.parents
    asked = {line.split()[1].rpartition("/")[0] for line in hub.log}
    assert all("ada/tales" in path for path in asked), asked


def test_a_revision_is_a_branch_or_a_commit(hub: FakeHub, tales: Run, make_run: MakeRun) -> None:
    other = make_run("other", seed=2)
    files = {file.name: file.read_bytes() for file in other.path.iterdir()}
    hub.repositories["ada/tales"].branches["v2/final"] = [files]
    for name, expected in (("hf:ada/tales@v2/final", other), ("hf:ada/tales", tales)):
        found = open_run(name)
        assert (found.path / "model.safetensors").read_bytes() == (
            expected.path / "model.safetensors"
        ).read_bytes()
        assert found.name == "tales"
    commit = open_run("hf:ada/tales@v2/final").path.name
    assert open_run(f"hf:ada/tales@{commit}").path.name == commit


def test_a_run_that_was_fetched_is_found_when_the_hub_cannot_be_reached(
    tales: Run, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = open_run("hf:ada/tales").path
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert open_run("hf:ada/tales").path == path
    error = cli("sample", "hf:ada/other", *SAMPLE).stderr.splitlines()[-1]
    assert error.startswith("textgen: hf:ada/other: the hub cannot be reached (Connect")


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_offline_a_run_is_read_from_a_cache_made_by_hand(
    make_run: MakeRun, cli: Cli, tmp_path: Path, hub_cache: Path
) -> None:
    run = make_run("tales")
    folder = hub_cache / "models--ada--tales"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots").mkdir()
    run.path.rename(folder / "snapshots" / COMMIT)
    expected = cli("sample", folder / "snapshots" / COMMIT, *SAMPLE).stdout
    script = f"""
import sys
from textgen.cli import main
sys.argv = ["textgen", "sample", "hf:ada/NAME", *{[*map(str, SAMPLE)]}]
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    settings = {"HF_HUB_CACHE": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    found = in_a_process(script.replace("NAME", "tales"), **settings)
    assert (found.stdout, found.stderr, found.returncode) == (expected, "", 0)
    missing = in_a_process(script.replace("NAME", "poems"), **settings)
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1] == (
        "textgen: hf:ada/poems: not in the cache, and HF_HUB_OFFLINE forbids asking the hub; unset it"
    )


def test_every_command_that_takes_a_run_takes_one_on_the_hub(cli: Cli, tales: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox.\n" * 20)
    for arguments in (
        ["eval", "hf:ada/tales", text],
        ["score", "hf:ada/tales", text],
        ["inspect", "hf:ada/tales", text],
        ["export", "hf:ada/tales", "html"],
        ["export", "hf:ada/tales", "weights"],
    ):
        done = cli(*arguments)
        assert done.exit_code == 0, done.stderr
    assert (tmp_path / "inspect-tales.html").is_file()
    assert "<title>tales</title>" in (tmp_path / "tales.html").read_text()
    assert (tmp_path / "tales-weights").is_dir()
    # These need more than an untrained run has: they say so of the run that was fetched.
    for arguments in (["info", "hf:ada/tales"], ["gradients", "hf:ada/tales"]):
        assert "snapshots" in cli(*arguments).only_error


def test_a_run_on_the_hub_is_fine_tuned_and_remembered(cli: Cli, tales: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox.\n" * 80)
    done = cli(
        "train",
        text,
        "--from",
        "hf:ada/tales",
        "--steps",
        2,
        "--run",
        "tuned",
        "--seq-len",
        8,
        "--batch-size",
        2,
    )
    assert done.exit_code == 0, done.stderr
    assert "models--ada--tales" in str(Run("tuned").config.from_run)


def test_python_loads_a_run_of_the_hub(tales: Run) -> None:
    expected = textgen.load(tales.path).generate(seed=1, max_new_tokens=20).text
    assert textgen.load("hf:ada/tales").generate(seed=1, max_new_tokens=20).text == expected
    with pytest.raises(ConfigError, match="only read"):
        textgen.resume("hf:ada/tales")


def test_what_writes_to_a_run_refuses_one_on_the_hub(cli: Cli, hub: FakeHub) -> None:
    for arguments in (["ngram", "hf:ada/tales"], ["train", "--resume", "hf:ada/tales"]):
        assert "hf:ada/tales: " in cli(*arguments).only_error
        assert "only read" in cli(*arguments).only_error
    assert hub.log == []


def test_a_run_from_a_file_of_settings_is_not_fetched(cli: Cli, hub: FakeHub, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox.\n" * 80)
    (tmp_path / "settings.toml").write_text(f'from = "hf:ada/tales"\ncorpus = "{text}"\n')
    assert "only where you name it yourself" in cli("train", "--config", "settings.toml").only_error
    assert hub.log == []


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf:tales", "hf://ada/tales", "hf:ada/../tales", "hf:ada/tales@", "hf:ada/tales@../main",
     "hf:a/b/c", "hf:ada/tales@.git", "hf:ada--x/tales", "hf:ada/tales\n"],
)  # fmt: skip
def test_other_names_are_refused_before_the_hub_is_asked(name: str, hub: FakeHub) -> None:
    with pytest.raises(ConfigError, match="a run on the hub is hf:USER/NAME"):
        open_run(name)
    assert hub.log == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, {"X-Error-Code": "RepoNotFound"}, {}), "no such repository, or a private one"),
        ((401, {}, {}), "the hub refused (status 401)"),
        ((404, {"X-Error-Code": "RevisionNotFound"}, {}), "no such revision"),
        ((403, {"X-Error-Code": "GatedRepo"}, {}), "its owner grants access one by one"),
        ((403, {}, {}), "the hub refused (status 403)"),
        ((418, {}, {"error": "a\nteapot"}), "the hub answered with status 418 (a teapot)"),
        ((200, {}, b"<html>a login page</html>"), "refused: "),
    ],
)
def test_what_the_hub_answers_becomes_one_line(
    answer: tuple[int, dict[str, str], object], expected: str, hub: FakeHub, cli: Cli
) -> None:
    hub.refusal = answer
    done = cli("info", "hf:ada/tales")
    fetching, error = done.stderr.splitlines()
    assert fetching == "Fetching hf:ada/tales"
    assert error.startswith(f"textgen: hf:ada/tales: {expected}")
    assert done.exit_code == 1


def test_a_repository_of_something_else_is_refused(hub: FakeHub, put: Put, tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    put("ada/bert", tmp_path / "bert").files["weights.bin"] = b"1"
    with pytest.raises(RunError, match=r"hf:ada/bert: not a run of textgen: it has no config\.json"):
        open_run("hf:ada/bert")
    hub.repositories["ada/bert"].branches["main"].append({"config.json": b'{"model_type": "bert"}'})
    with pytest.raises(RunError, match="not of a run of textgen"):
        open_run("hf:ada/bert").config  # noqa: B018


def test_a_local_path_stays_as_it_is() -> None:
    assert local_path("runs/tales") == "runs/tales"
