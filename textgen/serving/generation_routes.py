"""The endpoints that write text: completions and chat."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from textgen.errors import ConfigError, TokenizerError
from textgen.generation.sample import SampleState
from textgen.serving.chat import ChatReply, chat_job
from textgen.serving.choices import ChoiceReader, Part
from textgen.serving.completions import CompletionReply, completion_job
from textgen.serving.engine_thread import EngineError, Piece, StoppedError, Text, arrivals
from textgen.serving.errors import RETRY_SECONDS, ApiError, failed, wrong
from textgen.serving.jobs import Job, usage_of
from textgen.serving.metrics import Account
from textgen.serving.models import ServedModel
from textgen.serving.replies import Reply
from textgen.serving.schema import ChatRequest, CompletionRequest, SamplingRequest
from textgen.serving.service import Service, service_of
from textgen.serving.streams import (
    CLIENT_GONE,
    DONE,
    PING,
    EventStream,
    as_json,
    event,
    json_response,
    when_gone,
)
from textgen.settings.request_limits import RequestLimits

Asked = TypeVar("Asked", bound=SamplingRequest)


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    return await _write(request, CompletionRequest, completion_job, CompletionReply)


async def chat(request: Request) -> Response:
    """POST /v1/chat/completions."""
    return await _write(request, ChatRequest, chat_job, ChatReply)


async def _write(
    request: Request,
    kind: type[Asked],
    make_job: Callable[[Asked, ServedModel, RequestLimits], Job],
    reply_class: type[Reply],
) -> Response:
    """Write the texts that a request asks for, and answer in a stream or at once. Raises ApiError."""
    service = service_of(request)

    def prepare(asked: Asked) -> tuple[Job, Reply]:
        if asked.stream_options is not None and not asked.stream:
            raise wrong("stream_options", "does nothing without stream; leave it out")
        job = make_job(asked, service.model(asked.model), service.limits)
        return job, reply_class(asked, job)

    job, reply = await service.read(request, kind, prepare)
    account = request.state.account = Account(job.num_prompt_tokens)
    answer = _Answer(service, job, reply, service.submit(job), account)
    if job.wanted.stream:
        return EventStream(answer.events(), answer.cancel)
    try:
        with when_gone(request.receive, answer.cancel):
            body = await answer.whole()
    except EngineError as error:
        raise _as_api_error(error) from error
    finally:
        answer.cancel()
    return Response(status_code=CLIENT_GONE) if body is None else json_response(body)


class _Answer:
    """One answer: the texts of a job, and what they become."""

    def __init__(
        self, service: Service, job: Job, reply: Reply, texts: Sequence[Text], account: Account
    ) -> None:
        self._service, self._job, self._reply, self._account = service, job, reply, account
        self._texts = texts
        self._readers = [
            ChoiceReader(prompt, job.wanted) for prompt in job.prompts for _ in range(job.wanted.num_written)
        ]

    def cancel(self) -> None:
        """End the texts that are still written."""
        for text in self._texts:
            text.cancel()

    async def whole(self) -> bytes | None:
        """The body of an answer at once; None: the client went away. Raises EngineError."""
        pieces: dict[int, Piece] = {}
        async for bunch in arrivals(self._texts):
            pieces |= bunch
            if any(piece.finish_reason == "cancelled" for _, piece in bunch):
                return None
        num_tokens = sum(piece.num_tokens for piece in pieces.values())
        return await self._service.compute(self._work(num_tokens), lambda: self._body(pieces))

    def _work(self, num_tokens: int) -> int:
        """How many tokens are looked at, of which so many are new."""
        wanted = self._job.wanted
        looks_at_prompts = wanted.alternatives is not None or wanted.token_ids
        prompts = self._job.num_prompt_tokens * wanted.num_written if looks_at_prompts else 0
        return prompts + num_tokens

    def _body(self, pieces: dict[int, Piece]) -> bytes:
        parts = [self._part(place, pieces[place]) for place in range(len(self._texts))]
        self._count()
        wanted, chosen = self._job.wanted, list[Part]()
        for first in range(0, len(parts), wanted.num_written):
            places = list(range(first, first + wanted.num_written))
            if wanted.ranks:
                places = sorted(places, key=lambda place: -self._readers[place].log_probability)
            chosen += [parts[place] for place in places[: wanted.num_returned]]
        return as_json(self._reply.whole(chosen, usage_of(self._job, self._account.completion_tokens)))

    async def events(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        begun: set[int] = set()
        try:
            async for bunch in arrivals(self._texts, self._service.limits.ping_seconds):
                if any(piece.finish_reason == "cancelled" for _, piece in bunch):
                    return
                work = self._work(0) if any(place not in begun for place, _ in bunch) else 0
                yield await self._service.compute(work, partial(self._chunks, bunch, begun)) or PING
            if self._reply.has_usage:
                yield event(self._reply.last(usage_of(self._job, self._account.completion_tokens)))
        except EngineError as error:
            yield event(_as_api_error(error).as_dict())
        yield DONE

    def _chunks(self, bunch: Sequence[tuple[int, Piece]], begun: set[int]) -> bytes:
        """The events of pieces by their places; begun: the places that have had one."""
        blocks = []
        for place, piece in bunch:
            part = self._part(place, piece)
            blocks.append(event(self._reply.chunk(place, part, is_first=place not in begun)))
            begun.add(place)
        self._count()
        return b"".join(blocks)

    def _part(self, place: int, piece: Piece) -> Part:
        sample: SampleState | None = self._texts[place].sample
        assert sample is not None  # set with its first piece
        return self._readers[place].part(sample, piece)

    def _count(self) -> None:
        account = self._account
        account.completion_tokens = sum(reader.num_new_tokens for reader in self._readers)
        if account.first_token_at is None and account.completion_tokens and self._job.wanted.stream:
            account.first_token_at = time.perf_counter()


def _as_api_error(error: EngineError) -> ApiError:
    """What the client is told: its own mistake, or only that the server has failed."""
    if isinstance(error.__cause__, ConfigError | TokenizerError):
        return ApiError(400, str(error))
    if isinstance(error.__cause__, StoppedError):
        return ApiError(503, "the server is stopping; try again later", retry_after=RETRY_SECONDS)
    return failed()
