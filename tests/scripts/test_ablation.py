"""The ablation's table, and two short runs of it as a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ablation(import_script: Callable[[str], ModuleType]) -> ModuleType:
    return import_script("ablation")


def line(
    corpus: str, variant: str, seed: int, bits: float, options: str = "", **more: object
) -> dict[str, Any]:
    fields = {"corpus": corpus, "variant": variant, "seed": seed, "options": options, "budget": "--minutes 2"}
    return fields | {"bits_per_character": bits} | more


def test_the_table_gives_gains_over_the_recipe_and_stars_those_beyond_the_noise(ablation: ModuleType) -> None:
    lines = [line("a", "recipe", 1, 2.00), line("a", "recipe", 2, 2.02)]
    lines += [line("a", "good", 1, 1.90, "--x 1"), line("a", "good", 2, 1.919, "--x 1")]
    lines += [line("a", "noise", 1, 1.99, "--y 1"), line("a", "noise", 2, 2.03, "--y 1")]
    lines += [line("b", "recipe", 1, 1.0), line("b", "bad", 1, 1.1, "--z 0")]
    assert ablation.table(lines) == [
        ["variant", "a", "b"],
        ["recipe", "2.0100 ± 0.0100 bits", "1.0000 ± 0.0000 bits"],
        ["good", "+5.00 ± 0.00 % * (--x 1)", ""],
        ["noise", "+0.00 ± 0.50 % (--y 1)", ""],
        ["bad", "", "-10.00 ± 0.00 % * (--z 0)"],
    ]


def test_the_table_says_what_a_variant_costs_where_all_took_the_same_steps(ablation: ModuleType) -> None:
    steps = {"budget": "--steps 100"}
    lines = [line("a", "recipe", seed, 2.0, processor_seconds=10.0 * seed, **steps) for seed in (1, 2)]
    lines += [
        line("a", "slow", seed, 1.9, "--x 1", processor_seconds=11.0 * seed, **steps) for seed in (1, 2)
    ]
    assert ablation.table(lines)[2] == ["slow", "+5.00 ± 0.00 % * (--x 1, 1.10 x the time)"]


def test_residual_is_left_out_where_the_recipe_has_one_layer(ablation: ModuleType) -> None:
    assert ablation._options("residual", {"residual": False, "num_layers": 1}) is None


def test_a_part_of_the_recipe_is_taken_away_and_another_one_added(ablation: ModuleType) -> None:
    recipe = {"dropout": 0.2, "weight_drop": 0.0, "residual": False, "layer_norm": True, "num_layers": 2}
    assert ablation._options("dropout", recipe) == "--dropout 0"
    assert ablation._options("weight drop", recipe) == "--weight-drop 0.2"
    assert ablation._options("residual", recipe) == "--residual"
    assert ablation._options("layer norm", recipe) == "--no-layer-norm"


def test_what_adds_and_removes_a_part_are_options_of_train(ablation: ModuleType) -> None:
    from textgen.cli.train import command

    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for part in ablation.PARTS.values():
        assert part.add.split()[0] in flags
        assert part.remove.split()[0] in flags


def test_a_stopped_ablation_goes_on_where_it_was(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 500)
    results = tmp_path / "results.jsonl"
    arguments = [str(results), "--corpus", f"tiny={tmp_path / 'text.txt'}", "--corpora", "tiny"]
    arguments += ["--minutes", "0.01", "--seeds", "1", "--variant", "small=--hidden-size 8"]
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


def test_a_part_without_its_recipe_and_an_unknown_name_are_refused(
    run_script: RunScript, tmp_path: Path
) -> None:
    results = str(tmp_path / "results.jsonl")
    alone = run_script("ablation.py", results, "--corpora", "faq", "--only", "dropout")
    assert alone.returncode == 2
    assert "run the recipe first" in alone.stderr
    unknown = run_script("ablation.py", results, "--only", "drop")
    assert unknown.returncode == 2
    assert "'drop': there are recipe, dropout" in unknown.stderr
