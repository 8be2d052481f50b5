"""The file of the n-gram companion: read as it was written, and refused beside another network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgen.errors import RunError
from textgen.ngram.companion import (
    SMALLEST_LIMIT,
    Companion,
    companion_file,
    largest_companion,
    read_companion,
    room_for_model,
)
from textgen.ngram.model import NGramModel
from textgen.settings.config import ModelConfig
from textgen.system.digests import DamagedError
from textgen.text.model_vocab import ModelVocab
from textgen.weights.file import weights_file

V = 7
CONFIG = ModelConfig(model_vocab_size=V, embedding_dim=4, hidden_size=8)
VOCAB = ModelVocab(np.arange(V) * 2, np.arange(V) + 1)


@pytest.fixture
def companion() -> Companion:
    text = np.random.default_rng(0).integers(0, V, 500)
    return Companion(NGramModel.train(text, V, 4), 0.35)


def test_a_companion_is_read_as_it_was_written(companion: Companion, tmp_path: Path) -> None:
    path = tmp_path / "ngram.safetensors"
    path.write_bytes(companion_file(companion, VOCAB))
    again = read_companion(path, CONFIG, VOCAB)
    assert again.weight == companion.weight
    ids = np.random.default_rng(1).integers(0, V + 1, (3, 20))
    assert np.array_equal(again.model.read(ids)[0], companion.model.read(ids)[0])


def change(name: str, value: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def apply(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.array(value)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("mixture_weight", [1.5]), "mixture_weight is not a number from 0 to 1"),
        (change("mixture_weight", [np.nan]), "mixture_weight is not a number from 0 to 1"),
        (change("mixture_weight", [0.5, 0.5]), "mixture_weight is not"),
        (change("mixture_weight", [1]), "mixture_weight is not"),
        (lambda arrays: arrays.pop("mixture_weight"), "mixture_weight is not"),
        (lambda arrays: arrays.pop("token_ids"), "other tokens than the network"),
        (change("token_ids", np.arange(V)), "other tokens than the network"),
        (lambda arrays: arrays.pop("info"), "info"),
    ],
)
def test_a_companion_that_no_training_gives_is_refused(
    companion: Companion, tmp_path: Path, damage: Callable[[dict[str, np.ndarray]], Any], message: str
) -> None:
    arrays = {"mixture_weight": np.array([0.35]), "token_ids": VOCAB.token_ids}
    arrays |= companion.model.to_arrays()
    damage(arrays)
    path = tmp_path / "ngram.safetensors"
    path.write_bytes(weights_file(arrays))
    with pytest.raises((DamagedError, RunError), match=message):
        read_companion(path, CONFIG, VOCAB)


def test_a_model_of_another_number_of_tokens_is_refused(tmp_path: Path) -> None:
    other = Companion(NGramModel.train(np.arange(V - 1), V - 1, 2), 0.5)
    path = tmp_path / "ngram.safetensors"
    path.write_bytes(companion_file(other, VOCAB))
    with pytest.raises(DamagedError, match="other tokens"):
        read_companion(path, CONFIG, VOCAB)


def test_a_companion_is_at_most_twice_as_large_as_the_network_or_eight_megabytes() -> None:
    assert largest_companion(CONFIG) == SMALLEST_LIMIT
    wide = dataclasses.replace(CONFIG, hidden_size=2000)
    # Embedding, the LSTM's two matrices and two biases, the head and its bias, in float32.
    weights = V * 4 + 8000 * (4 + 2000 + 2) + V * 2000 + V
    assert largest_companion(wide) == 2 * 4 * weights


def test_a_pruned_model_fits_into_the_file(tmp_path: Path) -> None:
    text = np.random.default_rng(0).integers(0, V, 3_000_000)
    model = NGramModel.train(text, V, 9, max_bytes=room_for_model(CONFIG), prune_from=None)
    content = companion_file(Companion(model, 0.5), VOCAB)
    assert SMALLEST_LIMIT / 2 < len(content) <= largest_companion(CONFIG)
    (tmp_path / "ngram.safetensors").write_bytes(content)
    assert read_companion(tmp_path / "ngram.safetensors", CONFIG, VOCAB).model.order == 9
