"""The engine thread: the one thread that steps the generation loops of all models.

    submit, cancel ─ inbox ─→ waiting ─→ GenerationLoop.step, of each loop in turn ─→ new text
       event loop                               engine thread                           │
    arrivals  ←─────────── call_soon_threadsafe, with what has come since the last ─────┘

Handing over every token by itself would cost more than drawing it, so tokens are collected; only the first
one of a text and its end are handed over at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from textgen.errors import TextgenError
from textgen.generation.loop import GenerationLoop
from textgen.generation.request import Request
from textgen.generation.sample import SampleState

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 0.025  # how long tokens are collected before they are handed over
_MANY_TEXTS = 64  # from which on they are collected for twice as long

MakeLoop = Callable[[], GenerationLoop]


class EngineError(Exception):
    """A text that could not be written; the cause is what the engine raised."""


class StoppedError(Exception):
    """The engine was stopped before the text had ended."""


@dataclass(frozen=True)
class Piece:
    """What was added to a text: it may be empty. num_tokens: drawn so far, of all of the text.

    finish_reason: as in Sample, with the last piece; else None.
    """

    text: str
    num_tokens: int
    finish_reason: str | None


class Text:
    """One text while it is written, as the event loop sees it.

    collect: whether it is handed over as one piece, at its end.
    sample: set with its first piece; its lists only grow, so that as many of their items as the piece has
        tokens may be read.
    """

    def __init__(self, engine: EngineThread, news: asyncio.Event, *, collect: bool) -> None:
        self.sample: SampleState | None = None
        self.collect = collect
        self.news = news  # set when a piece has come; texts of one request share it
        self._engine = engine
        self._parts: list[str] = []
        self._num_tokens = 0
        self._finish_reason: str | None = None
        self._error: Exception | None = None
        self._is_new = False
        self.is_over = False

    def receive(self, arrival: Arrival) -> None:
        """Take over what the engine has written."""
        if self._finish_reason is not None:  # cancelled in the meantime
            return
        self.sample = arrival.sample
        if arrival.text:
            self._parts.append(arrival.text)
        self._num_tokens = arrival.num_tokens
        self._finish_reason, self._error = arrival.finish_reason, arrival.error
        self._is_new = True
        self.news.set()

    def take(self) -> Piece | None:
        """All that has come since the last call; None: nothing. Raises EngineError where the text failed."""
        if not self._is_new:
            return None
        self._is_new = False
        text = "".join(self._parts)
        self._parts.clear()
        self.is_over = self._finish_reason is not None
        if self._error is not None:
            raise EngineError(str(self._error)) from self._error
        return Piece(text, self._num_tokens, self._finish_reason)

    def cancel(self) -> None:
        """End the text with finish reason "cancelled", before the next step; none that has ended."""
        if self._finish_reason is None:
            self._finish_reason, self._is_new = "cancelled", True
            self._engine.cancel(self)
            self.news.set()


async def arrivals(
    texts: Sequence[Text], idle_seconds: float | None = None
) -> AsyncIterator[list[tuple[int, Piece]]]:
    """What comes of the texts of one request, by their places, until all have ended.

    An empty list: nothing has come for idle_seconds. Raises EngineError as soon as one text fails.
    """
    news = texts[0].news
    while not all(text.is_over for text in texts):
        news.clear()
        found = [(place, piece) for place, text in enumerate(texts) if (piece := text.take()) is not None]
        if found:
            yield found
            continue
        if not await _wait(news, idle_seconds):
            yield []


async def _wait(news: asyncio.Event, idle_seconds: float | None) -> bool:
    """Wait for news; False: there was none for idle_seconds. As asyncio.timeout, for a tenth of its cost."""
    is_idle = False

    def give_up() -> None:
        nonlocal is_idle
        is_idle = True
        news.set()

    if idle_seconds is None:
        return await news.wait()
    timer = asyncio.get_running_loop().call_later(idle_seconds, give_up)
    try:
        await news.wait()
    finally:
        timer.cancel()
    return not is_idle


@dataclass(frozen=True)
class Arrival:
    """What a text got since it was last handed over. error: why it failed; else None."""

    sample: SampleState | None
    text: str
    num_tokens: int
    finish_reason: str | None
    error: Exception | None = None


@dataclass(eq=False)
class _Job:
    """A text on the engine's side. parts: text that is still to be handed over."""

    text: Text
    model: str
    request: Request
    sample: SampleState | None = None
    parts: list[str] = field(default_factory=list)
    is_begun: bool = False  # handed over at least once

    def arrival(self, error: Exception | None = None) -> Arrival:
        """What has come since the last time."""
        sample = self.sample
        text = "".join(self.parts)
        self.parts.clear()
        self.is_begun = True
        error = error or (None if sample is None else sample.error)
        reason = "error" if error is not None else None if sample is None else sample.finish_reason
        return Arrival(sample, text, 0 if sample is None else len(sample.token_ids), reason, error)


class EngineThread:
    """Steps the loops of all models in turn, in one thread, with at most max_streams texts at once.

    make_loops: for each model, a function that makes its loop: again after an error in a step, which ends
        the texts of that loop only.
    """

    def __init__(self, make_loops: Mapping[str, MakeLoop], *, max_streams: int) -> None:
        self._make_loops = make_loops
        self._loops = {model: make() for model, make in make_loops.items()}
        self._max_streams = max_streams
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._waiting: deque[_Job] = deque()
        self._running: dict[SampleState, _Job] = {}
        self._job_of: dict[Text, _Job] = {}
        self._num_submitted = self._num_taken = 0  # written by one thread each
        self._deadline: float | None = None  # when to stop; None: not yet
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._events: asyncio.AbstractEventLoop | None = None

    @property
    def running(self) -> int:
        """How many texts are being written or their prompts read."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many texts wait for a place."""
        return self._num_submitted - self._num_taken

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; called in the event loop, which gets what it writes."""
        self._events = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread when no text is left, or after timeout seconds; then what is left fails.

        It blocks: not to be called in the event loop.
        """
        self._inbox.put(lambda: self._stop_at(time.monotonic() + timeout))
        self._thread.join()

    def submit(self, model: str, requests: Sequence[Request], *, collect: bool = False) -> list[Text]:
        """Add the texts of one request, in the event loop. collect: as in Text."""
        news = asyncio.Event()
        jobs = [_Job(Text(self, news, collect=collect), model, request) for request in requests]
        self._num_submitted += len(jobs)
        self._inbox.put(lambda: self._enqueue(jobs))
        return [job.text for job in jobs]

    def cancel(self, text: Text) -> None:
        """Free the place of a text; called by Text.cancel."""
        self._inbox.put(lambda: self._drop(text))

    # The rest runs in the engine thread.

    def _run(self) -> None:
        flushed = time.monotonic()
        while True:
            is_idle = not (self._waiting or self._running)
            if is_idle and self._deadline is not None:
                break
            if is_idle:
                self._inbox.get()()
            while not self._inbox.empty():
                self._inbox.get()()
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._fail(list(self._job_of.values()), StoppedError("the server has stopped"))
                break
            self._admit()
            urgent = self._step()
            now = time.monotonic()
            if now - flushed >= self._seconds_between_flushes():
                flushed = now
                urgent |= dict.fromkeys(self._to_flush())
            if urgent:
                self._hand_over([(job.text, job.arrival()) for job in urgent])

    def _seconds_between_flushes(self) -> float:
        # Each text that is handed over costs the event loop as much as it takes to draw several tokens.
        return _FLUSH_SECONDS * (1 + min(1.0, len(self._running) / _MANY_TEXTS))

    def _to_flush(self) -> list[_Job]:
        return [job for job in self._running.values() if job.is_begun and not job.text.collect]

    def _enqueue(self, jobs: Sequence[_Job]) -> None:
        self._waiting += jobs
        self._job_of |= {job.text: job for job in jobs}

    def _stop_at(self, deadline: float) -> None:
        self._deadline = deadline

    def _drop(self, text: Text) -> None:
        job = self._job_of.pop(text, None)
        if job is None:  # it has ended
            return
        if job.sample is None:
            self._waiting.remove(job)
            self._num_taken += 1
        else:
            self._loops[job.model].cancel(job.sample)
            del self._running[job.sample]

    def _admit(self) -> None:
        """Submit waiting texts to their loops while there are places."""
        while self._waiting and len(self._running) < self._max_streams:
            job = self._waiting.popleft()
            self._num_taken += 1
            try:
                job.sample = self._loops[job.model].submit(job.request)
            except Exception as error:
                self._fail([job], error)
            else:
                self._running[job.sample] = job

    def _step(self) -> dict[_Job, None]:
        """One step of every loop that has texts. Returns the texts to hand over at once."""
        urgent: dict[_Job, None] = {}
        for model, loop in self._loops.items():
            if not loop.busy:
                continue
            try:
                progress = loop.step()
            except Exception as error:
                self._replace(model, error)
                continue
            for sample, piece in progress:
                job = self._running[sample]
                if piece:
                    job.parts.append(piece)
                if sample.finish_reason is not None:
                    del self._running[sample], self._job_of[job.text]
                    urgent[job] = None
                elif not job.is_begun and not job.text.collect:
                    urgent[job] = None
        return urgent

    def _replace(self, model: str, error: Exception) -> None:
        """Make a new loop for a model whose loop has failed, and fail its texts."""
        self._fail([job for job in self._running.values() if job.model == model], error)
        self._loops[model] = self._make_loops[model]()

    def _fail(self, jobs: Sequence[_Job], error: Exception) -> None:
        if not jobs:
            return
        if isinstance(error, TextgenError | StoppedError):
            _log.error("%d texts could not be written: %s", len(jobs), error)
        else:
            _log.error("%d texts could not be written", len(jobs), exc_info=error)
        for job in jobs:
            self._job_of.pop(job.text, None)
            if job.sample is not None:
                self._running.pop(job.sample, None)
        self._hand_over([(job.text, job.arrival(error)) for job in jobs])

    def _hand_over(self, arrived: Sequence[tuple[Text, Arrival]]) -> None:
        assert self._events is not None
        try:
            self._events.call_soon_threadsafe(_receive_all, arrived)
        except RuntimeError:  # the event loop is closed: nobody waits for them any more
            self._deadline = time.monotonic()


def _receive_all(arrived: Sequence[tuple[Text, Arrival]]) -> None:
    for text, arrival in arrived:
        text.receive(arrival)
