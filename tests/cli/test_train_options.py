"""The options of `textgen train`, from the command line and from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.run import Run
from textgen.settings.given import SECTIONS
from textgen.settings.option import options_of

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


@pytest.mark.parametrize("section", SECTIONS)
def test_the_help_shows_the_default_of_the_dataclass(cli: Cli, section: str) -> None:
    shown = " ".join(cli("train", "--help").stdout.split())
    for name, about in options_of(SECTIONS[section]).items():
        if name in ("corpus", "model_vocab_size", "labels", "start_id"):
            continue
        default = "chosen" if about.auto else about.default
        if isinstance(default, bool):
            default = "on" if default else "off"
        assert about.help in shown
        if default is not None:
            assert f"{about.help} [default: {default}]" in shown


@pytest.mark.parametrize(
    ("option", "value", "section"),
    [
        ("--cell", "gru", "model"),
        ("--num-layers", 2, "model"),
        ("--dropout", 0.25, "model"),
        ("--input-dropout", 0.25, "model"),
        ("--embedding-dropout", 0.25, "model"),
        ("--weight-drop", 0.25, "model"),
        ("--learning-rate", 0.001, "training"),
        ("--warmup-fraction", 0.5, "training"),
        ("--final-lr-fraction", 0.5, "training"),
        ("--weight-decay", 0.5, "training"),
        ("--clip-norm", 0.01, "training"),
        ("--ema-decay", 0.9, "training"),
        ("--activation-penalty", 2.0, "training"),
        ("--temporal-activation-penalty", 3.0, "training"),
        ("--seed", 5, "training"),
        ("--precision", "bfloat16", "training"),
        ("--val-fraction", 0.2, "data"),
        ("--tokenizer", "word", "data"),
        ("--min-frequency", 250, "data"),
        ("--documents", "line", "data"),
    ],
)
def test_an_option_reaches_the_run_and_changes_the_result(
    cli: Cli, tmp_path: Path, option: str, value: object, section: str
) -> None:
    settings = [*TINY, "--dropout", 0.1, "--precision", "float32"]
    plain = json.loads(cli("train", "corpus.txt", *settings, "--run", "plain", "--json").stdout)
    changed = json.loads(
        cli("train", "corpus.txt", *settings, option, value, "--run", "changed", "--json").stdout
    )
    name = option[2:].replace("-", "_")
    assert getattr(getattr(Run("changed").config, section), name) == value
    assert changed["nats_per_token"] != plain["nats_per_token"]


def test_a_run_with_every_network_option_is_saved_and_can_be_sampled(cli: Cli) -> None:
    dropouts = "--dropout .2 --input-dropout .1 --embedding-dropout .1 --weight-drop .1".split()
    structure = "--num-layers 2 --residual --layer-norm --tie-weights --embedding-dim 5".split()
    assert cli("train", "corpus.txt", *TINY, *dropouts, *structure, "--run", "all").exit_code == 0
    model = Run("all").config.model
    assert (model.residual, model.layer_norm, model.projects_to_tied_head) == (True, True, True)
    assert {"layers.residual_mark", "layers.norm_bias_l1", "projection.weight"} <= Run(
        "all"
    ).load_weights().keys()
    assert cli("sample", "all", "--max-new-tokens", 5).exit_code == 0


def test_residual_connections_get_the_second_layer_that_they_need(cli: Cli) -> None:
    assert cli("train", "corpus.txt", *TINY, "--residual", "--run", "one").exit_code == 0
    assert Run("one").config.model.num_layers == 2


def test_tied_weights_are_saved_once(cli: Cli) -> None:
    tiny = [*TINY, "--embedding-dim", 8]
    cli("train", "corpus.txt", *tiny, "--tie-weights", "--run", "tied")
    cli("train", "corpus.txt", *tiny, "--run", "untied")
    assert "head.weight" not in Run("tied").load_weights()
    assert "head.weight" in Run("untied").load_weights()
    assert cli("sample", "tied", "--max-new-tokens", 5).exit_code == 0


def test_a_chat_template_is_read_with_the_escapes_of_prompts(cli: Cli) -> None:
    assert (
        cli("train", "corpus.txt", "--chat-template", r"Q: {user}\nA:", "--chat-stop", r"\n", *TINY).exit_code
        == 0
    )
    data = Run("runs/corpus").config.data
    assert (data.chat_template, data.chat_stop) == ("Q: {user}\nA:", "\n")


def test_val_and_test_files_are_used_as_given(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("three dogs and five cats\n" * 9)
    (tmp_path / "test.txt").write_text("one street\n" * 20)
    result = cli("train", "corpus.txt", "--val", "val.txt", "--test", "test.txt", *TINY, "--json")
    assert json.loads(result.stdout)["tokens"] == 225
    assert json.loads(cli("eval", "runs/corpus", "--part", "test", "--json").stdout)["tokens"] == 220


def test_a_bpe_run_records_its_vocabulary_size_and_minimum_frequency(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--tokenizer", "bpe", "--run", "bpe")
    data = Run("bpe").config.data
    assert (data.vocab_size, data.min_frequency) == (1024, 2)
    # The command line replaces a tokenizer together with the options of the old one.
    assert cli("train", "--config", "bpe/config.json", "--tokenizer", "char", "--run", "char").exit_code == 0


def test_the_learning_rate_is_proportional_to_the_varied_window_length(cli: Cli) -> None:
    flat = ["--warmup-fraction", 0, "--final-lr-fraction", 1, "--learning-rate", 0.016]
    cli("train", "corpus.txt", *TINY, *flat, "--vary-seq-len", "--steps", 30)
    run = Run("runs/corpus")
    assert run.config.training.vary_seq_len
    rates = [record["learning_rate"] for record in run.metrics() if record["kind"] == "train"]
    lengths = [rate / 0.016 * 16 for rate in rates]
    assert len(set(rates)) > 3
    assert all(length == pytest.approx(round(length)) and 1 <= length <= 24 for length in lengths)
    # The tokens of a step are those of its window, in each of the 4 sequences.
    epochs = [record["epoch"] for record in run.metrics() if record["kind"] == "train"]
    read = np.diff(np.array(epochs) * run.config.measured["train_tokens"]) / 4
    assert read == pytest.approx(np.array(lengths[1:]), abs=0.1)


def test_early_stopping_ends_a_run_that_gets_worse_and_can_be_turned_off(cli: Cli, tmp_path: Path) -> None:
    # What holds in the training text is false in the validation text, so that the loss there rises.
    (tmp_path / "one.txt").write_text("abababababab\n" * 300)
    (tmp_path / "other.txt").write_text("bbaabbaabbaa\n" * 30)
    arguments = "train one.txt --val other.txt --hidden-size 16 --steps 120 --json".split()
    arguments += "--batch-size 4 --seq-len 16 --evaluations 24".split()
    stopped = json.loads(cli(*arguments, "--patience", 2, "--run", "stopped").stdout)
    full = json.loads(cli(*arguments, "--no-early-stopping", "--run", "full").stdout)
    assert stopped["steps"] < 120
    assert full["steps"] == 120
    assert stopped["best_step"] == stopped["steps"] - 2 * 120 // 24
    # The best weights are kept, not the last ones: both runs are the same up to there.
    assert full["nats_per_token"] == pytest.approx(stopped["nats_per_token"])


def test_settings_come_from_a_file_and_the_command_line_wins(cli: Cli, tmp_path: Path) -> None:
    lines = ["corpus = ['corpus.txt']", "steps = 3", "hidden_size = 8", "cell = 'gru'", "dropout = 0.1"]
    (tmp_path / "settings.toml").write_text("\n".join(lines))
    result = json.loads(cli("train", "--config", "settings.toml", "--dropout", 0.2, "--json").stdout)
    config = Run(result["run"]).config
    assert (config.model.cell, config.model.dropout, config.training.steps) == ("gru", 0.2, 3)


def test_an_unknown_setting_in_a_file_suggests_the_nearest_known_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("hiden_size = 8\n")
    assert "did you mean 'hidden_size'" in cli("train", "corpus.txt", "--config", "settings.toml").only_error


def test_an_option_replaces_a_setting_of_the_config_that_conflicts_with_it(
    cli: Cli, text: str, tmp_path: Path
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    (tmp_path / "val.txt").write_text(text[:500])
    assert cli("train", "--config", "one", "--val", "val.txt", "--run", "two").exit_code == 0
    assert Run("two").config.data.val == str(tmp_path / "val.txt")
    assert cli("train", "--config", "two", "--val-fraction", 0.2, "--run", "three").exit_code == 0
    assert (Run("three").config.data.val, Run("three").config.data.val_fraction) == (None, 0.2)
    assert cli("train", "--config", "one", "--no-early-stopping", "--run", "four").exit_code == 0
    assert cli("train", "--config", "four", "--patience", 2, "--run", "five").exit_code == 0
    assert Run("five").config.training.early_stopping
