"""Texts of one batch: what each records of its tokens, what ends one and not the others, and that mixed
requests of a network give the texts that they give alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from textgen.errors import ConfigError
from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.processors import LogitsProcessor, ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import SampleState
from textgen.generation.sampling import choose, log_probabilities
from textgen.generation.token_processors import CountPenalties, ForbiddenTokens, LogitBias, StopTokens
from textgen.run import Run
from textgen.settings.config import SampleConfig
from textgen.text.decoder import ByteDecoder

MakeRun = Callable[..., Run]
CONFIG = SampleConfig(max_new_tokens=12, temperature=1.0)


def finish(loop: GenerationLoop) -> None:
    while loop.busy:
        loop.step()


def written(generator: Generator, *requests: Request, compact: bool = True) -> list[SampleState]:
    loop = GenerationLoop(generator.engine, generator.tokenizer, compact=compact)
    texts = [loop.submit(request) for request in requests]
    finish(loop)
    return texts


# ---- alternatives


def test_alternatives_are_the_likeliest_tokens_of_the_network_before_any_processor(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())
    token_ids = generator.tokenizer.encode("Th").tolist()
    processors = [LogitBias({token_ids[0]: 50.0}), ForbiddenTokens(token_ids[1:])]
    numbers = [0, 3, 1, 20, 0]
    texts = written(
        generator,
        *(
            Request(prompt="The", seed=n, config=CONFIG, num_alternatives=number, processors=processors)
            for n, number in enumerate(numbers)
        ),
    )
    start = generator.encode("\nThe")
    for text, number in zip(texts, numbers, strict=True):
        drawn = generator.vocab.to_model_ids(np.array(text.token_ids))
        assert len(text.alternatives) == len(text.log_probabilities) == (len(drawn) if number else 0)
        engine = generator.engine
        engine.reset_state(1)
        own = log_probabilities(engine.read(np.concatenate([start, drawn])[None])[0][len(start) - 1 : -1])
        for row, model_id, score, found in zip(
            own, drawn, text.log_probabilities, text.alternatives, strict=False
        ):
            ids = generator.vocab.token_ids[np.argsort(-row, kind="stable")[:number]].tolist()
            assert [token_id for token_id, _ in found] == ids
            np.testing.assert_allclose([each for _, each in found], -np.sort(-row)[:number], atol=1e-5)
            assert dict(found).get(int(generator.vocab.token_ids[model_id]), score) == score


def test_alternatives_do_not_change_what_is_drawn(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())
    request = Request(prompt="The", seed=4, config=CONFIG)
    (plain,), (asked,) = (
        written(generator, dataclasses.replace(request, num_alternatives=number)) for number in (0, 5)
    )
    assert plain.token_ids == asked.token_ids


@pytest.mark.parametrize("number", [-1, 21])
def test_a_number_of_alternatives_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"num_alternatives={number}: must be from 0 to 20"):
        Request(num_alternatives=number)


# ---- what a processor raises


class Faulty(LogitsProcessor):
    """Does nothing but, from the n-th time on, what is wrong in one of several ways."""

    def __init__(self, prompt: Prompt, way: str, number: int = 5) -> None:
        self.way, self.num_left = way, number

    def _is_time(self, *ways: str) -> bool:
        self.num_left -= self.way in ways
        return self.way in ways and self.num_left <= 0

    def process(self, logits: np.ndarray) -> np.ndarray:
        if self._is_time("process"):
            raise ZeroDivisionError("process")
        if self._is_time("NaN"):
            return np.full_like(logits, np.nan)
        if self._is_time("shape"):
            return logits[:, 1:]
        return logits

    def allows(self, model_id: int) -> bool:
        if self._is_time("allows"):
            raise ZeroDivisionError("allows")
        return self.way not in ("mask", "mask of another size") or not self._is_time(self.way)

    def mask(self) -> np.ndarray | None:
        if self.way == "mask":
            raise ZeroDivisionError("mask")
        return np.ones(3, dtype=bool)

    def accept(self, model_id: int) -> str | None:
        if self._is_time("accept"):
            raise ZeroDivisionError("accept")
        return None


FAULTS = {
    "process": "process",
    "allows": "allows",
    "mask": "mask",
    "accept": "accept",
    "NaN": "NaN in the logits from a processor",
    "shape": "logits of shape",
    "mask of another size": "boolean",
}


@pytest.mark.parametrize("way", FAULTS)
def test_what_a_processor_does_wrong_ends_its_text_and_leaves_the_others_bit_for_bit(
    make_run: MakeRun, way: str
) -> None:
    generator = Generator.from_run(make_run())
    requests = [
        Request(prompt=prompt, seed=seed, config=CONFIG, log_probabilities=True, processors=processors)
        for seed, (prompt, processors) in enumerate(
            [("The", []), ("Why", [partial(Faulty, way="none")]), ("", [CountPenalties(presence=1.0)])]
        )
    ]
    expected = written(generator, *requests, compact=False)
    requests[1] = dataclasses.replace(requests[1], processors=[partial(Faulty, way=way)], keep_state=True)
    texts = written(generator, *requests, compact=False)
    for place in (0, 2):
        assert texts[place].result() == expected[place].result()
        assert texts[place].error is None
    failed = texts[1]
    assert failed.finish_reason == "error"
    assert FAULTS[way] in str(failed.error)
    num_drawn = 5 if way == "accept" else 4
    assert failed.token_ids == expected[1].token_ids[:num_drawn]
    assert failed.log_probabilities == expected[1].log_probabilities[:num_drawn]
    assert failed.result().text == generator.tokenizer.decode(failed.token_ids[:4])


@pytest.mark.parametrize("way", FAULTS)
def test_the_library_raises_what_a_processor_raised(make_run: MakeRun, way: str) -> None:
    generator = Generator.from_run(make_run())
    settings = {"seed": 1, "config": CONFIG, "processors": [partial(Faulty, way=way)]}
    for num_samples in (1, 3):
        with pytest.raises((ZeroDivisionError, ValueError, IndexError), match=FAULTS[way]):
            generator.generate("The", num_samples=num_samples, **settings)
    pieces: list[str] = []
    with pytest.raises((ZeroDivisionError, ValueError, IndexError), match=FAULTS[way]):
        pieces.extend(generator.stream("The", **settings))
    (plain,) = generator.generate("The", seed=1, config=CONFIG)
    assert "".join(pieces) == plain.text[:4]


def test_text_that_was_held_back_is_written_before_an_error_ends_it(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())
    (plain,) = generator.generate("The", seed=1, config=CONFIG)
    faulty = [partial(Faulty, way="accept")]
    stops = [plain.text[3] + "\0"]
    request = Request(prompt="The", seed=1, config=CONFIG, stop=stops, processors=faulty)
    (text,) = written(generator, request)
    assert (text.finish_reason, text.result().text) == ("error", plain.text[:4])


def test_a_stop_string_in_what_the_decoder_held_back_does_not_hide_an_error(make_run: MakeRun) -> None:
    class HoldingDecoder(ByteDecoder):
        def flush(self) -> str:
            return "stop"

    generator = Generator.from_run(make_run())
    prompt = Prompt.from_text("The", generator.tokenizer, generator.vocab)
    text = SampleState(Request(prompt=prompt, stop=["stop"]), prompt)
    text._decoder = HoldingDecoder([])
    text.fail(ZeroDivisionError())
    assert (text.finish_reason, text.result().text) == ("error", "")


def test_a_processor_that_cannot_be_made_refuses_its_request_only(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())

    def make(prompt: Prompt) -> LogitsProcessor:
        raise ZeroDivisionError

    loop = GenerationLoop(generator.engine, generator.tokenizer)
    request = Request(prompt="The", seed=1, config=CONFIG)
    text = loop.submit(request)
    loop.step()
    with pytest.raises(ZeroDivisionError):
        loop.submit(dataclasses.replace(request, processors=[make]))
    finish(loop)
    assert text.result() == written(generator, request)[0].result()


# ---- mixed requests of a network


class Spy(LogitsProcessor):
    """Keeps the logits that it is given, and changes nothing."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def process(self, logits: np.ndarray) -> np.ndarray:
        self.rows.append(logits.copy())
        return logits


def near_boundary(generator: Generator, request: Request, place: int, distance: float = 1e-5) -> set[int]:
    """The token ids that a uniform number of the request decides for within a distance of it."""
    spy = Spy()
    written(generator, dataclasses.replace(request, processors=[*request.processors, lambda _: spy]))
    (seed,) = np.random.SeedSequence(request.seed).spawn(1)  # type: ignore[arg-type]
    uniform = np.random.default_rng(seed).random(place + 1)[place]
    near = np.clip(uniform + np.linspace(-distance, distance, 9), 0, 1 - 1e-9)
    rows = np.repeat(spy.rows[place].reshape(1, -1), len(near), axis=0)
    return set(generator.vocab.token_ids[choose(rows, request.config, near)].tolist())


def mixed_request(rng: np.random.Generator, token_ids: list[int]) -> Request:
    """A request with a bit of everything; none of its processors makes it draw twice for a token."""
    some = [int(token_id) for token_id in rng.choice(token_ids, 3)]
    factories: list[ProcessorFactory] = [
        CountPenalties(presence=0.5, frequency=1.0),
        LogitBias({some[0]: 4.0, some[1]: -100.0, 10**9: 1.0}),
        ForbiddenTokens(some[1:]),
        StopTokens(some[:1]),
        partial(Faulty, way="accept", number=int(rng.integers(1, 60))),
        partial(Faulty, way="process", number=int(rng.integers(1, 60))),
    ]
    max_new_tokens = int(rng.integers(1, 80))
    prompt = ("The quick brown fox jumps. Why? It is not known. " * 6)[: rng.integers(0, 250)]
    label = [None, "fox", "dog"][rng.integers(3)]
    return Request(
        prompt=prompt,
        label=label,
        mid_text=label is None and bool(rng.integers(2)),
        config=SampleConfig(
            max_new_tokens=max_new_tokens,
            min_new_tokens=int(rng.integers(0, max_new_tokens)),
            temperature=float(rng.choice([0.7, 1.0, 1.4])),
            top_k=[None, None, 9][rng.integers(3)],
            repetition_penalty=float(rng.choice([1.0, 1.2])),
        ),
        stop=["w", "th"][: rng.integers(3)],
        seed=int(rng.integers(1000)),
        processors=[factories[n] for n in rng.choice(len(factories), rng.integers(3), replace=False)],
        num_alternatives=int(rng.choice([0, 0, 5])),
        prompt_log_probabilities=bool(rng.integers(4) == 0),
    )


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_mixed_requests_that_join_leave_and_are_cancelled_give_the_texts_that_they_give_alone(
    make_run: MakeRun, kind: str
) -> None:
    """Or first differ where the uniform number lies within 1e-5 of a boundary between tokens."""
    start = {"char": {"end_of_text": False}, "bpe": {"end_of_text": True}}[kind]
    plain = Generator.from_run(make_run(kind=kind, **start))
    (start_id,) = plain.encode("\n") if kind == "char" else [plain.vocab.size - 1]
    generator = Generator.from_run(
        make_run("labelled", kind=kind, **start, labels=("fox", "dog"), start_id=int(start_id), num_layers=2)
    )
    rng = np.random.default_rng(8)
    loop = GenerationLoop(generator.engine, generator.tokenizer, max_batch_size=12)
    requests = [mixed_request(rng, generator.vocab.token_ids.tolist()) for _ in range(60)]
    texts = []
    for request in requests:
        texts.append(loop.submit(request))
        for _ in range(rng.integers(0, 8)):
            loop.step()
        if rng.integers(5) == 0:
            loop.cancel(texts[rng.integers(len(texts))])
    finish(loop)
    reasons = {text.finish_reason for text in texts}
    assert reasons >= {"length", "stop", "error", "cancelled"}
    for text, request in zip(texts, requests, strict=True):
        (alone,) = written(generator, request)
        drawn = len(text.token_ids)
        if text.finish_reason == "cancelled":
            assert alone.token_ids[:drawn] == text.token_ids or drawn <= len(alone.token_ids)
        same = next(
            (
                n
                for n, pair in enumerate(zip(text.token_ids, alone.token_ids, strict=False))
                if len({*pair}) == 2
            ),
            min(drawn, len(alone.token_ids)),
        )
        np.testing.assert_allclose(text.log_probabilities[:same], alone.log_probabilities[:same], atol=1e-5)
        if same < min(drawn, len(alone.token_ids)):
            assert text.token_ids[same] in near_boundary(generator, request, same)
        elif text.finish_reason != "cancelled":
            assert text.token_ids == alone.token_ids
            assert (text.finish_reason, text.result().text) == (alone.finish_reason, alone.result().text)


def test_near_a_boundary_are_only_the_tokens_beside_it(make_run: MakeRun) -> None:
    generator = Generator.from_run(make_run())
    request = Request(prompt="The", seed=1, config=CONFIG)
    (text,) = written(generator, request)
    found = [near_boundary(generator, request, place) for place in range(12)]
    assert found == [{token_id} for token_id in text.token_ids]
    assert len(near_boundary(generator, request, 0, distance=0.3)) > 1
