"""The mixture of a network with n-grams: its definition, and all ways to read a text."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from textgen.evaluation.score import Scorer
from textgen.generation.engine import Engine, label_id
from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.mixed_engine import MixedEngine
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.request import Request
from textgen.generation.torch_engine import TorchEngine
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.settings.config import ModelConfig, SampleConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

V, START, WEIGHT = 11, 4, 0.3
both_engines = pytest.mark.parametrize("make", ["numpy", "torch"])


def network(make: str, **options: object) -> Engine:
    torch.manual_seed(1)
    sizes = {"embedding_dim": 6, "hidden_size": 12, "num_layers": 2} | options
    model = LanguageModel(
        ModelConfig(model_vocab_size=V, **sizes), ModelVocab(np.arange(V) * 3, np.arange(V) ** 2 + 1)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
    return NumpyEngine(model.config, model.weights()) if make == "numpy" else TorchEngine(model.eval())


def companion(weight: float = WEIGHT) -> Companion:
    text = (np.random.default_rng(3).integers(0, 4, 600).cumsum() % V)[None].repeat(2, 0).ravel()
    return Companion(NGramModel.train(text, V, 4), weight)


def mixed(make: str, weight: float = WEIGHT, **options: object) -> MixedEngine:
    return MixedEngine(network(make, **options), companion(weight))


def probabilities(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def defined(make: str, ids: np.ndarray) -> np.ndarray:
    """The probabilities of the mixture after each id (B, T, V), as they are defined."""
    plain = network(make)
    plain.reset_state(len(ids))
    of_network = probabilities(plain.read(ids))
    of_ngrams = np.exp(companion().model.read(ids)[0].astype(np.float64))
    product = of_network**WEIGHT * of_ngrams ** (1 - WEIGHT)
    return product / product.sum(-1, keepdims=True)


def some_ids(batch_size: int, steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, V + 1, (batch_size, steps))


def close(logits: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(probabilities(logits), expected, atol=2e-5)


@both_engines
def test_every_way_to_read_gives_the_renormalised_product(make: str) -> None:
    ids = some_ids(3, 30)
    expected = defined(make, ids)
    engine = mixed(make)
    engine.reset_state(3)
    close(engine.read(ids), expected)
    close(mixed(make).start(ids), expected[:, -1])
    engine = mixed(make)
    close(engine.start(ids[:, :9]), expected[:, 8])
    close(engine.step(ids[:, 9]), expected[:, 9])
    close(engine.advance(ids[:, 10:12]), expected[:, 11])
    close(engine.read(ids[:, 12:20]), expected[:, 12:20])
    close(engine.advance(ids[:, 20:]), expected[:, -1])


@both_engines
def test_texts_are_selected_joined_and_copied_with_their_contexts(make: str) -> None:
    ids = some_ids(4, 12)
    expected = defined(make, ids)
    engine = mixed(make)
    engine.start(ids[:2, :6])
    other = copy.copy(engine)
    other.start(ids[2:, :6])
    engine.select([1, 0, 1])
    engine.join(other)
    order = [1, 0, 1, 2, 3]
    close(engine.step(ids[order, 6]), expected[order, 6])
    kept = engine.state
    engine.step(ids[order, 0])
    again = copy.copy(engine)
    again.state = kept
    close(again.step(ids[order, 7]), expected[order, 7])


def test_a_state_that_is_kept_is_not_changed_by_reading_on() -> None:
    engine = mixed("numpy")
    engine.start(some_ids(1, 8))
    state = engine.state
    before = [part.copy() for part in state]
    engine.step(np.array([2]))
    assert all(np.array_equal(part, old) for part, old in zip(state, before, strict=True))


@pytest.mark.parametrize(("weight", "part"), [(1.0, "network"), (0.0, "n-grams")])
def test_at_its_ends_the_mixture_is_one_of_the_two(weight: float, part: str) -> None:
    ids = some_ids(2, 10)
    engine = mixed("numpy", weight)
    engine.reset_state(2)
    plain = network("numpy")
    plain.reset_state(2)
    expected = probabilities(plain.read(ids)) if part == "network" else np.exp(companion().model.read(ids)[0])
    close(engine.read(ids), expected)


def test_a_label_is_the_start_token_to_n_grams() -> None:
    options = {"labels": ("a", "b"), "start_id": START}
    engine = mixed("numpy", 0.0, **options)
    labelled = label_id(engine, "b")
    assert labelled == V + 2
    expected = companion().model.read(np.array([[START, 3]]))[0][:, -1]
    close(engine.start(np.array([[labelled, 3]])), np.exp(expected))
    engine.reset_state(1)
    close(engine.step(np.array([labelled])), np.exp(companion().model.read(np.array([[START]]))[0][:, -1]))


TEXT = "the cat sat on the mat and the dog sat on the log, and then the cat ran.\n" * 6


@pytest.fixture
def generator() -> Generator:
    tokenizer = Tokenizer.train("char", [TEXT])
    ids = tokenizer.encode(TEXT)
    vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
    torch.manual_seed(2)
    model = LanguageModel(ModelConfig(model_vocab_size=vocab.size, hidden_size=16, embedding_dim=8), vocab)
    engine = NumpyEngine(model.config, model.weights())
    ngrams = NGramModel.train(vocab.to_model_ids(ids), vocab.size, 6)
    return Generator(MixedEngine(engine, Companion(ngrams, 0.2)), tokenizer)


def test_what_is_written_has_the_log_probabilities_that_score_gives(generator: Generator) -> None:
    config = SampleConfig(max_new_tokens=40, temperature=1.0)
    request = Request(
        prompt="the ", seed=1, config=config, log_probabilities=True, prompt_log_probabilities=True
    )
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    state = loop.submit(request)
    while loop.busy:
        loop.step()
    sample = state.result()
    text = sample.prompt + sample.text
    (piece,) = Scorer(generator.engine, generator.tokenizer).read([text], unbuffered=False)
    # Scoring reserves a little for unseen tokens, also of a prompt, but none are drawn.
    seen = -np.log1p(-1 / (generator.vocab.total + 1))
    logged = [*state.prompt_log_probabilities, *(each - seen for each in state.log_probabilities)]
    np.testing.assert_allclose(piece.nats, -np.array(logged), atol=1e-4)


def test_a_text_is_the_same_alone_and_in_a_batch_with_others(generator: Generator) -> None:
    config = SampleConfig(max_new_tokens=30)
    requests = [Request(prompt=prompt, seed=n, config=config) for n, prompt in enumerate(["a", "the ", ""])]
    together = [sample.text for sample in generator.complete(requests)]
    alone = ["".join(generator.stream_request(dataclasses.replace(request))) for request in requests]
    assert together == alone
