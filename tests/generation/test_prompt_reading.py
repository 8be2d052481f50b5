"""Prompts that are read before their texts join: their log-probabilities, and how long the others wait."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from textgen.evaluation.score import Scorer
from textgen.generation import prompt_reading
from textgen.generation.generator import Generator
from textgen.generation.loop import PROMPT_PIECE_BETWEEN_STEPS, GenerationLoop
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import SampleState
from textgen.generation.sampling import log_probabilities
from textgen.run import Run
from textgen.settings.config import SampleConfig
from textgen.text.token_costs import TokenCosts

MakeRun = Callable[..., Run]
PROMPT = "The quick brown Ü fox. " * 100  # training never saw Ü
BRIEF = SampleConfig(max_new_tokens=20)


def written(generator: Generator, *requests: Request) -> list[SampleState]:
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    texts = [loop.submit(request) for request in requests]
    while loop.busy:
        loop.step()
    return texts


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("end_of_text", [False, True])
@pytest.mark.parametrize("length", [1, 20, 1500])
def test_the_log_probabilities_of_a_prompt_are_those_of_score(
    make_run: MakeRun, kind: str, end_of_text: bool, length: int
) -> None:
    run = make_run(kind=kind, end_of_text=end_of_text)
    request = Request(prompt=PROMPT[:length], prompt_log_probabilities=True, config=BRIEF)
    (text,) = written(Generator.from_run(run), request)
    pieces = [*Scorer.from_run(run).read([PROMPT[:length]])]
    expected = -np.concatenate([piece.nats for piece in pieces])
    assert len(expected) == len(run.tokenizer.encode(PROMPT[:length]))
    np.testing.assert_allclose(np.array(text.prompt_log_probabilities, float), expected, atol=1e-5)


@pytest.mark.parametrize("mid_text", [False, True])
@pytest.mark.parametrize("number", [0, 3, 20])
def test_the_alternatives_of_a_prompt_are_the_likeliest_tokens_of_the_network(
    make_run: MakeRun, mid_text: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    generator = Generator.from_run(run)
    vocab = generator.vocab
    monkeypatch.setattr(prompt_reading, "MAX_PROMPT_LOGITS", 300 * vocab.size)
    settings = {"prompt": PROMPT[:700], "seed": 1, "config": BRIEF, "mid_text": mid_text}
    plain, text = written(
        generator,
        Request(**settings),
        Request(**settings, prompt_log_probabilities=True, num_alternatives=number),
    )
    model_ids = generator.encode(PROMPT[:700])
    read = model_ids if mid_text else np.append(generator.encode("\n"), model_ids)
    engine = generator.engine
    engine.reset_state(1)
    costs = TokenCosts(vocab, run.tokenizer.vocab_size - vocab.size)
    own = log_probabilities(engine.read(read[None])[0][:-1]) - costs.seen_nats
    alternatives, scores = text.prompt_alternatives, text.prompt_log_probabilities
    assert plain.prompt_log_probabilities == plain.prompt_alternatives == []
    assert text.token_ids == plain.token_ids
    if not number:
        assert alternatives == []
        return
    assert len(alternatives) == len(scores) == len(model_ids)
    if mid_text:  # before which nothing was read
        assert alternatives.pop(0) is scores.pop(0) is None
    for row, found in zip(own, alternatives, strict=True):
        assert found is not None
        ids = vocab.token_ids[np.argsort(-row, kind="stable")[:number]].tolist()
        assert [token_id for token_id, _ in found] == ids
        np.testing.assert_allclose([score for _, score in found], -np.sort(-row)[:number], atol=1e-4)
    token_ids = run.tokenizer.encode(PROMPT[:700])[int(mid_text) :].tolist()
    for token_id, score, found in zip(token_ids, scores, alternatives, strict=True):
        assert found is not None
        assert dict(found).get(token_id, score) == score


def test_texts_that_share_a_prompt_have_as_many_alternatives_as_each_asked_for(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())
    shared = Prompt.from_text("The quick", generator.tokenizer, generator.vocab)
    texts = written(
        generator,
        *(
            Request(prompt=shared, prompt_log_probabilities=True, num_alternatives=number, config=BRIEF)
            for number in (2, 0, 5, 5)
        ),
    )
    lengths = [{len(found or ()) for found in text.prompt_alternatives} for text in texts]
    assert lengths == [{2}, set(), {5}, {5}]


def test_while_a_very_long_prompt_is_read_every_text_gets_a_token_at_each_step(make_run: MakeRun) -> None:
    run = make_run()
    generator = Generator.from_run(run)
    token_ids = run.tokenizer.encode(PROMPT * 50)[:100_000].tolist()
    steps = -(-(len(token_ids) + 1) // PROMPT_PIECE_BETWEEN_STEPS)  # with the start token
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    config = SampleConfig(max_new_tokens=steps + 9)
    running = [loop.submit(Request(prompt="The", seed=seed, config=config)) for seed in (1, 2)]
    loop.step()
    coming = loop.submit(Request(prompt=token_ids, config=BRIEF))
    for step in range(1, steps + 1):
        expected = [*running, coming] if step == steps else running
        assert [text for text, _ in loop.step()] == expected
    assert [len(text.token_ids) for text in running] == [steps + 1] * 2
