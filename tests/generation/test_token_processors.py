"""Penalties, biases, forbidden tokens and stop tokens, each against its definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from textgen.errors import ConfigError
from textgen.generation.generator import Generator
from textgen.generation.processors import LogitsProcessor, ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sampling import sample_token
from textgen.generation.token_processors import (
    CountPenalties,
    ForbiddenTokens,
    LogitBias,
    StopTokens,
    StopTokensProcessor,
)
from textgen.run import Run
from textgen.settings.config import SampleConfig

MakeRun = Callable[..., Run]
CONFIG = SampleConfig(max_new_tokens=40, temperature=1.0)
UNKNOWN = [-1, -(10**12), 10**5, 10**30]


@pytest.fixture
def generator(make_run: MakeRun) -> Generator:
    """Of bytes, most of which training never saw."""
    return Generator.from_run(make_run(kind="byte", end_of_text=True))


def prompt_of(generator: Generator, text: str = "The") -> Prompt:
    return Prompt.from_text(text, generator.tokenizer, generator.vocab)


def processed(generator: Generator, factory: ProcessorFactory, logits: np.ndarray) -> np.ndarray:
    return factory(prompt_of(generator)).process(logits)


def test_the_penalties_are_those_of_their_definition(generator: Generator) -> None:
    penalties = CountPenalties(presence=0.7, frequency=1.3)
    (sample,) = generator.generate("The", seed=2, config=CONFIG, processors=[penalties])
    (seed,) = np.random.SeedSequence(2).spawn(1)
    rng, vocab = np.random.default_rng(seed), generator.vocab
    start = vocab.to_model_ids(np.array([generator.tokenizer.end_of_text_id]))
    logits = generator.engine.start(np.append(start, generator.encode("The"))[None])
    counts: Counter[int] = Counter()  # of the new text only
    for token_id in sample.token_ids:
        lowered = logits.astype(np.float64)
        for model_id, count in counts.items():
            lowered[0, model_id] -= count * 1.3 + float(count > 0) * 0.7
        model_id = sample_token(lowered, CONFIG, rng).item()
        assert vocab.token_ids[model_id] == token_id
        counts[model_id] += 1
        logits = generator.engine.step(np.array([model_id]))
    assert max(counts.values()) > 1


@pytest.mark.parametrize("change", [{"presence": 2.0}, {"frequency": 2.0}])
def test_each_penalty_makes_a_text_repeat_less(generator: Generator, change: dict[str, float]) -> None:
    config = SampleConfig(max_new_tokens=20, temperature=0)
    plain, penalized = (
        generator.generate("The", config=config, processors=processors)[0]
        for processors in ([], [CountPenalties(**change)])
    )
    assert len(set(penalized.token_ids)) > len(set(plain.token_ids))


@pytest.mark.parametrize("change", [{"presence": 2.1}, {"frequency": -2.1}, {"presence": float("nan")}])
def test_a_penalty_out_of_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be from -2 to 2"):
        CountPenalties(**change)


def test_a_bias_is_added_and_one_of_minus_100_or_less_forbids(generator: Generator) -> None:
    token_ids = generator.vocab.token_ids[:4].tolist()
    biases = dict(zip(token_ids, [1.5, -99.0, -100.0, -1e9], strict=True))
    logits = np.zeros((1, generator.vocab.size), np.float32)
    found = processed(generator, LogitBias(biases | {250: 50.0}), logits)  # training never saw byte 250
    assert found[0, :5].tolist() == [1.5, -99.0, -np.inf, -np.inf, 0.0]
    assert not logits.any()


def test_a_bias_of_100_leaves_nothing_else_to_draw(generator: Generator) -> None:
    (token_id,) = generator.tokenizer.encode("q").tolist()
    (sample,) = generator.generate(seed=1, config=CONFIG, processors=[LogitBias({token_id: 100.0})])
    assert sample.text == "q" * 40


@pytest.mark.parametrize("bias", [100.1, float("nan"), float("inf")])
def test_a_bias_that_is_too_large_or_no_number_is_refused(bias: float) -> None:
    with pytest.raises(ConfigError, match="of token id 7: must be at most 100"):
        LogitBias({7: bias})


def test_what_is_infinite_after_another_processor_can_be_forbidden(generator: Generator) -> None:
    logits = np.full((1, generator.vocab.size), np.inf)
    found = processed(generator, ForbiddenTokens(generator.vocab.token_ids[1:].tolist()), logits)
    assert found[0, 0] == np.inf
    assert (found[0, 1:] == -np.inf).all()


@pytest.mark.parametrize(
    "factory",
    [
        LogitBias(dict.fromkeys([*UNKNOWN, 250], 9.0)),
        LogitBias(dict.fromkeys([*UNKNOWN, 250], -100.0)),
        LogitBias({}),
        ForbiddenTokens([*UNKNOWN, 250]),
        StopTokens([*UNKNOWN, 250]),
        StopTokens([]),
        CountPenalties(),
    ],
    ids=repr,
)
def test_tokens_that_the_network_does_not_know_change_nothing(
    generator: Generator, factory: ProcessorFactory
) -> None:
    plain, found = (
        generator.generate("The", num_samples=2, seed=1, config=CONFIG, processors=processors)
        for processors in ([], [factory])
    )
    assert found == plain


def test_a_text_whose_end_is_forbidden_is_as_long_as_it_may_be(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run(text="ab\n" * 9, end_of_text=True))
    config = SampleConfig(max_new_tokens=30, temperature=3)
    forbidden = [ForbiddenTokens([generator.tokenizer.end_of_text_id])]
    for processors, reason in (([], "end-of-text"), (forbidden, "length")):
        samples = generator.generate(num_samples=20, seed=1, config=config, processors=processors)
        assert {sample.finish_reason for sample in samples} == {reason}


@pytest.mark.parametrize("keep_stop", [False, True])
def test_a_stop_token_ends_the_text_which_keeps_it_only_if_asked(
    generator: Generator, keep_stop: bool
) -> None:
    stops = generator.tokenizer.encode("eo").tolist()
    request = Request(prompt="Th", config=CONFIG, processors=[StopTokens(stops)], keep_stop=keep_stop)
    (plain,) = generator.complete([Request(prompt="Th", config=CONFIG, seed=5)])
    (sample,) = generator.complete([Request(**(vars(request) | {"seed": 5}))])
    place = next(n for n, token_id in enumerate(plain.token_ids) if token_id in stops)
    assert sample.finish_reason == "stop"
    assert sample.token_ids == plain.token_ids[: place + 1]
    assert sample.text == plain.text[: place + keep_stop]


def test_stop_tokens_do_not_come_before_the_least_number_of_new_tokens(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run(text="ab\n" * 9, end_of_text=True))
    stops = [StopTokens(generator.tokenizer.encode("a").tolist())]
    for least in (0, 1, 7):
        config = SampleConfig(min_new_tokens=least, max_new_tokens=9, temperature=3)
        samples = generator.generate(num_samples=60, seed=1, config=config, processors=stops)
        ended = [len(sample.token_ids) - 1 for sample in samples if sample.finish_reason == "stop"]
        assert min(ended) == least


def test_what_writes_the_end_of_the_prompt_again_is_no_new_text(make_run: MakeRun) -> None:
    """A prompt that is cut off within a word gives tokens back, which are then drawn again."""
    common = "the world said hello, the worker said hell; a tired tiger went to work.\n"
    text = common * 6 + "thigh tinge hew wed heft ogre wren lithe tight hog wilt get toil hid two tog\n"
    generator = Generator.from_run(make_run(kind="bpe", text=text))
    seen: list[list[int]] = []
    rewritten = set[int]()

    class Recording(StopTokensProcessor):
        def __init__(self, prompt: Prompt) -> None:
            super().__init__(StopTokens([]), prompt)
            seen.append([])

        def accept(self, model_id: int) -> None:
            seen[-1].append(model_id)

    config = SampleConfig(max_new_tokens=6, temperature=2)
    for seed in range(30):
        (sample,) = generator.generate("a tig", seed=seed, config=config, processors=[Recording])
        num_rewritten = len(sample.token_ids) - 6
        rewritten.add(num_rewritten)
        new = generator.vocab.to_model_ids(np.array(sample.token_ids[num_rewritten:]))
        assert seen[-1] == new.tolist()
        if num_rewritten > 0:
            stops = StopTokens([sample.token_ids[0]])
            (stopped,) = generator.generate("a tig", seed=seed, config=config, processors=[stops])
            assert len(stopped.token_ids) > num_rewritten
    assert rewritten == {0, 1}


def test_two_kinds_of_stop_tokens_are_both_kept_back(generator: Generator) -> None:
    first, second = (partial(StopTokensProcessor, StopTokens([token_id])) for token_id in (101, 111))
    made: list[LogitsProcessor] = [factory(prompt_of(generator)) for factory in (first, second)]
    assert [len(processor.end_ids) for processor in made] == [1, 1]
    config = SampleConfig(max_new_tokens=9, min_new_tokens=9, temperature=3)
    for sample in generator.generate(num_samples=30, seed=1, config=config, processors=[first, second]):
        assert not {101, 111} & set(sample.token_ids)
