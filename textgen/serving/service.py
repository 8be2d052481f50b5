"""Service: what all routes share, from the start of the server to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from textgen.serving.engine_thread import EngineThread, Text
from textgen.serving.errors import ApiError, too_many
from textgen.serving.jobs import Job
from textgen.serving.models import ServedModel
from textgen.serving.parsing import Kind, parsed
from textgen.settings.request_limits import RequestLimits

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# Bytes of a body that are parsed and tokenized in the event loop: more would be felt by other clients.
_SHORT_BODY = 2**12
_FEW_TOKENS = 1000  # whose log-probabilities are written as JSON in the event loop
_WORKERS = 2  # for more
_NAMES_LOGGED, _NAME_CHARACTERS = 10, 40
_NAMES_SHOWN = 20


class Service:
    """The models, the engine that writes with them, and the workers for what would block the event loop."""

    def __init__(self, models: Mapping[str, ServedModel], limits: RequestLimits) -> None:
        self.models = dict(models)
        self.limits = limits
        self.engine = EngineThread(
            {name: model.loop for name, model in models.items()}, max_streams=limits.max_streams
        )
        self.workers = ThreadPoolExecutor(_WORKERS, "reader")
        # One text at a time: scoring takes a processor from those who wait for the engine.
        self.scorer = ThreadPoolExecutor(1, "scorer")
        self.num_scored = 0  # texts that are being scored, or wait for it

    def start(self) -> None:
        """Start the engine; called in the event loop."""
        self.engine.start()

    async def stop(self) -> None:
        """End all texts that are still being written, and the threads."""
        await asyncio.to_thread(self.engine.stop, 0.0)
        self.workers.shutdown(wait=False, cancel_futures=True)
        self.scorer.shutdown(wait=False, cancel_futures=True)

    def model(self, name: str) -> ServedModel:
        """The model that a request names; the only one has any name. Raises ApiError."""
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        if name not in self.models:
            known = ", ".join(list(self.models)[:_NAMES_SHOWN])
            code = "model_not_found"
            if not name:
                raise ApiError(400, f"model: name one of {known}", param="model", code=code)
            raise ApiError(
                404, f"model: there is none of that name; there are {known}", param="model", code=code
            )
        return self.models[name]

    async def read(self, request: Request, kind: type[Kind], use: Callable[[Kind], Result]) -> Result:
        """What `use` makes of the body of a request, in a worker if the body is long. Raises ApiError."""
        body = await request.body()

        def work() -> tuple[Result, list[str]]:
            found, unknown = parsed(body, kind)
            return use(found), unknown

        result, unknown = await self._run(work, is_long=len(body) > _SHORT_BODY)
        if unknown:
            _log.warning("ignored unknown fields: %s", _sanitised(unknown))
        return result

    async def compute(self, num_tokens: int, work: Callable[[], Result]) -> Result:
        """What `work` returns, in a worker if it looks at many tokens."""
        return await self._run(work, is_long=num_tokens > _FEW_TOKENS)

    async def _run(self, work: Callable[[], Result], *, is_long: bool) -> Result:
        """What `work` returns: in a worker if it takes long, else here in the event loop."""
        if not is_long:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    def submit(self, job: Job) -> list[Text]:
        """Hand the texts of a job to the engine. Raises ApiError (429) where too many wait."""
        free = self.limits.max_streams - self.engine.running
        if self.engine.waiting + len(job.requests) > free + self.limits.max_waiting:
            raise too_many("texts are waiting")
        return self.engine.submit(job.model.name, job.requests, collect=not job.wanted.stream)


def service_of(request: Request) -> Service:
    """The service of the application that a request came to."""
    service: Service = request.app.state.service
    return service


def _sanitised(names: Sequence[str]) -> str:
    """A few names for the log, without what a terminal would obey."""
    shown = [ascii(name[:_NAME_CHARACTERS]) for name in names[:_NAMES_LOGGED]]
    return ", ".join(shown) + (", ..." if len(names) > _NAMES_LOGGED else "")
