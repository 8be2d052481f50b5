"""The ablation's table, its variants, and short runs of the script."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ablation(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("ablation")


def line(
    corpus: str, variant: str, seed: int, bits: float, options: str = "", **more: object
) -> dict[str, Any]:
    fields = {"corpus": corpus, "variant": variant, "seed": seed, "options": options, "budget": "--minutes 2"}
    return fields | {"bits_per_character": bits} | more


def test_the_table_shows_gains_over_the_recipe_and_stars_those_beyond_the_noise(ablation: ModuleType) -> None:
    lines = [line("a", "recipe", 1, 2.00), line("a", "recipe", 2, 2.02)]
    lines += [line("a", "good", 1, 1.90, "--x 1"), line("a", "good", 2, 1.919, "--x 1")]
    lines += [line("a", "noise", 1, 1.99, "--y 1"), line("a", "noise", 2, 2.03, "--y 1")]
    lines += [line("b", "recipe", 1, 1.0), line("b", "bad", 1, 1.1, "--z 0")]
    assert ablation.table(lines) == [
        ["variant", "a", "b"],
        ["recipe", "2.0100 ± 0.0100 bits", "1.0000 ± 0.0000 bits"],
        ["good", "+5.00 ± 0.00 % * (--x 1)", ""],
        ["noise", "+0.00 ± 0.50 % (--y 1)", ""],
        ["bad", "", "-10.00 ± 0.00 % (--z 0)"],  # no star with one seed
    ]


def test_the_table_shows_the_cost_of_a_variant_when_steps_are_equal(ablation: ModuleType) -> None:
    steps = {"budget": "--steps 100"}
    lines = [line("a", "recipe", seed, 2.0, processor_seconds=10.0 * seed, **steps) for seed in (1, 2)]
    lines += [
        line("a", "slow", seed, 1.9, "--x 1", processor_seconds=11.0 * seed, **steps) for seed in (1, 2)
    ]
    assert ablation.table(lines)[2] == ["slow", "+5.00 ± 0.00 % * (--x 1, 1.10 x the time)"]


def test_residual_is_skipped_if_the_recipe_has_one_layer(ablation: ModuleType) -> None:
    assert ablation._options("residual", {"residual": False, "num_layers": 1}) is None


def test_a_part_of_the_recipe_is_removed_and_another_part_is_added(ablation: ModuleType) -> None:
    recipe = {"dropout": 0.2, "weight_drop": 0.0, "residual": False, "layer_norm": True, "num_layers": 2}
    assert ablation._options("dropout", recipe) == "--dropout 0"
    assert ablation._options("weight drop", recipe) == "--weight-drop 0.2"
    assert ablation._options("residual", recipe) == "--residual"
    assert ablation._options("layer norm", recipe) == "--no-layer-norm"


def test_parts_are_added_and_removed_by_options_of_train(ablation: ModuleType) -> None:
    from textgen.cli.train import command

    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for part in ablation.PARTS.values():
        assert part.add.split()[0] in flags
        assert part.remove.split()[0] in flags


@pytest.mark.slow
def test_a_stopped_ablation_continues(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 500)
    results = tmp_path / "results.jsonl"
    arguments = [str(results), "--corpus", f"tiny={tmp_path / 'text.txt'}", "--corpora", "tiny"]
    arguments += ["--steps", "40", "--seeds", "1", "--variant", "small=--hidden-size 8"]
    arguments += ["--settings", "--threads 1 --hidden-size 16"]
    first = run_script("ablation.py", *arguments, "--only", "recipe")
    assert first.returncode == 0, first.stderr
    both = run_script("ablation.py", *arguments, "--only", "recipe, small")
    assert both.returncode == 0, both.stderr
    assert both.stderr.strip() == "1 of 1: tiny, small, seed 1", "the recipe is not run again"
    lines = [json.loads(text) for text in results.read_text().splitlines()]
    assert [each["variant"] for each in lines] == ["recipe", "small"]
    assert [each["chosen"]["hidden_size"] for each in lines] == [16, 8]
    assert lines[1]["bits_per_character"] > lines[0]["bits_per_character"]
    assert "--hidden-size 8" in both.stdout
    other = run_script("ablation.py", *arguments, "--variant", "small=--hidden-size 9")
    assert other.returncode == 2
    assert "--variant small: results have it with '--hidden-size 8'; use another name" in other.stderr
    (tmp_path / "text.txt").write_text("the dog sat on the mat. " * 500)
    other = run_script("ablation.py", *arguments)
    assert other.returncode == 2
    assert "tiny: the results are of another text; use a new file of results" in other.stderr


@pytest.mark.slow
def test_a_variant_keeps_every_other_setting_of_the_recipe(run_script: RunScript, tmp_path: Path) -> None:
    # By default, two thousand subwords without tied weights would get an embedding of 256.
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrst", k=5)) for _ in range(3000)]
    (tmp_path / "text.txt").write_text(" ".join(rng.choices(words, k=10_000)))
    results = tmp_path / "results.jsonl"
    arguments = [str(results), "--corpus", f"tiny={tmp_path / 'text.txt'}", "--corpora", "tiny"]
    arguments += ["--steps", "2", "--seeds", "1", "--settings", "--hidden-size 300 --tokenizer bpe"]
    answer = run_script("ablation.py", *arguments, "--only", "recipe, tied weights")
    assert answer.returncode == 0, answer.stderr
    recipe, untied = (json.loads(text)["chosen"] for text in results.read_text().splitlines())
    assert recipe["embedding_dim"] == 300
    assert {name for name in recipe if recipe[name] != untied[name]} == {"tie_weights"}


@pytest.mark.slow
def test_the_other_variants_run_if_one_fails(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 500)
    arguments = [str(tmp_path / "results.jsonl"), "--corpus", f"tiny={tmp_path / 'text.txt'}"]
    arguments += ["--corpora", "tiny", "--steps", "2", "--seeds", "1", "--settings", "--hidden-size 8"]
    arguments += ["--variant", "bad=--hidden-size 0", "--variant", "same="]
    answer = run_script("ablation.py", *arguments, "--only", "recipe, bad, same")
    assert answer.returncode == 1
    assert "failed: textgen train" in answer.stderr
    assert "1 of 3 runs failed" in answer.stderr
    assert "0.00 ± 0.00 %" in answer.stdout  # equal but for rounding, whose sign depends on threads


@pytest.mark.parametrize(
    ("results", "arguments", "message"),
    [
        ("no/results.jsonl", [], "there is no folder no"),
        ("results.jsonl", ["--seeds", "a"], "--seeds 'a': must be whole numbers"),
        ("cut.jsonl", [], "cut.jsonl: line 2 is not a result; remove it"),
    ],
)
def test_bad_input_is_a_one_line_error_before_anything_is_trained(
    results: str, arguments: list[str], message: str, run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "cut.jsonl").write_text('{"corpus": "a"}\n{"corp')
    path = results if "/" in results else str(tmp_path / results)
    answer = run_script("ablation.py", path, "--corpora", "faq", *arguments)
    assert answer.returncode in (1, 2)
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs SIGTERM")
def test_sigterm_ends_the_training_too(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 500)
    command = [sys.executable, "scripts/ablation.py", str(tmp_path / "results.jsonl"), "--minutes", "5"]
    command += ["--corpus", f"tiny={tmp_path / 'text.txt'}", "--corpora", "tiny", "--only", "recipe"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (trainings := list(tmp_path.glob("*/*/run/metrics.jsonl"))):
            assert time.monotonic() < deadline, "no training has started"
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not trainings[0].exists(), "its folder is removed"
    time.sleep(0.5)
    assert not list(tmp_path.glob("*/*/run")), "and not made again"


def test_a_part_without_its_recipe_and_an_unknown_name_are_refused(
    run_script: RunScript, tmp_path: Path
) -> None:
    results = str(tmp_path / "results.jsonl")
    alone = run_script("ablation.py", results, "--corpora", "faq", "--only", "dropout")
    assert alone.returncode == 2
    assert "run the recipe first" in alone.stderr
    unknown = run_script("ablation.py", results, "--only", "drop")
    assert unknown.returncode == 2
    assert "'drop': must be one of recipe, dropout" in unknown.stderr
