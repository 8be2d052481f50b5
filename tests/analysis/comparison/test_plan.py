"""The plan of a comparison: which runs, with which options, in which directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textgen.analysis.comparison.plan import (
    OWN_TRAINING,
    ComparisonPlan,
    PlannedRun,
    check_cells,
    claimed,
    new_plan,
    plan_directory,
    train_arguments,
)
from textgen.errors import ConfigError, CorpusError, RunError
from textgen.models.cost import num_parameters
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.text.remote.texts import RemoteTexts
from textgen.text.sources import corpus_name

TEXT = "A line of text, and another one.\n" * 20


def make_plan(**choices: Any) -> ComparisonPlan:
    return ComparisonPlan(**{"corpus": ("/a.txt",), "fingerprint": "f"} | choices)


def make_config(run: PlannedRun) -> RunConfig:
    """What a run might have chosen, other settings for each cell."""
    sizes = {"lstm": 384, "gru": 256, "rnn": 128}
    return RunConfig(
        format=1,
        textgen_version="0",
        data=DataConfig(corpus=("/a.txt",)),
        model=ModelConfig(
            model_vocab_size=65, cell=run.cell, hidden_size=sizes[run.cell], num_layers=2, dropout=0.3
        ),
        training=TrainingConfig(
            minutes=2,
            learning_rate={"lstm": 0.003, "gru": 0.005, "rnn": 0.001}[run.cell],
            beta1=0.55,
            weight_decay=0.07,
            threads={"lstm": 2, "gru": 1, "rnn": 4}[run.cell],
            precision="bfloat16",
            eval_tokens={"lstm": 5000, "gru": 6000, "rnn": 7000}[run.cell],
        ),
    )


def test_the_cells_take_turns_seed_by_seed() -> None:
    names = [run.name for run in make_plan(seeds=2).runs]
    assert names == ["lstm-seed1", "gru-seed1", "lstm-seed2", "gru-seed2"]


def test_the_minutes_are_split_evenly() -> None:
    plan = make_plan(minutes=12.0, seeds=2, cells=("lstm", "gru", "rnn"))
    assert plan.minutes_each == 2.0
    assert plan.options(plan.runs[0], make_config)["minutes"] == 2.0


def test_n_grams_have_no_runs_and_take_no_minutes() -> None:
    plan, without = make_plan(cells=("ngram", "gru", "lstm")), make_plan(cells=("gru", "lstm"))
    assert plan.networks == ("gru", "lstm")
    assert plan.runs == without.runs
    assert plan.minutes_each == without.minutes_each == 2.0
    assert plan.options(plan.runs[1], make_config) == without.options(plan.runs[1], make_config)


def test_the_first_run_gets_the_user_options_and_chooses_the_rest() -> None:
    plan = make_plan(settings={"tokenizer": "bpe", "dropout": 0.1}, minutes=6.0, match="minutes")
    expected = {"tokenizer": "bpe", "dropout": 0.1, "cell": "lstm", "seed": 1, "minutes": 1.0}
    expected |= {"ngram": False}
    assert plan.options(plan.runs[0], make_config) == expected


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 64),
        ({"tokenizer": "bpe"}, 256),
        ({"tokenizer": "word"}, 256),
        ({"tokenizer": "byte"}, 64),
        ({"hidden_size": 16}, 16),
        ({"tokenizer": "bpe", "embedding_dim": 20}, 20),
    ],
)
def test_the_first_cells_recipe_does_not_give_the_others_an_embedding(
    settings: dict[str, Any], size: int
) -> None:
    for match in ("parameters", "size"):
        plan = make_plan(settings=settings, match=match)
        options = plan.options(plan.runs[0], make_config)
        assert (options["embedding_dim"], options["tie_weights"]) == (size, False)


@pytest.mark.parametrize("match", ["size", "parameters"])
def test_the_other_cells_take_the_first_ones_settings(match: str) -> None:
    plan = make_plan(match=match, settings={"hidden_size": 384})
    options = plan.options(PlannedRun("gru", 1), make_config)
    first = make_config(PlannedRun("lstm", 1))
    for name in ("batch_size", "seq_len", "weight_decay", "eval_tokens"):
        assert options[name] == getattr(first.training, name)
    for name in ("embedding_dim", "tie_weights", "num_layers", "dropout", "input_dropout", "weight_drop"):
        assert options[name] == getattr(first.model, name)
    # How fast the machine runs a cell is the cell's own, and so are the rate and the penalty that suit it.
    own = {"threads", "precision", "learning_rate", "beta1", "temporal_activation_penalty"}
    assert not own & options.keys()
    network = {name: options[name] for name in ("embedding_dim", "num_layers", "hidden_size")}
    parameters = num_parameters(ModelConfig(model_vocab_size=65, cell="gru", **network))
    if match == "size":
        assert options["hidden_size"] == 384
    else:
        assert options["hidden_size"] > 384
        assert parameters == pytest.approx(num_parameters(first.model), rel=0.02)


def test_matched_by_minutes_each_cell_chooses_but_all_are_evaluated_on_the_same_tokens() -> None:
    plan = make_plan(match="minutes", minutes=6.0)
    expected = {"cell": "gru", "seed": 1, "minutes": 1.0, "eval_tokens": 5000, "ngram": False}
    assert plan.options(PlannedRun("gru", 1), make_config) == expected


@pytest.mark.parametrize("match", ["size", "parameters", "minutes"])
def test_the_seeds_of_a_cell_differ_in_nothing_else(match: str) -> None:
    plan = make_plan(match=match)
    options = plan.options(PlannedRun("gru", 3), make_config)
    first = make_config(PlannedRun("gru", 1))
    assert (options["seed"], options["hidden_size"]) == (3, 256)
    for name in (*OWN_TRAINING, "batch_size"):
        assert options[name] == getattr(first.training, name)
    assert options["eval_tokens"] == 5000


def test_options_become_arguments_of_train() -> None:
    arguments = train_arguments({"hidden_size": 24, "val": "b c.txt", "tie_weights": False, "residual": True})
    assert arguments == ["--hidden-size", "24", "--val", "b c.txt", "--no-tie-weights", "--residual"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"cells": ("lstm",)}, "nothing to compare"),
        ({"cells": ("ngram",)}, "nothing to compare"),
        ({"cells": ("ngram", "ngram")}, "named twice"),
        ({"cells": ("lstm", "gu")}, "did you mean 'gru'?; there are lstm, gru, rnn, ngram"),
        ({"cells": ("lstm", "ngrams")}, "did you mean 'ngram'?"),
        ({"cells": ("gru", "gru")}, "named twice"),
        ({"match": "speed"}, "parameters, size, minutes"),
        ({"seeds": 0}, "at least 1"),
        ({"minutes": 0.0}, "above 0"),
        ({"minutes": float("nan")}, "above 0"),
        ({"settings": {"dropout": 1.5}}, "dropout=1.5"),
        ({"settings": {"val": "b.txt", "val_fraction": 0.2}}, "do not go together"),
    ],
)
def test_what_cannot_be_compared_is_refused(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
        make_plan(**choices)
    assert words in str(caught.value)


def test_where_only_networks_will_do_n_grams_are_refused_as_such() -> None:
    check_cells(("lstm", "rnn"))
    with pytest.raises(ConfigError, match="n-grams are not a network; there are lstm, gru, rnn"):
        check_cells(("lstm", "ngram"))


def test_text_that_is_not_there_or_too_little_is_refused_before_any_run(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match="too little"):
        new_plan((str(tmp_path / "a.txt"),), {})
    with pytest.raises(CorpusError, match="no such file"):
        new_plan((str(tmp_path / "b.txt"),), {})
    with pytest.raises(ConfigError, match="save it to a file"):
        new_plan(("-",), {})


def test_a_plan_knows_its_text_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"a.txt": TEXT, "b.txt": TEXT, "c.txt": TEXT.replace("one", "two")}.items():
        Path(name).write_text(text)
    a, b, c = (new_plan((name,), {}) for name in ("a.txt", "b.txt", "c.txt"))
    assert a.corpus == (str(tmp_path / "a.txt"),)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert new_plan(("a.txt",), {"val_fraction": 0.5}).fingerprint != a.fingerprint


def test_the_records_of_a_table_with_an_unusual_delimiter_can_be_compared_on(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("id~name\n" + "1~The dog\n" * 60)
    settings = {"field": "name", "delimiter": "~"}
    plan = new_plan((str(path),), settings)
    for run in plan.runs:
        arguments = train_arguments(plan.options(run, make_config))
        assert arguments[arguments.index("--delimiter") + 1] == "~"
    with pytest.raises(CorpusError, match="found: id~name"):
        new_plan((str(path),), {"field": "name"})


def test_a_plan_keeps_a_url_without_secrets(tmp_path: Path, server: Any) -> None:
    url, remote = server.add("/a.txt", TEXT), RemoteTexts(tmp_path)
    plan = new_plan((url,), {}, remote)
    assert plan.corpus == (url,)
    (tmp_path / "a.txt").write_text(TEXT)
    assert plan.fingerprint == new_plan((str(tmp_path / "a.txt"),), {}).fingerprint
    with pytest.raises(CorpusError, match="query or password, which plan"):
        new_plan((f"{url}?token=1",), {}, remote)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("https://a/faq.txt?b=c/d.txt", "faq"),
        ("a/faq.txt", "faq"),
        ("texts/", "texts"),
        ("texts/*", "texts"),
        ("*.gz", "corpus"),
    ],
)
def test_a_comparison_is_called_after_its_text(corpus: str, name: str) -> None:
    assert corpus_name((corpus,)) == name


def begin(plan: ComparisonPlan, directory: Path) -> None:
    """Leave what a comparison leaves that was stopped in its first run."""
    with claimed(plan, directory):
        (directory / plan.runs[0].name).mkdir()


def test_the_same_plan_finds_its_directory_and_another_one_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan, other, text = make_plan(), make_plan(minutes=6.0), make_plan(fingerprint="g")
    first = plan_directory(plan, None, "faq")
    assert first == Path("compare/faq")
    begin(plan, first)
    assert plan_directory(plan, None, "faq") == first
    second = plan_directory(other, None, "faq")
    assert second == Path("compare/faq-2")
    begin(other, second)
    assert plan_directory(other, None, "faq") == second
    assert plan_directory(text, None, "faq") == Path("compare/faq-3")


def test_a_named_directory_of_another_comparison_is_refused_and_says_why(tmp_path: Path) -> None:
    begin(make_plan(), tmp_path / "c")
    assert plan_directory(make_plan(corpus=("/moved.txt",)), tmp_path / "c", "") == tmp_path / "c"
    for choices, words in {
        "cells": ({"cells": ("lstm", "rnn")}, "cells was lstm,gru"),
        "seeds": ({"seeds": 4}, "seeds was 3"),
        "settings": ({"settings": {"dropout": 0.5}}, "settings was {}"),
        "text": ({"fingerprint": "g"}, "another text"),
    }.values():
        with pytest.raises(RunError, match=words):
            plan_directory(make_plan(**choices), tmp_path / "c", "")


def test_n_grams_may_be_added_to_a_comparison_and_left_out_again(tmp_path: Path) -> None:
    without, added = make_plan(), make_plan(cells=("lstm", "ngram", "gru"))
    begin(without, tmp_path / "c")
    assert plan_directory(added, tmp_path / "c", "") == tmp_path / "c"
    with claimed(added, tmp_path / "c"):
        pass
    assert plan_directory(without, tmp_path / "c", "") == tmp_path / "c"
    with pytest.raises(RunError, match="cells was lstm,ngram,gru"):
        plan_directory(make_plan(cells=("gru", "lstm")), tmp_path / "c", "")


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no comparison"):
        plan_directory(make_plan(), tmp_path, "")
    with pytest.raises(RunError, match="not a directory"):
        plan_directory(make_plan(), tmp_path / "notes.txt", "")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        plan_directory(make_plan(), tmp_path, "")


def test_next_to_a_plan_of_another_version_the_next_number_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin(make_plan(), Path("compare/faq"))
    path = Path("compare/faq/plan.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patience": 3}))
    assert plan_directory(make_plan(), None, "faq") == Path("compare/faq-2")
    with pytest.raises(RunError, match=r"its plan.json cannot be read .*unknown option 'patience'"):
        plan_directory(make_plan(), Path("compare/faq"), "")


def test_a_plan_of_which_nothing_has_come_may_be_another(tmp_path: Path) -> None:
    with claimed(make_plan(), tmp_path):
        pass
    assert plan_directory(make_plan(seeds=1), tmp_path, "") == tmp_path


def test_a_directory_is_for_one_process_at_a_time_and_holds_the_plan(tmp_path: Path) -> None:
    with claimed(make_plan(), tmp_path):
        with pytest.raises(RunError, match="another process"), claimed(make_plan(), tmp_path):
            pass
    assert json.loads((tmp_path / "plan.json").read_text())["cells"] == ["lstm", "gru"]


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"), claimed(make_plan(), tmp_path / "file" / "c"):
        pass
