"""The endpoints that write text: completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from textgen.errors import ConfigError, TokenizerError
from textgen.generation.sample import SampleState
from textgen.serving.completions import CompletionReply, completion_job
from textgen.serving.engine_thread import EngineError, StoppedError, Text, arrivals
from textgen.serving.errors import ApiError, failed, wrong
from textgen.serving.jobs import ChoiceReader, Job, Part, usage_of
from textgen.serving.replies import Reply
from textgen.serving.schema import CompletionRequest, SamplingRequest
from textgen.serving.service import RETRY_SECONDS, Service
from textgen.serving.streams import DONE, PING, EventStream, JsonResponse, event, when_gone

CLIENT_GONE = 499  # the status that logs have for a client that went away


@dataclass
class Account:
    """What a request cost, for logs and metrics; in request.state.account.

    first_token_at: time.perf_counter() when its first token was there; None: none yet.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_at: float | None = None


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    service: Service = request.app.state.service

    def prepare(asked: CompletionRequest) -> tuple[Job, Reply]:
        _check_stream(asked)
        job = completion_job(asked, service.model(asked.model), service.limits)
        return job, CompletionReply(asked, job)

    return await answer(request, *await service.read(request, CompletionRequest, prepare))


def _check_stream(asked: SamplingRequest) -> None:
    if asked.stream_options is not None and not asked.stream:
        raise wrong("stream_options", "does nothing without stream; leave it out")


async def answer(request: Request, job: Job, reply: Reply) -> Response:
    """Write the texts of a job, and answer in a stream or at once. Raises ApiError."""
    service: Service = request.app.state.service
    account = request.state.account = Account(job.num_prompt_tokens)
    texts = service.submit(job)

    def cancel() -> None:
        for text in texts:
            text.cancel()

    if job.wanted.stream:
        events = _events(job, reply, texts, account, service.limits.ping_seconds)
        return EventStream(events, cancel)
    try:
        with when_gone(request.receive, cancel):
            parts = await _all_parts(job, texts, account)
    except EngineError as error:
        raise _as_api_error(error) from error
    finally:
        cancel()
    if parts is None:
        return Response(status_code=CLIENT_GONE)
    return JsonResponse(reply.whole(parts, usage_of(job, account.completion_tokens)))


async def _all_parts(job: Job, texts: Sequence[Text], account: Account) -> list[Part] | None:
    """The whole choices in their order; None: the client went away. Raises EngineError."""
    written: list[list[tuple[float, Part]]] = [[] for _ in job.prompts]
    readers = _readers(job)
    found: list[Part | None] = [None] * len(texts)
    async for bunch in arrivals(texts):
        for place, piece in bunch:
            if piece.finish_reason == "cancelled":
                return None
            found[place] = readers[place].part(_sample(texts[place]), piece)
        _update(account, readers)
    for place, part in enumerate(found):
        assert part is not None
        written[place // job.wanted.num_written].append((readers[place].log_probability, part))
    if job.wanted.ranks:
        written = [sorted(each, key=lambda ranked: -ranked[0])[: job.wanted.num_returned] for each in written]
    return [part for each in written for _, part in each]


async def _events(
    job: Job, reply: Reply, texts: Sequence[Text], account: Account, ping_seconds: float
) -> AsyncIterator[bytes]:
    """The events of a stream."""
    readers = _readers(job)
    is_begun = [False] * len(texts)
    try:
        async for bunch in arrivals(texts, ping_seconds):
            blocks = []
            for place, piece in bunch:
                if piece.finish_reason == "cancelled":
                    return
                part = readers[place].part(_sample(texts[place]), piece)
                blocks.append(event(reply.chunk(place, part, is_first=not is_begun[place])))
                is_begun[place] = True
            _update(account, readers)
            yield b"".join(blocks) or PING
        if reply.has_usage:
            yield event(reply.last(usage_of(job, account.completion_tokens)))
    except EngineError as error:
        yield event(_as_api_error(error).as_dict())
    yield DONE


def _readers(job: Job) -> list[ChoiceReader]:
    """One for each text."""
    return [ChoiceReader(prompt, job.wanted) for prompt in job.prompts for _ in range(job.wanted.num_written)]


def _sample(text: Text) -> SampleState:
    assert text.sample is not None  # set with its first piece
    return text.sample


def _update(account: Account, readers: Sequence[ChoiceReader]) -> None:
    account.completion_tokens = sum(reader.num_new_tokens for reader in readers)
    if account.first_token_at is None and account.completion_tokens:
        account.first_token_at = time.perf_counter()


def _as_api_error(error: EngineError) -> ApiError:
    """What the client is told: its own mistake, or only that the server has failed."""
    if isinstance(error.__cause__, ConfigError | TokenizerError):
        return ApiError(400, str(error))
    if isinstance(error.__cause__, StoppedError):
        return ApiError(503, "the server is stopping; try again later", retry_after=RETRY_SECONDS)
    return failed()
