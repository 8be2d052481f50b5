"""The engine thread: texts that join, leave and fail while others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import pytest

from textgen.errors import damaged_weights
from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.request import Request
from textgen.serving.engine_thread import EngineError, EngineThread, Piece, StoppedError, Text, arrivals
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from tests.conftest import MakeRun

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def generator(module_run: MakeRun) -> Generator:
    return Generator.from_run(module_run())


def request(tokens: int = 20, seed: int = 1) -> Request:
    return Request(prompt="The ", config=SampleConfig(max_new_tokens=tokens), seed=seed)


def new_loop(generator: Generator) -> GenerationLoop:
    return GenerationLoop(generator.engine, generator.tokenizer)


def with_engine(
    generator: Generator,
    use: Callable[[EngineThread], Awaitable[Result]],
    *,
    make_loop: Callable[[], GenerationLoop] | None = None,
    max_streams: int = 64,
) -> Result:
    """What `use` returns, with an engine that is started and stopped around it."""

    async def run() -> Result:
        make = make_loop or (lambda: new_loop(generator))
        engine = EngineThread({"a": make, "b": lambda: new_loop(generator)}, max_streams=max_streams)
        engine.start()
        try:
            return await asyncio.wait_for(use(engine), 20)
        finally:
            await asyncio.to_thread(engine.stop, 0.0)

    # In a thread of its own, as the thread of a browser's tests has an event loop already.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(run())).result()


async def pieces_of(text: Text) -> AsyncIterator[Piece]:
    async for bunch in arrivals([text]):
        for _, piece in bunch:
            yield piece


async def all_of(text: Text) -> list[Piece]:
    return [piece async for piece in pieces_of(text)]


def test_each_text_is_that_of_its_request_whatever_else_runs(generator: Generator) -> None:
    requests = [request(5 + 7 * (seed % 5), seed) for seed in range(20)]

    async def use(engine: EngineThread) -> list[list[Piece]]:
        texts = [engine.submit("ab"[seed % 2], [each])[0] for seed, each in enumerate(requests)]
        return await asyncio.gather(*map(all_of, texts))

    found = with_engine(generator, use, max_streams=6)
    for pieces, each in zip(found, requests, strict=True):
        (sample,) = generator.complete([each])
        assert "".join(piece.text for piece in pieces) == sample.text
        assert pieces[-1].num_tokens == len(sample.token_ids)
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_the_first_token_comes_alone_and_the_others_in_bunches(generator: Generator) -> None:
    async def use(engine: EngineThread) -> list[Piece]:
        return await all_of(engine.submit("a", [request(3000)])[0])

    pieces = with_engine(generator, use)
    assert pieces[0].num_tokens < 300  # more than one where this thread is late to ask
    assert len(pieces) < 300


def test_a_text_that_is_collected_comes_at_its_end(generator: Generator) -> None:
    async def use(engine: EngineThread) -> list[Piece]:
        return await all_of(engine.submit("a", [request(2000)], collect=True)[0])

    (piece,) = with_engine(generator, use)
    assert piece.num_tokens == 2000


@pytest.mark.parametrize("max_streams", [64, 1])
def test_a_cancelled_text_frees_its_place_before_the_next_step(
    generator: Generator, max_streams: int
) -> None:
    async def use(engine: EngineThread) -> float:
        first, second = engine.submit("a", [request(10**6), request(10**6)])
        await anext(pieces_of(first))
        second.cancel()
        first.cancel()
        started = time.monotonic()
        while engine.running or engine.waiting:
            await asyncio.sleep(0.001)
        assert (await all_of(first))[-1].finish_reason == "cancelled"
        return time.monotonic() - started

    # Several times: another process may keep the processor for longer than this.
    assert min(with_engine(generator, use, max_streams=max_streams) for _ in range(5)) < 0.1


def test_no_more_texts_run_than_there_are_places(generator: Generator) -> None:
    async def use(engine: EngineThread) -> tuple[int, int]:
        texts = engine.submit("a", [request(10**6)] * 2) + engine.submit("b", [request(10**6)] * 3)
        await anext(pieces_of(texts[0]))
        counts = engine.running, engine.waiting
        for text in texts:
            text.cancel()
        return counts

    assert with_engine(generator, use, max_streams=2) == (2, 3)


class Breaking(GenerationLoop):
    """A loop whose third step fails."""

    num_steps = 0

    def step(self) -> list[tuple[object, str]]:  # type: ignore[override]
        self.num_steps += 1
        if self.num_steps == 3:
            raise damaged_weights()
        return super().step()  # type: ignore[return-value]


def test_an_error_in_a_step_ends_the_texts_of_its_loop_only(
    generator: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[GenerationLoop] = []

    def make_loop() -> GenerationLoop:
        kind = GenerationLoop if made else Breaking
        made.append(kind(generator.engine, generator.tokenizer))
        return made[-1]

    async def use(engine: EngineThread) -> tuple[list[Piece], list[Piece]]:
        (broken,), (other,) = engine.submit("a", [request(50)]), engine.submit("b", [request(50)])
        with pytest.raises(EngineError, match="weights are damaged"):
            await all_of(broken)
        (again,) = engine.submit("a", [request(50)])
        return await all_of(other), await all_of(again)

    other, again = with_engine(generator, use, make_loop=make_loop)
    assert other[-1].num_tokens == again[-1].num_tokens == 50
    assert "1 texts could not be written" in caplog.text


def test_what_one_text_raises_ends_only_that_text(generator: Generator) -> None:
    def broken(prompt: object) -> None:
        raise ValueError("no processor")

    async def use(engine: EngineThread) -> list[Piece]:
        bad = Request(prompt="The ", processors=[broken])  # type: ignore[list-item]
        (good,), (failing,) = engine.submit("a", [request(200)]), engine.submit("a", [bad])
        with pytest.raises(EngineError, match="no processor"):
            await all_of(failing)
        return await all_of(good)

    assert with_engine(generator, use)[-1].num_tokens == 200


def test_texts_that_are_left_when_the_engine_stops_fail(generator: Generator) -> None:
    async def use(engine: EngineThread) -> None:
        (text,) = engine.submit("a", [request(10**6)])
        await anext(pieces_of(text))
        assert engine.is_alive
        await asyncio.to_thread(engine.stop, 0.05)
        assert not engine.is_alive
        with pytest.raises(EngineError) as caught:
            await all_of(text)
        assert isinstance(caught.value.__cause__, StoppedError)

    with_engine(generator, use)


def test_texts_may_end_before_the_engine_stops(generator: Generator) -> None:
    async def use(engine: EngineThread) -> list[Piece]:
        (text,) = engine.submit("a", [request(2000)], collect=True)
        await asyncio.to_thread(engine.stop, 10.0)
        return await all_of(text)

    assert with_engine(generator, use)[-1].num_tokens == 2000


def test_an_idle_wait_is_reported(generator: Generator) -> None:
    async def use(engine: EngineThread) -> list[list[tuple[int, Piece]]]:
        texts = engine.submit("a", [request(10**6)], collect=True)
        bunches = []
        async for bunch in arrivals(texts, 0.02):
            bunches.append(bunch)
            if len(bunches) == 2:
                texts[0].cancel()
        return bunches

    first, second, *_, last = with_engine(generator, use)
    assert first == second == []
    assert last[0][1].finish_reason == "cancelled"


def test_a_long_prompt_does_not_hold_up_other_texts(generator: Generator) -> None:
    """Nor a cancellation: it acts between two pieces of the prompt."""

    async def use(engine: EngineThread) -> tuple[int, float]:
        long = Request(prompt="The dog. " * 40_000, config=SampleConfig(max_new_tokens=1))
        (running,) = engine.submit("a", [request(10**6)])
        pieces = pieces_of(running)
        await anext(pieces)
        (reading,) = engine.submit("a", [long])
        started = time.monotonic()
        before = (await anext(pieces)).num_tokens
        while time.monotonic() - started < 0.3:
            after = (await anext(pieces)).num_tokens
        assert reading.sample is None
        reading.cancel()
        started = time.monotonic()
        while engine.running > 1:
            await asyncio.sleep(0.001)
        seconds = time.monotonic() - started
        running.cancel()
        return after - before, seconds

    found = [with_engine(generator, use) for _ in range(3)]
    assert min(num_tokens for num_tokens, _ in found) > 10
    assert min(seconds for _, seconds in found) < 0.1
