"""The records of a run in which training was rolled back, its description, and hostile configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from textgen.errors import TextgenError
from textgen.run import CONFIG, Run, active_records, describe
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.settings.files import read_options
from textgen.system.bounded_files import RUN_FILE_LIMIT


def line(kind: str, step: int, **figures: Any) -> dict[str, Any]:
    return {"kind": kind, "step": step} | figures


def test_active_records_leave_out_steps_that_were_rolled_back() -> None:
    first = [line("val", 0), line("train", 5), line("val", 10)]
    failed = [line("train", 12), line("val", 20)]
    back = line("rollback", 23, back_to=10)
    again = [line("train", 12), line("val", 20), line("final", 20)]
    assert active_records([*first, *failed, back, *again]) == [*first, back, *again]


def test_two_rollbacks_leave_one_record_for_each_step() -> None:
    records = [line("train", 1), line("train", 2), line("rollback", 3, back_to=1)]
    records += [line("train", 2), line("rollback", 3, back_to=0), line("train", 1), line("train", 2)]
    assert [record["step"] for record in active_records(records) if record["kind"] == "train"] == [1, 2]


def test_a_description_lists_the_dropouts_that_are_not_0() -> None:
    def described(**network: Any) -> str:
        model = ModelConfig(model_vocab_size=65, **network)
        training = TrainingConfig(steps=7, device="cpu", threads=1)
        data = DataConfig(corpus=("a.txt",))
        return describe(RunConfig(format=1, textgen_version="0", data=data, model=model, training=training))

    assert "embedding 64, dropout 0.2, batch" in described(dropout=0.2)
    dropped = {"input_dropout": 0.1, "weight_drop": 0.4}
    text = described(tie_weights=True, dropout=0.6, **dropped)
    assert "embedding and head 64, dropout 0.6 + 0.1 of input + 0.4 of weights, batch" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("7" * 5000, "not valid JSON"),
        ("\0", "not valid JSON"),
        (" " * (RUN_FILE_LIMIT + 1), "larger than 16 MB"),
        ('{"format": 2, "textgen_version": "0", "data": 1, "model": {}, "training": {}}', "names with their"),
    ],
    ids=["depth", "digits", "zero", "length", "section"],
)
def test_a_hostile_config_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(TextgenError, match=message) as caught:
        Run(tmp_path).config  # noqa: B018
    assert "\n" not in str(caught.value)
    with pytest.raises(TextgenError):
        read_options(tmp_path)
