"""`textgen train`, `eval` and `info` as the user meets them: what is printed, written and refused."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textgen.cli import main
from textgen.cli.train import CHOSEN
from textgen.run import Run, active_records, vocab_of
from textgen.settings.config import DataConfig, ModelConfig, TrainingConfig
from textgen.system.atomic import only_one
from textgen.text.batches import Batch, StreamBatches
from textgen.training.optimizer import AdamW
from textgen.training.trainer import Trainer

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()

PROGRESS = "training/step-12/progress.json"  # of a run of TINY


@dataclass
class Result:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def only_error(self) -> str:
        """The one line on standard error of a command that was refused."""
        assert self.exit_code != 0
        assert self.out == ""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run textgen in this process, in a folder with corpus.txt and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text(TEXT)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["textgen", *map(str, arguments)])
        exit_code = 0
        try:
            main()
        except SystemExit as error:
            exit_code = int(error.code or 0)
        captured = capsys.readouterr()
        return Result(exit_code, captured.out, captured.err)

    return run


@pytest.mark.parametrize(("limit", "said"), [(10**6, False), (4000, True)])
def test_a_vocabulary_that_is_learnt_from_a_sample_says_so(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, limit: int, said: bool
) -> None:
    monkeypatch.setattr("textgen.text.vocabulary._SAMPLE_CHARACTERS", limit)
    result = cli("train", "corpus.txt", "--tokenizer", "bpe", "--vocab-size", 300, *TINY)
    assert result.exit_code == 0
    found = [
        line for line in result.out.splitlines() if line.startswith("The bpe vocabulary is learnt from ")
    ]
    assert len(found) == said
    if said:
        taken, total = (int(word.replace(",", "")) for word in found[0].split() if word[0].isdigit())
        assert 0 < taken <= limit < total == int(len(TEXT) * 0.9)


def test_a_run_holds_all_that_it_says(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "corpus.txt", *TINY)
    assert result.exit_code == 0
    run = tmp_path / "runs" / "corpus"
    for name in ("config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "loss.png"):
        assert (run / name).is_file(), name
    assert "textgen sample runs/corpus" in result.out
    kinds = [record["kind"] for record in Run(run).metrics()]
    assert kinds.count("val") == 3
    assert kinds.count("train") == 12
    assert kinds[-1] == "final"
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_that_is_taken_is_numbered_and_a_given_one_refused(cli: Cli, tmp_path: Path) -> None:
    for _ in range(2):
        assert cli("train", "corpus.txt", *TINY).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["corpus", "corpus-2"]
    assert "--resume runs/corpus" in cli("train", "corpus.txt", "--run", "runs/corpus", *TINY).only_error


def test_the_result_of_training_is_what_eval_prints(cli: Cli) -> None:
    trained = json.loads(cli("train", "corpus.txt", *TINY, "--json").out)
    evaluated = json.loads(cli("eval", "runs/corpus", "--json").out)
    names = "nats_per_token bits_per_character bits_per_byte perplexity_per_token tokens characters".split()
    assert {name: trained[name] for name in names} == {name: evaluated[name] for name in names}
    assert evaluated["tokens"] == len(TEXT) - int(len(TEXT) * 0.9)
    assert evaluated["bits_per_character"] == pytest.approx(evaluated["nats_per_token"] / math.log(2))
    printed = cli("eval", "runs/corpus").out
    assert f"{evaluated['nats_per_token']:.4f} nats/token" in printed
    assert f"{evaluated['bits_per_byte']:.4f} bits/byte" in printed


def test_json_is_one_object_and_everything_else_goes_to_standard_error(cli: Cli) -> None:
    result = cli("train", "corpus.txt", *TINY, "--json")
    assert json.loads(result.out)["steps"] == 12
    assert "nats/token" in result.err


def test_eval_reads_another_file_and_says_how_many_tokens_were_unseen(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY)
    (tmp_path / "other.txt").write_text("the dogs 😀 and § cats")
    figures = json.loads(cli("eval", "runs/corpus", "other.txt", "--json").out)
    assert figures["characters"] == 21
    assert figures["bytes"] == 25
    assert figures["unseen_tokens"] == 6  # four bytes and two
    assert "6 tokens that training never saw" in cli("eval", "runs/corpus", "other.txt").out


def test_a_window_changes_the_figure_and_a_missing_part_is_named(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    carried = json.loads(cli("eval", "runs/corpus", "--json").out)
    windowed = json.loads(cli("eval", "runs/corpus", "--window", 4, "--json").out)
    assert windowed["tokens"] == carried["tokens"]
    assert windowed["nats_per_token"] != carried["nats_per_token"]
    assert "no test part" in cli("eval", "runs/corpus", "--part", "test").only_error


def test_val_and_test_files_are_used_as_given(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("three dogs and five cats\n" * 9)
    (tmp_path / "test.txt").write_text("one street\n" * 20)
    result = cli("train", "corpus.txt", "--val", "val.txt", "--test", "test.txt", *TINY, "--json")
    assert json.loads(result.out)["tokens"] == 225
    assert json.loads(cli("eval", "runs/corpus", "--part", "test", "--json").out)["tokens"] == 220


def test_a_tiny_corpus_trains_and_a_line_says_what_shrank(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text(TEXT[:2000])
    result = cli("train", "tiny.txt", "--steps", 3, "--hidden-size", 8)
    assert result.exit_code == 0
    (line,) = [line for line in result.out.splitlines() if "corpus is small" in line]
    training = Run(tmp_path / "runs" / "tiny").config.training
    assert f"from 32 x 64 to {training.batch_size} x {training.seq_len} tokens" in line
    assert training.batch_size * training.seq_len < 1800


def test_with_no_settings_everything_is_chosen_printed_and_kept(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "corpus.txt", "--minutes", 0.02)
    assert result.exit_code == 0
    config = Run(tmp_path / "runs" / "corpus").config
    assert None not in vars(config.model).values()
    resolved = {
        name: value for name, value in vars(config.training).items() if name not in ("epochs", "steps")
    }
    assert None not in resolved.values()
    assert config.training.device != "auto"
    assert config.training.precision != "auto"
    (line,) = [line for line in result.out.splitlines() if line.startswith("Model:")]
    assert f"{config.model.hidden_size} lstm" in line
    assert f"learning rate {config.training.learning_rate:g}" in line
    (line,) = [line for line in result.out.splitlines() if line.startswith("Plan:")]
    assert "for about 0.02 minutes on this machine" in line
    assert "no budget was named" not in line


def test_without_a_budget_it_plans_for_some_minutes_and_says_so(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("plan", "resolve"):
        monkeypatch.setattr(f"textgen.training.planning.{module}.DEFAULT_MINUTES", 0.01)
    result = cli("train", "corpus.txt")
    assert result.exit_code == 0
    assert "Plan: no budget was named (--minutes), so it is planned for about 0.01 minutes" in result.out
    assert Run(tmp_path / "runs" / "corpus").config.training.minutes == 0.01


@pytest.mark.parametrize(
    ("speeds", "said", "batch_size"),
    [
        ({32: 1e6, 16: 9e5}, [], 16),
        ({32: 1e6, 16: 5e5}, [], 32),
        ({32: 1e9, 16: 1e9}, ["--epochs", 1000], 32),
        ({32: 1e9, 16: 1e8}, ["--epochs", 50], 16),
        ({32: 1e6, 16: 9e5}, ["--batch-size", 32], 32),
    ],
    ids=["few tokens", "too slow", "enough tokens", "the epochs end before", "said"],
)
def test_batches_are_smaller_where_few_tokens_can_be_read_and_that_costs_few_of_them(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float], said: list[object], batch_size: int
) -> None:
    monkeypatch.setattr(
        "textgen.training.planning.speeds.training_speed",
        lambda model, batch_size, seq_len: speeds[batch_size],
    )
    Path("long.txt").write_text(TEXT * (1 + 80_000 // len(TEXT)))
    sizes = ["--hidden-size", 8, "--embedding-dim", 8, "--threads", 1, "--device", "cpu"]
    result = cli("train", "long.txt", "--minutes", 0.02, *sizes, *said)
    assert result.exit_code == 0, result.err
    assert f"batch {batch_size} x 64" in result.out
    assert "shrinks" not in result.out
    assert Run("runs/long").config.training.batch_size == batch_size


def test_of_minutes_and_epochs_what_comes_first_ends_a_run_and_the_plan_says_so(cli: Cli) -> None:
    sizes = ["--hidden-size", "8", "--embedding-dim", "8"]
    result = cli("train", "corpus.txt", "--minutes", "5", "--epochs", "2", *sizes)
    assert result.exit_code == 0
    (line,) = [line for line in result.out.splitlines() if line.startswith("Plan:")]
    limit = r"but no more than 2 times through the text, which takes \d+ s or more"
    assert re.search(rf"for about 5 minutes on this machine, .* {limit}", line)
    assert "by heart" not in line
    run = Run("runs/corpus")
    assert run.facts()["seconds"] < 100
    assert [each["epoch"] for each in run.metrics() if each["kind"] == "train"][-1] == pytest.approx(
        2, abs=0.2
    )
    assert cli("train", "corpus.txt", "--minutes", "0.01", *sizes, "--run", "chosen").exit_code == 0
    assert Run("chosen").config.training.epochs >= 30


@pytest.mark.parametrize("kind", ["char", "bpe", "word"])
def test_validation_text_is_never_seen_in_training(
    cli: Cli, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = int(len(TEXT) * 0.9)
    # A word, and a character, that stand in the last tenth only.
    (tmp_path / "marked.txt").write_text(TEXT[:cut] + TEXT[cut:].replace("dogs", "§xyz"))
    seen: list[np.ndarray] = []
    read = StreamBatches.__next__

    def watch(batches: StreamBatches) -> Batch:
        batch = read(batches)
        seen.append(np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1))
        return batch

    monkeypatch.setattr(StreamBatches, "__next__", watch)
    cli("train", "marked.txt", "--tokenizer", kind, "--epochs", 2, "--hidden-size", 8, "--run", "marked")
    run = Run("marked")
    tokenizer, rows = run.tokenizer, vocab_of(run.load_weights())
    known = {tokenizer.token_text(int(token_id)) for token_id in rows.token_ids}
    assert not {"§", "xyz", "x", "y", "z"} & known
    for window in {tuple(lane) for batch in seen for lane in batch.tolist()}:
        assert tokenizer.decode(rows.to_token_ids(np.array(window)).tolist()) in TEXT[:cut]


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
def test_an_option_reaches_the_run_and_changes_what_is_learnt(
    cli: Cli, tmp_path: Path, option: str, value: object, section: str
) -> None:
    settings = [*TINY, "--dropout", 0.1, "--precision", "float32"]
    plain = json.loads(cli("train", "corpus.txt", *settings, "--run", "plain", "--json").out)
    changed = json.loads(
        cli("train", "corpus.txt", *settings, option, value, "--run", "changed", "--json").out
    )
    name = option[2:].replace("-", "_")
    assert getattr(getattr(Run("changed").config, section), name) == value
    assert changed["nats_per_token"] != plain["nats_per_token"]


@pytest.mark.parametrize("section", [DataConfig, ModelConfig, TrainingConfig])
def test_the_help_shows_the_default_of_the_dataclass(cli: Cli, section: type) -> None:
    shown = " ".join(cli("train", "--help").out.split())
    for entry in dataclasses.fields(section):
        if entry.name in ("corpus", "model_vocab_size"):
            continue
        default = "chosen" if entry.name in CHOSEN else entry.default
        assert entry.metadata["help"] in shown
        if default is not None and not isinstance(default, bool):
            assert f"{entry.metadata['help']} [default: {default}]" in shown


def test_a_run_with_every_option_of_the_network_is_saved_whole_and_can_be_sampled(cli: Cli) -> None:
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


def test_tied_weights_are_one(cli: Cli) -> None:
    tiny = [*TINY, "--embedding-dim", 8]
    cli("train", "corpus.txt", *tiny, "--tie-weights", "--run", "tied")
    cli("train", "corpus.txt", *tiny, "--run", "untied")
    assert "head.weight" not in Run("tied").load_weights()
    assert "head.weight" in Run("untied").load_weights()
    assert cli("sample", "tied", "--max-new-tokens", 5).exit_code == 0


def test_epochs_are_passes_over_the_training_text(cli: Cli) -> None:
    arguments = [
        "--hidden-size",
        8,
        "--batch-size",
        4,
        "--seq-len",
        16,
        "--epochs",
        2,
        "--run",
        "epochs",
        "--json",
    ]
    result = json.loads(cli("train", "corpus.txt", *arguments).out)
    pairs = int(len(TEXT) * 0.9) - 1
    windows = math.ceil(pairs // 4 / 16)
    assert 2 * windows <= result["steps"] <= 2 * (windows + 1)


def test_early_stopping_ends_a_run_that_gets_worse_and_can_be_turned_off(cli: Cli, tmp_path: Path) -> None:
    # What is learnt from the training text is wrong of the validation text, so the loss there rises.
    (tmp_path / "one.txt").write_text("abababababab\n" * 300)
    (tmp_path / "other.txt").write_text("bbaabbaabbaa\n" * 30)
    arguments = "train one.txt --val other.txt --hidden-size 16 --steps 120 --json".split()
    arguments += "--batch-size 4 --seq-len 16 --evaluations 24".split()
    stopped = json.loads(cli(*arguments, "--patience", 2, "--run", "stopped").out)
    full = json.loads(cli(*arguments, "--no-early-stopping", "--run", "full").out)
    assert stopped["steps"] < 120
    assert full["steps"] == 120
    assert stopped["best_step"] == stopped["steps"] - 2 * 120 // 24
    # The best weights are kept, not the last ones: both runs are the same up to there.
    assert full["nats_per_token"] == pytest.approx(stopped["nats_per_token"])


def test_settings_come_from_a_file_and_the_command_line_wins(cli: Cli, tmp_path: Path) -> None:
    lines = ["corpus = ['corpus.txt']", "steps = 3", "hidden_size = 8", "cell = 'gru'", "dropout = 0.1"]
    (tmp_path / "settings.toml").write_text("\n".join(lines))
    result = json.loads(cli("train", "--config", "settings.toml", "--dropout", 0.2, "--json").out)
    config = Run(result["run"]).config
    assert (config.model.cell, config.model.dropout, config.training.steps) == ("gru", 0.2, 3)


def test_an_unknown_setting_names_the_nearest_known_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("hiden_size = 8\n")
    assert "did you mean 'hidden_size'" in cli("train", "corpus.txt", "--config", "settings.toml").only_error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "no corpus"),
        (["train", "missing.txt"], "missing.txt"),
        (["train", "a text, not its path " * 20], "name a file"),
        (["train", "caf\udce9.txt"], "not UTF-8"),
        (["train", "corpus.txt", "--minutes", "inf"], "finite"),
        (["train", "corpus.txt", "--hiden-size", "3"], "--hidden-size"),
        (["train", "corpus.txt", "--hidden-size", "0"], "at least 1"),
        (["train", "corpus.txt", "--steps", "1", "--minutes", "1"], "one budget"),
        (["train", "corpus.txt", "--device", "cuda", "--steps", "1"], "cuda"),
        (["train", "corpus.txt", "--resume", "runs/x"], "leave out CORPUS"),
        (["train", "--resume", "runs/x", "--seed", "3"], "leave out --seed"),
        (["train", "--resume", "runs/x"], "no such run"),
        (["train", "corpus.txt", "--from", "runs/x"], "no such run"),
        (["train", "corpus.txt", "--tokenizer", "nowhere.json"], "nowhere.json"),
        (["train", "corpus.txt", "--tokenizer", "byte", "--vocab-size", "9"], "--vocab-size"),
        (["eval", "runs/x"], "no such run"),
        (["info", "runs/x"], "no such run"),
        (["sample"], "no trained run"),
        (["evaluate"], "evaluate"),
    ],
)
def test_a_mistake_gives_one_line_and_a_non_zero_exit(
    cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in cli(*arguments).only_error
    assert not (tmp_path / "runs").exists()


def test_fine_tuning_keeps_the_old_rows_and_adds_the_new_ones(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    (tmp_path / "new.txt").write_text(TEXT.replace("dogs", "Ωλ"))
    started = cli(
        "train", "new.txt", "--from", "old", "--steps", 1, "--learning-rate", 1e-9, "--run", "new", "--json"
    )
    old, new = Run("old").load_weights(), Run("new").load_weights()
    size = len(old["token_ids"])
    assert len(new["token_ids"]) == size + 3  # the bytes CE A9 and CE BB
    assert new["embedding.weight"][:size] == pytest.approx(old["embedding.weight"], abs=1e-6)
    weights = old["token_counts"] / old["token_counts"].sum()
    assert new["embedding.weight"][size] == pytest.approx(weights @ old["embedding.weight"], abs=1e-5)
    assert started.exit_code == 0
    assert Run("new").tokenizer.fingerprint == Run("old").tokenizer.fingerprint
    assert "Ω" in "".join(cli("sample", "new", "--prompt", "Ω", "--max-new-tokens", 5).out)


def test_fine_tuning_refuses_another_network_or_tokenizer(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    refused = cli("train", "corpus.txt", "--from", "old", "--hidden-size", 9).only_error
    assert "--hidden-size 9 does not fit --from old" in refused
    refused = cli("train", "corpus.txt", "--from", "old", "--embedding-dim", 1).only_error
    assert "--embedding-dim 1 does not fit --from old" in refused
    assert "--layer-norm does not" in cli("train", "corpus.txt", "--from", "old", "--layer-norm").only_error
    assert "tokenizer" in cli("train", "corpus.txt", "--from", "old", "--tokenizer", "byte").only_error


def test_info_says_what_a_run_is_and_lists_the_runs(cli: Cli) -> None:
    assert "No runs" in cli("info").out
    cli("train", "corpus.txt", *TINY, "--cell", "gru")
    final = Run("runs/corpus").metrics()[-1]
    said = cli("info", "runs/corpus").out
    for part in (
        "1 x 8 gru",
        "corpus.txt",
        "12 steps",
        f"{final['nats_per_token']:.4f} nats/token",
        "complete",
    ):
        assert part in said
    assert "runs/corpus: 1 x 8 gru" in cli("info").out
    assert (
        json.loads(cli("info", "runs/corpus", "--json").out)["best"]["nats_per_token"]
        == final["nats_per_token"]
    )
    assert [run["run"] for run in json.loads(cli("info", "--json").out)["runs"]] == ["runs/corpus"]


def test_no_bar_and_no_control_characters_reach_a_pipe(cli: Cli) -> None:
    result = cli("train", "corpus.txt", *TINY)
    assert result.err == ""
    assert "\r" not in result.out
    assert "\x1b" not in result.out


def test_a_loss_that_is_no_longer_a_number_ends_the_run_in_one_line(cli: Cli) -> None:
    settings = ["--clip-norm", 1e30, "--learning-rate", 1e30, "--precision", "float32", "--cell", "rnn"]
    result = cli("train", "corpus.txt", *TINY, *settings)
    assert result.exit_code == 1
    assert "lower --learning-rate" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_loss_that_is_no_number_at_an_evaluation_is_never_kept(cli: Cli) -> None:
    # At any of the rates tried the first layer's table is infinite, and rows that are not read count 0 times
    # that: no number, in whatever order a processor adds.
    settings = ["--clip-norm", 1e30, "--learning-rate", 1e35, "--precision", "float32", "--cell", "rnn"]
    result = cli("train", "corpus.txt", *settings, "--steps", 1, "--evaluations", 1, "--hidden-size", 64)
    assert "lower --learning-rate" in result.err
    assert not Run("runs/corpus").has_weights


def test_windows_of_varied_length_get_a_rate_in_proportion(cli: Cli) -> None:
    flat = ["--warmup-fraction", 0, "--final-lr-fraction", 1, "--learning-rate", 0.016]
    cli("train", "corpus.txt", *TINY, *flat, "--vary-seq-len", "--steps", 30)
    run = Run("runs/corpus")
    assert run.config.training.vary_seq_len
    rates = [record["learning_rate"] for record in run.metrics() if record["kind"] == "train"]
    lengths = [rate / 0.016 * 16 for rate in rates]
    assert len(set(rates)) > 3
    assert all(length == pytest.approx(round(length)) and 1 <= length <= 24 for length in lengths)
    # The tokens of a step are those of its window, in each of the 4 lanes.
    epochs = [record["epoch"] for record in run.metrics() if record["kind"] == "train"]
    read = np.diff(np.array(epochs) * run.config.measured["train_tokens"]) / 4
    assert read == pytest.approx(np.array(lengths[1:]), abs=0.1)


def test_a_penalty_is_no_part_of_the_loss_that_is_told(cli: Cli) -> None:
    penalty = ["--activation-penalty", 1000.0, "--temporal-activation-penalty", 1000.0]
    assert cli("train", "corpus.txt", *TINY, *penalty).exit_code == 0
    losses = [
        record["nats_per_token"] for record in Run("runs/corpus").metrics() if record["kind"] == "train"
    ]
    assert max(losses) < 2 * math.log(28)


@pytest.mark.parametrize(("rate", "cell"), [(1.0, "gru"), (10.0, "lstm"), (10.0, "rnn")])
def test_a_rate_that_is_far_too_high_is_turned_down_and_the_run_learns(
    cli: Cli, rate: float, cell: str
) -> None:
    settings = ["--cell", cell, "--learning-rate", rate, "--hidden-size", 32, "--seq-len", 16]
    result = cli("train", "corpus.txt", *settings, "--batch-size", 8, "--steps", 150)
    assert result.exit_code == 0, result.err
    assert "Going back to step 0, the learning rate 2 times lower" in result.out
    run = Run("runs/corpus")
    guess = math.log(run.config.model.model_vocab_size)
    losses = {record["kind"]: record.get("nats_per_token") for record in run.metrics()}
    assert losses["final"] < 0.75 * guess
    (rollback, *_) = [record for record in run.metrics() if record["kind"] == "rollback"]
    assert rollback["nats_per_token"] > guess + 1
    assert (rollback["back_to"], rollback["halvings"]) == (0, 1)


def poison(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Let some of the run's gradients, counted from 1, be no numbers."""
    step = AdamW.step
    count = itertools.count(1)

    def poisoned(optimizer: AdamW, clip_norm: float) -> torch.Tensor:
        if next(count) in calls:
            gradient = optimizer.param_groups[0]["params"][0].grad
            assert gradient is not None
            gradient[0, 0] = math.nan
        return step(optimizer, clip_norm)

    monkeypatch.setattr(AdamW, "step", poisoned)


def test_a_gradient_that_is_no_number_goes_back_to_the_last_good_evaluation(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {70})
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    result = cli("train", "corpus.txt", *settings)
    assert result.exit_code == 0, result.err
    line = (
        "Step 70: a gradient was no longer a number. Going back to step 60, the learning rate 2 times lower"
    )
    assert line in result.out
    metrics = Run("runs/corpus").metrics()
    back = [record["kind"] for record in metrics].index("rollback")
    assert metrics[back]["step"] == 70
    assert [record["step"] for record in metrics[back + 1 : back + 3]] == [61, 62]
    rates = {record["step"]: record["learning_rate"] for record in metrics if record["kind"] == "train"}
    before = [record for record in metrics[:back] if record["kind"] == "train" and record["step"] == 65]
    assert rates[65] == pytest.approx(before[0]["learning_rate"] / 2)
    assert metrics[-1]["kind"] == "final"
    assert metrics[-1]["step"] == 100
    steps = [record["step"] for record in active_records(metrics) if record["kind"] == "train"]
    assert steps == sorted(set(steps)) == list(range(1, 101))


def test_an_evaluation_whose_next_step_fails_is_not_gone_back_to(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {61})
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    assert "Going back to step 40" in cli("train", "corpus.txt", *settings).out


def test_gradients_that_are_never_numbers_end_the_run_and_keep_the_best_weights(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, set(range(50, 10_000)))
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    result = cli("train", "corpus.txt", *settings)
    assert result.exit_code == 1
    assert result.out.count("Going back to step 40") == 5
    assert "The best weights, of step 40, are kept." in result.err
    assert len(result.err.splitlines()) == 1
    assert Run("runs/corpus").has_weights


def test_a_network_that_no_memory_holds_is_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    for size in (10**8, 10**10):
        assert "out of memory" in cli("train", "corpus.txt", "--hidden-size", size, "--steps", 1).only_error
    assert not (tmp_path / "runs").exists()


def test_a_network_larger_than_the_machine_is_refused_before_it_is_made(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    parameters = Run("one").config.measured["parameters"]
    for memory, exit_code in [(16 * parameters, 0), (16 * parameters - 1, 1)]:
        monkeypatch.setattr("textgen.system.memory.total_memory", lambda memory=memory: memory)
        result = cli("train", "corpus.txt", *TINY, "--steps", 1)
        assert result.exit_code == exit_code
    assert f"{parameters:,} weights" in result.only_error
    assert "--hidden-size" in result.only_error


def forget_the_end(metrics: Path) -> None:
    """Make a complete run look as if it was killed before its last evaluation."""
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if '"final"' not in line))


def test_a_run_that_lost_its_checkpoints_is_not_begun_again_in_silence(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    cli("train", "corpus.txt", "--from", "old", "--steps", 2, "--run", "new")
    for run in ("old", "new"):
        metrics = Run(run).metrics_path
        forget_the_end(metrics)
        shutil.rmtree(Run(run).training_directory)
        assert f"--from {run}" in cli("train", "--resume", run).only_error


def test_fine_tuning_keeps_the_start_when_nothing_is_better(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--steps", 60, "--run", "old")
    before = json.loads(cli("eval", "old", "--json").out)["nats_per_token"]
    worse = cli("train", "corpus.txt", "--from", "old", "--steps", 1, "--learning-rate", 100.0, "--json")
    assert json.loads(worse.out)["best_step"] == 0
    assert json.loads(worse.out)["nats_per_token"] == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize(
    ("division", "is_remarked"),
    [
        ([], False),
        (["--val-fraction", 0.05], False),
        (["--val-fraction", 0.4], True),
        (["--val", "corpus.txt"], True),
        (["--val", "other.txt"], False),
    ],
)
def test_validation_on_what_the_first_run_was_trained_on_is_remarked(
    cli: Cli, division: list[object], is_remarked: bool
) -> None:
    for name in ("other.txt", "new.txt"):
        Path(name).write_text(TEXT[:500])
    cli("train", "corpus.txt", *TINY, "--run", "old")
    text = "new.txt" if "corpus.txt" in division else "corpus.txt"
    out = cli("train", text, "--from", "old", "--steps", 1, *division).out
    assert "Validation, all" in out
    assert ("Validation reads text that old was trained on" in out) is is_remarked


def test_a_text_without_a_name_is_not_the_folder_one_is_in(cli: Cli) -> None:
    assert "empty" in cli("train", "", *TINY).only_error
    assert "--val" in cli("train", "corpus.txt", "--val", "", *TINY).only_error


def test_a_run_being_trained_is_not_trained_twice(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    metrics = Run("one").metrics_path
    forget_the_end(metrics)
    weights = Run("one").path / "model.safetensors"
    weights.write_bytes(b"newer than any checkpoint")
    with only_one(Run("one").training_directory):
        result = cli("train", "--resume", "one")
    assert result.exit_code == 1
    assert "another process" in result.err
    assert "Going on" not in result.out
    assert weights.read_bytes() == b"newer than any checkpoint"


def test_one_damaged_run_does_not_hide_the_others(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "config.json").write_text("{")
    listed = cli("info").out.splitlines()
    assert any(line.startswith("runs/bad: not readable") for line in listed)
    assert any(line.startswith("runs/corpus: 1 x 8 lstm") for line in listed)


@pytest.mark.parametrize(
    "damage",
    [
        {"data": None},
        {"model": 3},
        {"measured": None},
        {"measured": {}},
    ],
)
def test_a_config_that_is_not_whole_is_one_line_and_hides_no_other_run(
    cli: Cli, damage: dict[str, object]
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "runs/good")
    cli("train", "corpus.txt", *TINY, "--run", "runs/bad")
    path = Run("runs/bad").path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    listed = cli("info").out
    assert "runs/good: 1 x 8 lstm" in listed
    assert "runs/bad: not readable" in listed
    assert next(iter(damage)) in cli("eval", "runs/bad").only_error


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        (
            "training/step-12/progress.json",
            lambda content: content.pop("place"),
            "damaged checkpoint (no 'place')",
        ),
        ("training/step-12/progress.json", lambda content: content.update(newer=1), "damaged checkpoint"),
        ("config.json", lambda content: content["model"].update(hidden_size=16), "by config.json"),
        ("config.json", lambda content: content["training"].update(threads=None), "no threads"),
        ("config.json", lambda content: content["measured"].pop("train_tokens"), "no train_tokens"),
        ("tokenizer.json", lambda content: content["model"]["vocab"].pop("<|endoftext|>"), "end-of-text"),
    ],
)
def test_a_run_that_does_not_fit_together_is_not_resumed(
    cli: Cli, file: str, damage: Callable[[dict[str, Any]], object], said: str
) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    forget_the_end(Run("one").metrics_path)
    content = json.loads(Path("one", file).read_text())
    damage(content)
    Path("one", file).write_text(json.dumps(content))
    result = cli("train", "--resume", "one")
    assert (result.exit_code, len(result.err.splitlines())) == (1, 1)
    assert said in result.err


def test_a_run_that_lost_what_it_started_from_is_not_resumed_with_other_rows(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "old")
    cli("train", "corpus.txt", "--from", "old", "--steps", 2, "--run", "new")
    forget_the_end(Run("new").metrics_path)
    (Run("new").training_directory / "initial.safetensors").unlink()
    assert "--from new" in cli("train", "--resume", "new").only_error


def test_weights_are_written_once_for_each_best(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run whose weights were written last is the one that is sampled from."""
    written: list[dict[str, np.ndarray]] = []
    monkeypatch.setattr("textgen.training.trainer.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("textgen.training.state.save_weights", lambda _, weights: written.append(weights))
    assert cli("train", "corpus.txt", *TINY).exit_code == 1, "there are no weights to evaluate at the end"
    assert 1 <= len(written) <= 3
    assert len({id(weights) for weights in written}) == len(written)


def test_measurements_that_are_no_text_are_one_line(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    with Run("one").metrics_path.open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert "line " in cli("info", "one").only_error


def test_a_copy_of_a_checkpoint_is_neither_read_nor_removed(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    forget_the_end(Run("one").metrics_path)
    copy = Run("one").training_directory / "step-12.copy"
    shutil.copytree(Run("one").training_directory / "step-12", copy)
    assert cli("train", "--resume", "one").exit_code == 0
    assert (copy / "progress.json").is_file()


def test_a_run_of_another_device_says_how_to_go_on_here(cli: Cli) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    cli("train", "corpus.txt", *TINY, "--run", "one")
    forget_the_end(Run("one").metrics_path)
    path = Run("one").path / "config.json"
    config = json.loads(path.read_text())
    config["training"]["device"] = "cuda"
    path.write_text(json.dumps(config))
    assert "--from one --device cpu" in cli("train", "--resume", "one").only_error
    assert cli("train", "--from", "one", "--device", "cpu", "--steps", 1).exit_code == 0


def test_text_from_standard_input_stays_with_the_run_when_training_is_deleted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    cli("train", "-", *TINY, "--run", "one")
    shutil.rmtree(Run("one").training_directory)
    assert cli("eval", "one").exit_code == 0


def test_an_option_takes_the_place_of_a_setting_that_it_does_not_go_with(cli: Cli, tmp_path: Path) -> None:
    cli("train", "corpus.txt", *TINY, "--run", "one")
    (tmp_path / "val.txt").write_text(TEXT[:500])
    assert cli("train", "--config", "one", "--val", "val.txt", "--run", "two").exit_code == 0
    assert Run("two").config.data.val == str(tmp_path / "val.txt")
    assert cli("train", "--config", "two", "--val-fraction", 0.2, "--run", "three").exit_code == 0
    assert (Run("three").config.data.val, Run("three").config.data.val_fraction) == (None, 0.2)
    assert cli("train", "--config", "one", "--no-early-stopping", "--run", "four").exit_code == 0
    assert cli("train", "--config", "four", "--patience", 2, "--run", "five").exit_code == 0
    assert Run("five").config.training.early_stopping


def test_a_text_unlike_that_of_the_run_it_starts_from_can_be_learnt(cli: Cli, tmp_path: Path) -> None:
    alphabet = "abcdefghijklmnopqrst"
    (tmp_path / "known.txt").write_text(alphabet * 400)
    (tmp_path / "unlike.txt").write_text("".join(random.Random(1).choices(alphabet, k=3000)))
    size = ["--hidden-size", 32, "--batch-size", 8, "--seq-len", 32]
    cli("train", "known.txt", *size, "--steps", 250, "--learning-rate", 0.05, "--run", "known")
    result = json.loads(cli("train", "unlike.txt", "--from", "known", "--steps", 40, "--json").out)
    records = Run(result["run"]).metrics()
    assert not [record for record in records if record["kind"] == "rollback"]
    first = next(record["nats_per_token"] for record in records if record["kind"] == "val")
    assert first > math.log(20) + 2, "the text is unlike enough for a uniform guess to be far better"
    assert result["nats_per_token"] < first - 0.5


@pytest.mark.parametrize(
    ("flag", "value"), [("--dropout", 1), ("--hidden-size", 0), ("--learning-rate", "nan")]
)
def test_an_option_out_of_range_is_refused_by_the_name_that_was_typed(
    cli: Cli, tmp_path: Path, flag: str, value: object
) -> None:
    assert f"'{flag}': " in cli("train", "corpus.txt", flag, value).only_error
    assert not (tmp_path / "runs").exists()


def test_what_would_do_nothing_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text(TEXT[:500])
    (tmp_path / "records.jsonl").write_text('{"text": "some words"}\n' * 50)
    refused = [
        ["--val", "val.txt", "--val-fraction", 0.2],
        ["--no-early-stopping", "--patience", 2],
    ]
    for options in refused:
        assert cli("train", "corpus.txt", *TINY, *options).only_error
    assert cli("train", "records.jsonl", "--field", "text", "--documents", "line", *TINY).only_error
    cli("train", "corpus.txt", *TINY)
    assert "--part" in cli("eval", "runs/corpus", "val.txt", "--part", "test").only_error
    assert "--field" in cli("eval", "runs/corpus", "--field", "text").only_error


def test_a_bpe_run_writes_down_its_sizes(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY, "--tokenizer", "bpe", "--run", "bpe")
    data = Run("bpe").config.data
    assert (data.vocab_size, data.min_frequency) == (1024, 2)
    # The command line replaces a tokenizer with all that was said of it.
    assert cli("train", "--config", "bpe/config.json", "--tokenizer", "char", "--run", "char").exit_code == 0


# ---- what a person is told


def test_the_end_says_how_often_the_text_was_read_and_whether_more_would_pay(cli: Cli) -> None:
    small = "--hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
    short = cli("train", "corpus.txt", "--minutes", 0.01, "--epochs", 900, *small, "--run", "short").out
    times = Run("short").metrics()[-1]["epoch"]
    (line,) = [line for line in short.splitlines() if line.startswith("Best weights")]
    assert float(line.split(" s, ")[1].split(" times")[0]) == pytest.approx(times, abs=0.6)
    assert line.endswith("times through the text; up to 900 times pay: more --minutes would help.")
    stalled = "--minutes", 5, "--epochs", 900, "--learning-rate", 1e-9, "--evaluations", 4000, "--patience", 1
    early = cli("train", "corpus.txt", *stalled, *small, "--run", "early").out
    assert "Stopping early" in early
    assert "would help" not in early
    whole = cli("train", "corpus.txt", "--minutes", 5, "--epochs", 2, *small, "--run", "whole").out
    assert "s, 2.0 times through the text.\n" in whole
    assert "would help" not in cli("train", "corpus.txt", *TINY, "--run", "steps").out


def test_bits_per_character_while_training_are_of_the_validation_text(cli: Cli) -> None:
    """A token of a text for which the vocabulary was not made has fewer characters."""
    Path("other.txt").write_text("".join(f"{n * n}\n" for n in range(400)))
    options = "--tokenizer", "bpe", "--vocab-size", 400, "--val", "other.txt", *TINY
    out = cli("train", "corpus.txt", *options, "--eval-tokens", 10**6).out
    last = [line for line in out.splitlines() if "%  step" in line][-1]
    final = json.loads(cli("eval", "runs/corpus", "--json").out)
    nats, bits = (float(word) for word in re.findall(r"(\d+\.\d+) (?:nats|bits)", last))
    ratio = final["bits_per_character"] / final["nats_per_token"]
    assert bits / nats == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize(
    ("has_instructions", "gains", "remark"),
    [
        (False, False, "no instructions for bfloat16"),
        (True, False, "multiplies bfloat16 slower"),
        (True, True, None),
    ],
)
def test_bfloat16_on_a_processor_that_loses_by_it_is_remarked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, has_instructions: bool, gains: bool, remark: str | None
) -> None:
    monkeypatch.setattr("textgen.training.new_run.cpu_multiplies_bfloat16", lambda: has_instructions)
    monkeypatch.setattr("textgen.training.new_run.cpu_gains_by_bfloat16", lambda: gains)
    monkeypatch.setattr("textgen.system.device.cpu_gains_by_bfloat16", lambda: gains)
    options = "corpus.txt", *TINY, "--steps", 1, "--device", "cpu"
    out = cli("train", *options, "--precision", "bfloat16").out
    remarks = [line for line in out.splitlines() if "--precision float32" in line]
    assert len(remarks) == (remark is not None)
    assert remark is None or remark in remarks[0]
    assert "--precision float32" not in cli("train", *options).out


def test_what_is_dropped_under_steps_follows_from_the_batches_that_fit(cli: Cli) -> None:
    """A small text shrinks its batches, and is read less often than whole ones would read it."""

    def recipe(*options: object) -> tuple[list[float], list[int]]:
        cli("train", "corpus.txt", "--hidden-size", 32, "--steps", 2, *options)
        newest = max(Path("runs").iterdir(), key=lambda run: run.stat().st_mtime_ns)
        config = json.loads((newest / "config.json").read_text())
        model, training = config["model"], config["training"]
        return [model["dropout"], model["weight_drop"]], [training["batch_size"], training["seq_len"]]

    dropped, batch = recipe()
    assert batch != [32, 64], "else the text was not small"
    assert recipe("--batch-size", batch[0], "--seq-len", batch[1]) == (dropped, batch)


def test_evaluations_and_saving_are_not_in_the_speed_of_training(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Trainer._evaluate

    def slowly(trainer: Trainer, progress: float) -> bool:
        time.sleep(0.5)
        return evaluate(trainer, progress)

    monkeypatch.setattr(Trainer, "_evaluate", slowly)
    cli("train", "corpus.txt", *TINY)  # 4 x 16 tokens a step
    speeds = [line["tokens_per_second"] for line in Run("runs/corpus").metrics() if line["kind"] == "train"]
    assert len(speeds) == 12
    assert min(speeds) > 2 * 4 * 16 / 0.5


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_windows_line_ends_are_said_and_can_be_asked_for(cli: Cli, tokenizer: str) -> None:
    Path("windows.txt").write_text(TEXT, newline="\r\n")
    options = "--tokenizer", tokenizer, *TINY
    assert "Windows line ends (\\r\\n)" in cli("train", "windows.txt", *options).out
    assert "Windows" not in cli("train", "corpus.txt", *options).out
    asked = cli("sample", "runs/windows", "--prompt", "Line 1\\r", "--max-new-tokens", 1, "--json")
    assert json.loads(asked.out)["samples"][0]["prompt"] == "Line 1\r"
    assert asked.err == "", "no token of it is new"


def test_a_prompt_of_tokens_that_training_never_saw_is_remarked(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    known = cli("sample", "runs/corpus", "--prompt", "Line 7", "--max-new-tokens", 3)
    assert (known.exit_code, known.err) == (0, "")
    strange = cli("sample", "runs/corpus", "--prompt", "Line \u03a9!", "--max-new-tokens", 3)
    assert strange.exit_code == 0
    assert strange.err == "3 of the prompt's 8 tokens were never seen in training\n", "two bytes and a mark"
    assert strange.out.startswith("Line \u03a9!")


def test_text_that_is_new_to_the_run_it_starts_from_is_remarked(cli: Cli) -> None:
    Path("greek.txt").write_text("\u03b1\u03b2\u03b3 \u03b4\n" * 500)
    cli("train", "corpus.txt", *TINY)
    budget = "--steps", 2, "--batch-size", 4, "--seq-len", 16
    strange = cli("train", "greek.txt", "--from", "runs/corpus", *budget)
    assert "80.0% of its tokens are new to runs/corpus" in strange.out
    assert "a new run would probably do better" in strange.out
    assert " are new to " not in cli("train", "corpus.txt", "--from", "runs/corpus", *budget).out


def test_a_run_goes_on_with_its_own_text_where_none_is_named(cli: Cli) -> None:
    cli("train", "corpus.txt", "--documents", "line", "--val-fraction", 0.2, *TINY)
    budget = "--steps", 2, "--batch-size", 4, "--seq-len", 16
    assert cli("train", "--from", "runs/corpus", *budget).exit_code == 0
    first, then = (Run(f"runs/{name}").config.data for name in ("corpus", "corpus-2"))
    assert then == dataclasses.replace(first, vocab_size=None, min_frequency=None)
    assert cli("train", "--from", "runs/corpus", "--val", "corpus.txt", *budget).exit_code != 0
    Path("val.txt").write_text(TEXT[:900] + "Another end.\n")
    assert cli("train", "--from", "runs/corpus", "--val", "val.txt", *budget).exit_code == 0
    assert Run("runs/corpus-3").config.data.val == str(Path("val.txt").absolute())
    assert "no corpus" in cli("train", *budget).only_error


def test_a_complete_run_without_its_weights_says_where_a_copy_is(cli: Cli) -> None:
    cli("train", "corpus.txt", *TINY)
    weights = Path("runs/corpus/model.safetensors")
    before = weights.read_bytes()
    weights.unlink()
    error = cli("sample", "runs/corpus").only_error
    assert "the weights of this complete run are gone" in error
    copy = Path(error.strip().split()[-1])
    shutil.copyfile(copy, weights)
    assert cli("sample", "runs/corpus", "--max-new-tokens", 3).exit_code == 0
    assert np.array_equal(*(np.frombuffer(content[-64:]) for content in (before, weights.read_bytes())))
    weights.unlink()
    shutil.rmtree("runs/corpus/training")
    assert "textgen train --config runs/corpus" in cli("sample", "runs/corpus").only_error


def test_a_tokenizer_of_another_run_is_refused_by_whatever_reads_a_text(cli: Cli) -> None:
    cli("train", "corpus.txt", "--tokenizer", "bpe", "--vocab-size", 400, *TINY, "--run", "bpe")
    cli("train", "corpus.txt", "--tokenizer", "byte", *TINY, "--run", "bytes")
    shutil.copyfile("bytes/tokenizer.json", "bpe/tokenizer.json")
    for command in (["sample", "bpe"], ["eval", "bpe", "corpus.txt"], ["score", "bpe", "corpus.txt"]):
        assert "do not belong together" in cli(*command).only_error


def test_what_is_mistyped_is_named_with_what_was_meant(cli: Cli, tmp_path: Path) -> None:
    assert "did you mean 'train'?" in cli("trian", "corpus.txt").only_error
    cli("train", "corpus.txt", *TINY)
    assert "did you mean runs/corpus?" in cli("sample", "corpus").only_error
    assert "corpus.txt: a file, not a run" in cli("sample", "corpus.txt").only_error
    (tmp_path / "sections.toml").write_text("[model]\nhidden_size = 8\n")
    assert "[model] is a section" in cli("train", "corpus.txt", "--config", "sections.toml").only_error
    (tmp_path / "text.toml").write_text('hidden_size = "8"\n')
    assert "must be a whole number, not '8'" in cli("train", "--config", "text.toml").only_error
    (tmp_path / "one.toml").write_text('corpus = "corpus.txt"\n')
    assert cli("train", "--config", "one.toml", *TINY).exit_code == 0
    assert cli("train", "--config", "runs/corpus", "--steps", 2).exit_code == 0, "a run's directory"
