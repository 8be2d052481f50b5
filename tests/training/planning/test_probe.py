"""What is measured before a run: threads and speed."""

from __future__ import annotations

import pytest
import torch

from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.training.planning import probe


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(ModelConfig(model_vocab_size=11, embedding_dim=4, hidden_size=8))


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def timings(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> list[int]:
    """Let each number of threads take so long; returns the list of those that get tried."""
    tried: list[int] = []

    def fastest(work: object, device: torch.device) -> float:
        tried.append(torch.get_num_threads())
        return seconds[tried[-1]]

    monkeypatch.setattr(probe, "_fastest", fastest)
    monkeypatch.setattr(probe, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(probe, "available_processors", lambda: max(seconds))
    return tried


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4, 6: 0.3}, 6, [1, 2, 4, 6]),
        (
            {1: 1.0, 2: 0.97, 4: 0.1},
            1,
            [1, *[2] * probe.MEASUREMENTS],
        ),  # a twentieth is what more threads must save
        ({1: 1.0, 2: 0.6, 4: 0.7}, 2, [1, 2, *[4] * probe.MEASUREMENTS]),
        ({1: 1.0}, 1, [1]),
    ],
)
def test_threads_are_doubled_while_that_pays(
    model: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[int, float],
    best: int,
    tried: list[int],
) -> None:
    found = timings(monkeypatch, seconds)
    threads = probe.fastest_threads(model, 2, 3)
    assert threads == (best, 2 * 3 / seconds[best])
    assert torch.get_num_threads() == best
    assert found == tried


def test_a_busy_moment_does_not_cost_a_run_its_threads(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1.0, 5.0, 5.0, 0.6])  # on two threads, twice while another program ran and then without it
    monkeypatch.setattr(probe, "_fastest", lambda work, device: next(times))
    monkeypatch.setattr(probe, "available_processors", lambda: 2)
    assert probe.fastest_threads(model, 2, 3) == (2, 2 * 3 / 0.6)


def test_measuring_changes_no_weight_and_leaves_no_gradient(model: LanguageModel) -> None:
    before = model.weights()
    assert 1 <= probe.fastest_threads(model, 2, 3).number <= probe.available_processors()
    assert 0 < probe.training_speed(model, 2, 3) < probe.reading_speed(model, 2, 3)
    assert all((before[name] == array).all() for name, array in model.weights().items())
    assert all(parameter.grad is None for parameter in model.parameters())
