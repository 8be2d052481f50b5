"""Small run directories: every command but train takes them, and their loss is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, Invoke, MakeRun, Result
from textgen.errors import RunError
from textgen.export.formats import FORMATS
from textgen.run import CONFIG, NGRAM, WEIGHTS, Run
from textgen.weights.quantized import rounded

TEXT = "The quick brown fox jumps over the lazy dog. Why? It is not known.\n" * 60
SIZES = {"float16": (0.48, 0.56), "bfloat16": (0.48, 0.56), "int8": (0.24, 0.34)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """A trained run, with its text and with n-grams."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    invoke(
        "train", folder / "text.txt", "--run", folder / "run", "--steps", 20, "--hidden-size", 96,
        "--cache-dir", folder / "cache",
    )  # fmt: skip
    return folder / "run"


@pytest.fixture
def export(cli: Cli, trained: Path) -> Result:
    """The output of the command that made the run `small`, in int8."""
    result = cli("export", trained, "weights", "--weights", "int8", "--output", "small")
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.parametrize("kind", FORMATS["weights"].weights)
def test_each_kind_is_small_and_read_as_it_was_rounded(trained: Path, cli: Cli, kind: str) -> None:
    result = cli("export", trained, "weights", "--weights", kind, "--output", kind, "--no-ngram")
    assert result.exit_code == 0, result.stderr
    share = (Path(kind) / WEIGHTS).stat().st_size / (trained / WEIGHTS).stat().st_size
    assert SIZES[kind][0] < share < SIZES[kind][1]
    expected = rounded(Run(trained).load_weights(), kind)
    for name, array in Run(kind).load_weights().items():
        assert np.array_equal(array, expected[name])
    assert Run(kind).weights_kind == kind
    assert not (Path(kind) / NGRAM).exists()


def test_the_loss_that_is_printed_is_that_of_eval(export: Result, cli: Cli) -> None:
    figures = re.findall(r", with n-grams: (\d+\.\d+) bits/character on all", export.stdout)
    assert len(figures) == 2
    difference = re.search(r"^small \(int8\).* \(([+-]\d+\.\d+)\)$", export.stdout, re.MULTILINE)
    assert difference is not None
    assert float(difference[1]) == pytest.approx(float(figures[1]) - float(figures[0]), abs=1.1e-4)
    measured = json.loads(cli("eval", "small", "--json").stdout)
    assert measured["bits_per_character"] == pytest.approx(float(figures[1]), abs=0.02)
    assert (Path("small") / NGRAM).is_file()


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "small", "--seed", 1, "--max-new-tokens", 20],
        ["sample", "small", "--seed", 1, "--max-new-tokens", 20, "--device", "cpu", "--adapt", "more.txt"],
        ["eval", "small", "--dynamic"],
        ["score", "small", "more.txt"],
        ["inspect", "small", "more.txt"],
        ["gradients", "small"],
        ["ngram", "small"],
        ["info", "small"],
        ["export", "small", "onnx"],
    ],
    ids=lambda command: " ".join(map(str, command[:1])),
)
def test_other_commands_take_it(export: Result, cli: Cli, command: list[str]) -> None:
    Path("more.txt").write_text(TEXT[:500])
    result = cli(*command)
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_info_names_the_type_of_its_weights(export: Result, cli: Cli, trained: Path) -> None:
    described = cli("info", "small").stdout
    assert "; weights rounded to int8\n" in described
    assert "(all validation text, the network alone, before its weights were rounded to int8)\n" in described
    # The loss with n-grams is what training measured.
    (final,) = [record for record in Run(trained).metrics() if record["kind"] == "final"]
    assert f"with them {final['ngram']['together_nats_per_token']:.4f} nats/token" in described
    assert json.loads(cli("info", "small", "--json").stdout)["weights"] == "int8"
    assert "rounded" not in cli("info", trained).stdout


@pytest.mark.parametrize("how", ["--from", "--resume"])
def test_training_from_it_is_refused_in_one_line(export: Result, cli: Cli, how: str) -> None:
    error = cli("train", how, "small").only_error
    assert "its weights are rounded to int8" in error
    assert "train from the run that it was made from" in error


def test_rounding_twice_is_refused(export: Result, cli: Cli) -> None:
    assert "are in int8 already" in cli("export", "small", "weights", "--output", "smaller").only_error
    assert not Path("smaller").exists()


def test_a_folder_that_exists_is_kept(export: Result, cli: Cli, trained: Path) -> None:
    before = (Path("small") / WEIGHTS).read_bytes()
    assert "name another" in cli("export", trained, "weights", "--output", "small").only_error
    assert (Path("small") / WEIGHTS).read_bytes() == before


def test_without_its_text_the_loss_is_said_not_to_be_measured(make_run: MakeRun, cli: Cli) -> None:
    run = make_run()
    result = cli("export", run.path, "weights", "--output", "small")
    assert result.exit_code == 0, result.stderr
    assert "loss not measured: " in result.stdout
    assert cli("sample", "small", "--seed", 1).exit_code == 0


def test_a_changed_config_is_still_noticed(export: Result) -> None:
    path = Path("small") / CONFIG
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(RunError, match="has changed since the run was made"):
        Run("small").config  # noqa: B018
