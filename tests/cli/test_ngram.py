"""`textgen ngram`, and the commands that use what it builds, with --no-ngram and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import textgen
from textgen.run import NGRAM, WEIGHTS, Run

if TYPE_CHECKING:
    from tests.conftest import Cli, Invoke

TINY = "--steps 40 --evaluations 2 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
SHORT = ("--seed", 1, "--max-new-tokens", 60)


@pytest.fixture(scope="module")
def made(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a run with n-grams, and the same run without."""
    folder = tmp_path_factory.mktemp("ngram")
    (folder / "corpus.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("train", "corpus.txt", *TINY, "--run", "run", "--cache-dir", "cache")
    shutil.copytree(folder / "run", folder / "plain")
    (folder / "plain" / NGRAM).unlink()
    return folder


@pytest.fixture
def textgen_in(cli: Cli, made: Path, tmp_path: Path) -> Cli:
    """Run textgen in a copy of the folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return cli


def test_a_run_that_was_trained_without_gets_the_same_file(textgen_in: Cli) -> None:
    before = {path.name: path.read_bytes() for path in Path("plain").iterdir() if path.is_file()}
    done = textgen_in("ngram", "plain", "--json")
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    final = Run("run").metrics()[-1]["ngram"]
    assert {name: figures[name] for name in final} == final
    assert figures["seconds"] >= 0
    assert (Path("plain") / NGRAM).read_bytes() == (Path("run") / NGRAM).read_bytes()
    after = {path.name: path.read_bytes() for path in Path("plain").iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert f"together {final['together_nats_per_token']:.4f}" in textgen_in("ngram", "plain").stdout


def test_the_order_can_be_given(textgen_in: Cli) -> None:
    assert json.loads(textgen_in("ngram", "run", "--order", 3, "--json").stdout)["order"] == 3
    shorter = json.loads(textgen_in("eval", "run", "--json").stdout)["nats_per_token"]
    textgen_in("ngram", "run")
    assert json.loads(textgen_in("eval", "run", "--json").stdout)["nats_per_token"] < shorter
    assert "at least 2 and at most 16" in textgen_in("ngram", "run", "--order", 1).only_error


def test_what_it_needs_is_named_in_one_line(textgen_in: Cli) -> None:
    assert "no such run directory" in textgen_in("ngram", "nothing").only_error
    textgen_in("train", "corpus.txt", *TINY, "--val-fraction", 0, "--run", "all")
    assert "no val part" in textgen_in("ngram", "all").only_error
    (Path("run") / WEIGHTS).unlink()
    assert "no weights yet" in textgen_in("ngram", "run").only_error


def test_a_run_with_a_link_in_it_is_refused(textgen_in: Cli) -> None:
    (Path("run") / NGRAM).unlink()
    (Path("run") / NGRAM).symlink_to(Path("corpus.txt").absolute())
    assert "symbolic link" in textgen_in("ngram", "run").only_error
    assert Path("corpus.txt").read_text() == TEXT


@pytest.mark.parametrize(
    "command",
    [
        ("sample", *SHORT),
        ("sample", *SHORT, "--num-samples", 3, "--json"),
        ("eval", "--json"),
        ("eval", "--window", 7),
        ("eval", "corpus.txt", "--json"),
        ("score", "corpus.txt"),
        ("score", "corpus.txt", "--json"),
        ("score", "corpus.txt", "--lines"),
    ],
)
def test_without_the_file_and_with_no_ngram_the_network_is_alone(
    textgen_in: Cli, command: tuple[str, ...]
) -> None:
    name, *options = command
    network, plain, mixed = (
        textgen_in(name, *run, *options).stdout.replace('"plain"', '"run"')
        for run in (("run", "--no-ngram"), ("plain",), ("run",))
    )
    assert network == plain
    assert mixed != plain


def test_score_and_eval_and_python_agree_on_the_mixture(textgen_in: Cli) -> None:
    evaluated = json.loads(textgen_in("eval", "run", "--json").stdout)
    val = TEXT[-evaluated["characters"] :]
    Path("val.txt").write_text(val)
    weight = evaluated["network_weight"]
    scored = json.loads(textgen_in("score", "run", "val.txt", "--json").stdout)
    for name in scored.keys() & evaluated.keys() - {"run", "text"}:
        assert scored[name] == pytest.approx(evaluated[name], rel=1e-5), name
    assert {"nats_per_token", "perplexity_per_word", "words", "network_weight"} <= scored.keys()
    assert f"weight of the network: {weight:.2f}" in textgen_in("score", "run", "val.txt").stdout
    model, alone = textgen.load("run"), textgen.load("run", ngram=False)
    for report in (model.score(val), model.evaluate()):
        assert report.loss.nats_per_token == pytest.approx(evaluated["nats_per_token"], rel=1e-5)
    for report in (alone.score(val), alone.evaluate()):
        assert report.loss.nats_per_token == pytest.approx(evaluated["network"]["nats_per_token"], rel=1e-5)
    printed = textgen_in("sample", "run", *SHORT, "--json").stdout
    assert json.loads(printed)["samples"][0]["text"] == model.generate(seed=1, max_new_tokens=60).text
    assert json.loads(printed)["settings"]["network_weight"] == weight


def test_eval_prints_the_three_figures_side_by_side(textgen_in: Cli) -> None:
    evaluated = json.loads(textgen_in("eval", "run", "--json").stdout)
    header, nats, *_, last = textgen_in("eval", "run").stdout.splitlines()
    assert header.split() == ["network", "n-grams", "together"]
    parts = (evaluated["network"], evaluated["ngrams"], evaluated)
    assert nats.split() == [*(f"{part['nats_per_token']:.5g}" for part in parts), "nats/token"]
    assert last.startswith("The run predicts with both together; weight of the network: ")


def test_the_first_figures_of_eval_are_those_of_both_and_beside_them_are_those_of_each(
    textgen_in: Cli,
) -> None:
    both, network = (
        json.loads(textgen_in("eval", "run", *options, "--json").stdout) for options in ((), ("--no-ngram",))
    )
    assert {"network", "ngrams", "network_weight"} == both.keys() - network.keys()
    assert both["nats_per_token"] < min(both[part]["nats_per_token"] for part in ("network", "ngrams"))
    assert both["network"].items() <= network.items()
    assert both["network"].keys() == both["ngrams"].keys()


def test_dynamic_evaluation_and_adaptation_are_of_the_network_alone_if_told_so(textgen_in: Cli) -> None:
    dynamic = ("--dynamic", "--dynamic-method", "sgd", "--dynamic-window", 100, "--json")
    plain, alone, mixed = (
        json.loads(textgen_in("eval", *run, *dynamic).stdout) | {"run": ""}
        for run in (["plain"], ["run", "--no-ngram"], ["run"])
    )
    assert alone == plain != mixed
    adapt = ("--adapt", "corpus.txt", "--adapt-method", "sgd", *SHORT)
    plain, alone, mixed = (
        textgen_in("sample", *run, *adapt).stdout for run in (["plain"], ["run", "--no-ngram"], ["run"])
    )
    assert alone == plain != mixed


def test_copies_can_be_avoided_and_measured(textgen_in: Cli) -> None:
    sample = ("sample", "run", "--seed", 2, "--max-new-tokens", 300, "--temperature", 0.3)
    free = textgen_in(*sample).stdout
    limited = textgen_in(*sample, "--avoid-copy", 8, "--novelty")
    assert any(free[at : at + 12] in TEXT for at in range(len(free) - 12))
    assert not any(limited.stdout[at : at + 12] in TEXT for at in range(len(limited.stdout) - 12))
    assert "longest copy: 8 characters" in limited.stderr


@pytest.mark.parametrize("command", ["sample", "score", "eval"])
def test_a_damaged_file_is_one_line_that_says_what_to_do(textgen_in: Cli, command: str) -> None:
    path = Path("run") / NGRAM
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    arguments = (command, "run", *(("corpus.txt",) if command == "score" else ()))
    error = textgen_in(*arguments).only_error
    assert "SHA-256" in error
    assert "textgen ngram run" in error
    assert textgen_in(*arguments, "--no-ngram").exit_code == 0


@pytest.mark.parametrize("target", ["ngram.safetensors", "nothing", "."])
def test_a_link_in_its_place_is_refused_in_one_line(textgen_in: Cli, target: str) -> None:
    path = Path("run") / NGRAM
    path.unlink()
    path.symlink_to(target)
    assert f"{path}: " in textgen_in("score", "run", "corpus.txt").only_error
    assert textgen_in("score", "run", "corpus.txt", "--no-ngram").exit_code == 0


def test_the_file_of_another_run_is_refused(textgen_in: Cli) -> None:
    Path("other.txt").write_text(TEXT.replace("dogs", "fish"))
    textgen_in("train", "other.txt", *TINY, "--run", "other")
    shutil.copy(Path("run") / NGRAM, Path("other") / NGRAM)
    assert "it has other tokens than the network" in textgen_in("sample", "other").only_error


def test_info_says_whether_a_run_holds_text(textgen_in: Cli) -> None:
    assert json.loads(textgen_in("info", "run", "--json").stdout)["ngrams"] is True
    assert "n-grams" in textgen_in("info", "run").stdout
    assert json.loads(textgen_in("info", "plain", "--json").stdout)["ngrams"] is False
    assert "n-grams" not in textgen_in("info", "plain").stdout
