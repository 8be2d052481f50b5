"""Timing: the actions alternate, and every cell is timed in textgen's and in PyTorch's layers."""

from __future__ import annotations

import pytest
import torch

from textgen.analysis.comparison import throughput
from textgen.analysis.comparison.throughput import MIN_ROUNDS, measure_throughput
from textgen.settings.config import ModelConfig, TrainingConfig


def test_actions_alternate_after_one_call_each_that_is_not_timed() -> None:
    calls = list[str]()
    columns = throughput._time_rounds([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert "".join(calls) == "ab" * 4
    assert [len(column) for column in columns] == [3, 3]


def test_every_cell_is_timed_in_both_implementations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "LAYER_SECONDS", 0.0)
    model = ModelConfig(model_vocab_size=9, embedding_dim=4, hidden_size=6, num_layers=2)
    training = TrainingConfig(batch_size=3, seq_len=5, threads=torch.get_num_threads(), steps=1)
    found = measure_throughput(("gru", "lstm", "rnn"), model, training)
    for seconds in (found.textgen_seconds, found.torch_seconds):
        assert list(seconds) == ["gru", "lstm", "rnn"]
        assert {len(column) for column in seconds.values()} == {MIN_ROUNDS}
        assert min(map(min, seconds.values())) > 0
    assert found.shape.startswith("2 x 6 units, batches of 3 x 5, float32, ")
