"""Requests of mixed lengths, of which some go away; each text is compared with that of its seed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from load.server import PROMPT, LoadServer
from textgen.generation.generator import Generator
from textgen.generation.request import Request, several_of
from textgen.settings.config import SampleConfig
from textgen.text.model_vocab import begin, start_id

LONGEST = 300  # tokens
LEAVING = 10  # one request in so many goes away
MARGIN = 1e-5
_STARTED_GROWING = 0.1  # of the requests, after which memory shall be flat


@dataclass
class Mixed:
    """What became of the requests. growth: of the server's memory after the first tenth, in MB."""

    answered: int
    left: int
    lost: int
    wrong: int
    different: int
    growth: float
    seconds: float


@dataclass(frozen=True)
class _Ask:
    """A request: its seed and length, whether it is streamed, and whether its client goes away."""

    seed: int
    length: int
    stream: bool
    leaves_after: float | None  # seconds


def mixed(server: LoadServer, number: int, at_a_time: int) -> Mixed:
    """Send them and judge what came back."""
    rng = np.random.default_rng(1)
    asks = [
        _Ask(
            seed,
            int(rng.integers(1, LONGEST + 1)),
            stream=bool(rng.integers(2)),
            leaves_after=float(rng.uniform(0, 0.2)) if seed % LEAVING == LEAVING - 1 else None,
        )
        for seed in range(number)
    ]
    sizes: list[float] = []
    lock = threading.Lock()

    def answer(ask: _Ask) -> str | None:
        text = _text(server, ask)
        with lock:
            sizes.append(server.megabytes)
        return text

    started = time.perf_counter()
    with ThreadPoolExecutor(at_a_time) as pool:
        texts = list(pool.map(answer, asks))
    seconds = time.perf_counter() - started
    stayed = [(ask, text) for ask, text in zip(asks, texts, strict=True) if ask.leaves_after is None]
    whole = [(ask, text) for ask, text in stayed if text is not None]
    differ = _different(server.generator, whole)
    wrong = sum(not _at_boundary(server.generator, ask, text) for ask, text in differ)
    return Mixed(
        answered=len(whole),
        left=len(asks) - len(stayed),
        lost=len(stayed) - len(whole),
        wrong=wrong,
        different=len(differ) - wrong,
        growth=max(sizes[int(_STARTED_GROWING * number) :]) - sizes[int(_STARTED_GROWING * number)],
        seconds=seconds,
    )


def _text(server: LoadServer, ask: _Ask) -> str | None:
    """The text that a request is answered with; None: it was not, or its client went away."""
    try:
        client = server.send(max_tokens=ask.length, seed=ask.seed, stream=ask.stream, temperature=1)
        with client:
            if ask.leaves_after is not None:
                time.sleep(ask.leaves_after)
                return None
            blocks = []
            while block := client.recv(2**16):
                blocks.append(block)
    except OSError:
        return None
    head, _, body = b"".join(blocks).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return None
    if not ask.stream:
        return str(json.loads(body)["choices"][0]["text"])
    if b"data: [DONE]" not in body:
        return None
    events = [line for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(json.loads(event[len(b"data: ") :])["choices"][0]["text"] for event in events)


def _request(ask: _Ask) -> Request:
    config = SampleConfig(max_new_tokens=ask.length, temperature=1.0)
    (request,) = several_of(Request(prompt=PROMPT, config=config, seed=ask.seed), 1)
    return request


def _different(generator: Generator, answers: Sequence[tuple[_Ask, str]]) -> list[tuple[_Ask, str]]:
    """Those whose text is not the one that is written alone."""
    found = []
    for ask, text in answers:
        (alone,) = generator.complete([_request(ask)])
        if alone.text != text:
            found.append((ask, text))
    return found


def _at_boundary(generator: Generator, ask: _Ask, text: str) -> bool:
    """Whether a text first differs where the uniform number is at the boundary between the two tokens."""
    request = _request(ask)
    (alone,) = generator.complete([request])
    place = next(
        (n for n, pair in enumerate(zip(alone.text, text, strict=False)) if len(set(pair)) > 1), None
    )
    if place is None:  # one of them is cut off
        return False
    assert isinstance(request.seed, np.random.SeedSequence)
    uniform = np.random.default_rng(request.seed).random(place + 1)[place]
    ids = generator.encode(PROMPT + alone.text[:place])
    engine = generator.engine
    engine.reset_state(1)
    logits = engine.advance(begin(ids, start_id(generator.vocab, generator.tokenizer))[None])[0]
    weights = np.exp(logits.astype(np.float64) - logits.max())
    sums = np.add.accumulate(weights) / weights.sum()
    two = sorted(int(generator.encode(character)[0]) for character in (alone.text[place], text[place]))
    between = sums[two[0] : two[1]]
    return bool((np.abs(between - uniform) <= MARGIN).any())
