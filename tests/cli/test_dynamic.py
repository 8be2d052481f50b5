"""`textgen eval --dynamic` and `textgen sample --adapt`."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from textgen.errors import ConfigError, CorpusError, RunError, TrainingError
from textgen.settings.config import DYNAMIC_METHODS, DynamicConfig

if TYPE_CHECKING:
    from tests.conftest import Invoke

    Figures = Callable[..., dict[str, Any]]

TINY = (
    "--steps 250 --evaluations 1 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16 "
    "--learning-rate 0.007 --beta1 0.9"
).split()


def words(names: str, length: int) -> str:
    rng = random.Random(names)
    return " ".join(rng.choice(names.split()) for _ in range(length)) + "\n"


@pytest.fixture
def run(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was trained on two kinds of text; both are files beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("corpus.txt").write_text("".join(words(kind, 40) for kind in ("the dog sat", "una gatta va") * 5))
    Path("dogs.txt").write_text(words("the dog sat", 500))
    invoke("train", "corpus.txt", "--run", "run", *TINY)
    return tmp_path / "run"


@pytest.fixture
def figures(invoke: Invoke) -> Figures:
    """What `textgen eval run ... --json` prints, of the network alone as dynamic evaluation is."""

    def run(*arguments: object) -> dict[str, Any]:
        found = json.loads(invoke("eval", "run", *arguments, "--no-ngram", "--json").stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.mark.usefixtures("run")
def test_static_and_dynamic_figures_are_printed_together_with_the_settings(
    invoke: Invoke, figures: Figures
) -> None:
    static = figures("dogs.txt")
    both = figures("dogs.txt", "--dynamic")
    dynamic = both.pop("dynamic")
    assert both == static
    assert dynamic["nats_per_token"] < static["nats_per_token"]
    assert dynamic["tokens"] == static["tokens"]
    assert dynamic.pop("settings") == vars(DynamicConfig())
    assert dynamic.keys() < static.keys()
    shown = invoke("eval", "run", "dogs.txt", "--dynamic").stdout.splitlines()
    assert shown[0].split() == ["static", "dynamic"]
    for line, unit in zip(shown[1:3], ("nats_per_token", "bits_per_character"), strict=True):
        assert [float(word) for word in line.split()[:2]] == pytest.approx(
            [static[unit], dynamic[unit]], rel=1e-4
        )
    assert DynamicConfig().method in shown[-1]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "setting", ["method=sgd", "rate=0.01", "window=3", "decay=0.3", "clip-norm=0.01"], ids=str
)
def test_every_setting_changes_the_figure(figures: Figures, setting: str) -> None:
    name, value = setting.split("=")
    plain = figures("dogs.txt", "--dynamic")["dynamic"]
    changed = figures("dogs.txt", "--dynamic", f"--dynamic-{name}", value)["dynamic"]
    assert str(changed["settings"][name.replace("-", "_")]) == value
    assert changed["nats_per_token"] != plain["nats_per_token"]


@pytest.mark.usefixtures("run")
def test_dynamic_evaluation_works_on_the_runs_own_validation_text(figures: Figures) -> None:
    assert figures("--dynamic")["dynamic"]["tokens"] == figures()["tokens"]


@pytest.mark.parametrize(
    ("command", "arguments", "named"),
    [
        ("eval", ["--dynamic-rate", "1"], "--dynamic-rate does nothing without --dynamic"),
        ("eval", ["--dynamic", "--window", "8"], "--window does not go with --dynamic"),
        ("sample", ["--adapt-clip-norm", "1"], "--adapt-clip-norm does nothing without --adapt"),
        ("sample", ["--cache-dir", "x"], "--cache-dir does nothing without --adapt"),
        ("sample", ["--encoding", "latin-1"], "--encoding does nothing without --adapt FILE"),
        ("sample", ["--adapt", "-", "--prompt-file", "-"], "--adapt - does not go with --prompt-file -"),
        ("sample", ["--adapt", "-", "--interactive"], "--adapt - does not go with --interactive"),
    ],
)
def test_options_that_contradict_or_do_nothing_are_refused(
    invoke: Invoke, command: str, arguments: list[str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        invoke(command, "no-run", *arguments)


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("eval", "--dynamic-rate", "-1"),
        ("sample", "--adapt-rate", "1e+300"),
        ("eval", "--dynamic-decay", "2"),
        ("sample", "--adapt-window", "0"),
    ],
)
def test_a_value_out_of_range_is_refused(invoke: Invoke, command: str, option: str, value: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        invoke(command, "no-run", option, value)
    assert f"'{option}': {value}" in refused.value.format_message()


def test_rms_without_the_training_text_suggests_a_method_that_works_without_it(
    invoke: Invoke, figures: Figures, run: Path
) -> None:
    Path("corpus.txt").write_text("something else, " * 50)
    sample = ["run", "--seed", 1, "--max-new-tokens", 5, "--adapt", "dogs.txt"]
    with pytest.raises(RunError, match=r"has changed .*--dynamic-method sgd"):
        invoke("eval", "run", "dogs.txt", "--dynamic", "--dynamic-method", "rms")
    with pytest.raises(RunError, match=r"has changed .*--adapt-method sgd"):
        invoke("sample", *sample, "--adapt-method", "rms")
    assert figures("dogs.txt", "--dynamic", "--dynamic-method", "sgd")["dynamic"]
    assert invoke("sample", *sample, "--adapt-method", "sgd").stdout


# ---- sample --adapt


def test_sampling_adapts_to_the_file_and_leaves_the_run_unchanged(invoke: Invoke, run: Path) -> None:
    def letters(*arguments: object) -> float:
        """The share of letters that only the file's kind of text has, in texts that begin as either kind."""
        options = ["--seed", 1, "--num-samples", 8, "--max-new-tokens", 150, "--temperature", 1, *arguments]
        found = json.loads(invoke("sample", "run", *options, "--json").stdout)
        text = "".join(sample["text"] for sample in found["samples"])
        return sum(text.count(letter) for letter in "hedos") / len(text)

    def fingerprint() -> list[str]:
        files = sorted(path for path in run.rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    before = fingerprint()
    assert letters("--adapt", "dogs.txt", "--adapt-rate", 0.5) > letters() + 0.04
    assert fingerprint() == before


@pytest.mark.usefixtures("run")
def test_adaptation_is_reported_in_one_line(invoke: Invoke, figures: Figures) -> None:
    sample = ["run", "--seed", 1, "--max-new-tokens", 5]
    result = invoke("sample", *sample, "--adapt", "dogs.txt")
    (line,) = result.notes
    both = figures("dogs.txt", "--dynamic", "--no-dynamic-mix")
    assert line.rstrip() == (
        f"Adapted to dogs.txt: {both['tokens']:,} tokens, "
        f"{both['nats_per_token']:.4f} nats/token as trained, "
        f"{both['dynamic']['nats_per_token']:.4f} while adapting"
    )
    piped = invoke("sample", *sample, "--adapt", "-", input=Path("dogs.txt").read_text())
    assert piped.stdout == result.stdout


@pytest.mark.usefixtures("run")
def test_json_has_the_adaptation_file_and_its_settings(invoke: Invoke) -> None:
    sample = ["run", "--seed", 1, "--max-new-tokens", 5, "--json"]
    settings = json.loads(invoke("sample", *sample, "--adapt", "dogs.txt").stdout)["settings"]
    plain = json.loads(invoke("sample", *sample).stdout)["settings"]
    assert settings["adapt"] == "dogs.txt"
    assert {
        f"adapt_{name}": value for name, value in vars(DynamicConfig(mix=False)).items()
    }.items() <= settings.items()
    assert not [name for name in plain if name.startswith("adapt")]


@pytest.mark.usefixtures("run")
def test_after_adaptation_the_prompt_starts_from_the_initial_state(invoke: Invoke) -> None:
    sample = ["run", "--seed", 1, "--max-new-tokens", 30, "--prompt", "the "]
    plain = invoke("sample", *sample, "--no-ngram").stdout
    assert invoke("sample", *sample, "--adapt", "dogs.txt", "--adapt-rate", 0).stdout == plain


@pytest.mark.usefixtures("run")
def test_records_and_encodings_of_the_file_are_read(invoke: Invoke) -> None:
    def sample(file: str, *arguments: object) -> str:
        adapted = ["run", "--seed", 1, "--max-new-tokens", 5, "--adapt", file, *arguments]
        return "".join(invoke("sample", *adapted).notes).partition(":")[2]

    plain = Path("dogs.txt").read_text().rstrip("\n")
    Path("plain.txt").write_text(plain)
    Path("dogs.jsonl").write_text(json.dumps({"body": plain}) + "\n")
    Path("wide.txt").write_text(plain, encoding="utf-16")
    plain_text = sample("plain.txt")
    assert sample("dogs.jsonl", "--field", "body") == plain_text
    assert sample("wide.txt", "--encoding", "utf-16") == plain_text
    with pytest.raises(CorpusError, match=r"--field body: there is no \.jsonl"):
        sample("plain.txt", "--field", "body")


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("method", DYNAMIC_METHODS)
def test_a_rate_that_is_far_too_high_is_a_one_line_error(invoke: Invoke, method: str) -> None:
    sample = ["run", "--seed", 1, "--adapt", "dogs.txt", "--adapt-method", method, "--adapt-rate"]
    with pytest.raises(TrainingError, match="rate 1e\\+06"):
        invoke("sample", *sample, "1e6")
