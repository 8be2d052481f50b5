"""`textgen eval --dynamic` and `textgen sample --adapt`."""

from __future__ import annotations

import hashlib
import json
import random
import re
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
    """What `textgen eval run ... --no-ngram --json` prints: the figures of the network alone."""

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
    shown = invoke("eval", "run", "dogs.txt", "--dynamic", "--no-ngram").stdout.splitlines()
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


# ---- with n-grams


@pytest.fixture
def table(invoke: Invoke) -> Callable[..., list[float]]:
    """The nats per token that `textgen eval run dogs.txt` prints."""

    def read(*arguments: object) -> list[float]:
        lines = invoke("eval", "run", "dogs.txt", *arguments).stdout.splitlines()
        (line,) = (line for line in lines if line.endswith(" nats/token"))
        return [float(word) for word in line.split()[:-1]]

    return read


@pytest.mark.usefixtures("run")
def test_network_n_grams_and_mixture_are_shown_static_and_dynamic(
    invoke: Invoke, figures: Figures, table: Callable[..., list[float]]
) -> None:
    shown = table("--dynamic")
    assert shown[:3] == table()
    alone = figures("dogs.txt", "--dynamic")
    assert shown[3] == pytest.approx(alone["dynamic"]["nats_per_token"], rel=1e-4)
    for static, dynamic in zip(shown[:3], shown[3:], strict=True):
        assert dynamic < static - 0.01
    assert shown[5] < shown[3]
    lines = invoke("eval", "run", "dogs.txt", "--dynamic").stdout.splitlines()
    assert lines[0].split() == ["static", "dynamic"]
    assert lines[1].split() == ["network", "n-grams", "together"] * 2
    found = json.loads(invoke("eval", "run", "dogs.txt", "--dynamic", "--json").stdout)
    dynamic = found.pop("dynamic")
    assert found == json.loads(invoke("eval", "run", "dogs.txt", "--json").stdout)
    assert dynamic.pop("settings") == vars(DynamicConfig())
    assert re.search(r"0\.\d\d, dynamic at best 0\.\d\d$", lines[-1])
    assert dynamic.keys() < found.keys()


@pytest.mark.usefixtures("run")
def test_the_weight_of_the_network_changes_the_mixture_alone(table: Callable[..., list[float]]) -> None:
    ngrams, network = (
        table("--dynamic", "--no-dynamic-mix", "--dynamic-network-weight", weight) for weight in (0, 1)
    )
    assert ngrams[:5] == network[:5]
    assert ngrams[5] == pytest.approx(ngrams[4], abs=2e-4)
    assert network[5] == pytest.approx(network[3], abs=2e-4)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "command", [("eval", "run", "dogs.txt", "--dynamic"), ("sample", "run", "--adapt", "dogs.txt")]
)
def test_a_weight_of_the_network_is_refused_without_n_grams(invoke: Invoke, command: tuple[str, ...]) -> None:
    weight = ("--dynamic-network-weight" if "eval" in command else "--adapt-network-weight", "0.5")
    with pytest.raises(ConfigError, match="without n-grams"):
        invoke(*command, *weight, "--no-ngram")
    Path("run/ngram.safetensors").unlink()
    with pytest.raises(ConfigError, match="without n-grams"):
        invoke(*command, *weight)


@pytest.mark.usefixtures("run")
def test_sampling_uses_the_n_grams_that_have_learnt(invoke: Invoke) -> None:
    Path("words.txt").write_text(words("tas god het", 300))
    sample = ["run", "--seed", 1, "--num-samples", 4, "--max-new-tokens", 200, "--prompt", "god ", "--json"]
    adapt = ["--adapt", "words.txt", "--adapt-rate", 0]

    def drawn(*arguments: object) -> tuple[str, dict[str, Any]]:
        found = json.loads(invoke("sample", *sample, *arguments).stdout)
        return " ".join(sample["text"] for sample in found["samples"]), found["settings"]

    text, settings = drawn(*adapt, "--adapt-network-weight", 0.1)
    assert settings["network_weight"] == settings["adapt_network_weight"] == 0.1
    assert text.split().count("god") > 20
    for others in ([*adapt, "--no-ngram"], []):
        text, settings = drawn(*others)
        assert text.split().count("god") < 5
    assert settings["network_weight"] < 1


# ---- sample --adapt


def test_sampling_adapts_to_the_file_and_leaves_the_run_unchanged(invoke: Invoke, run: Path) -> None:
    def letters(*arguments: object) -> float:
        """The share of letters that only the file's kind of text has, in texts that begin as either kind."""
        options = ["--seed", 1, "--num-samples", 8, "--max-new-tokens", 150, "--temperature", 1, *arguments]
        found = json.loads(invoke("sample", "run", *options, "--no-ngram", "--json").stdout)
        text = "".join(sample["text"] for sample in found["samples"])
        return sum(text.count(letter) for letter in "hedos") / len(text)

    def fingerprint() -> list[str]:
        files = sorted(path for path in run.rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    before = fingerprint()
    assert letters("--adapt", "dogs.txt", "--adapt-rate", 0.5) > letters() + 0.04
    assert fingerprint() == before


@pytest.mark.usefixtures("run")
def test_adaptation_is_reported_in_one_line(
    invoke: Invoke, figures: Figures, table: Callable[..., list[float]]
) -> None:
    sample = ["run", "--seed", 1, "--max-new-tokens", 5]
    result = invoke("sample", *sample, "--adapt", "dogs.txt")
    (line,) = result.notes
    both = figures("dogs.txt", "--dynamic", "--no-dynamic-mix")
    with_ngrams = table("--dynamic", "--no-dynamic-mix")
    assert re.fullmatch(
        r"Adapted to dogs.txt: [\d,]+ tokens, \S+ nats/token as trained, \S+ while adapting", line.rstrip()
    )
    shown = [float(word) for word in line.split() if re.fullmatch(r"\d\.\d{4}", word)]
    assert shown == pytest.approx([with_ngrams[2], with_ngrams[5]], abs=1e-4)
    alone = invoke("sample", *sample, "--adapt", "dogs.txt", "--no-ngram")
    (line,) = alone.notes
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
    adapted = invoke("sample", *sample, "--adapt", "dogs.txt", "--adapt-rate", 0, "--no-ngram").stdout
    assert adapted == plain


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
