"""Responses that notice when the client goes away, and server-sent events.

data: {"id": ..., "choices": [...]}     a chunk
: ping                                  nothing has come for a while
data: {"error": {...}}                  an error after the stream has begun
data: [DONE]                            the end
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from textgen.serving.errors import ApiError

CLIENT_GONE = 499  # the status that logs have for a client that went away
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def event(content: msgspec.Struct | Mapping[str, object]) -> bytes:
    """An event with some JSON."""
    return b"data: " + _encode(content) + b"\n\n"


def as_json(content: msgspec.Struct | Mapping[str, object]) -> bytes:
    """A body."""
    return _encode(content)


def json_response(body: bytes, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response of JSON."""
    return Response(body, status_code, headers, "application/json")


def error_response(error: ApiError) -> Response:
    """The response to a request that is refused or has failed."""
    return json_response(as_json(error.as_dict()), error.status, error.headers)


@contextlib.contextmanager
def when_gone(receive: Receive, cancel: Callable[[], None]) -> Iterator[None]:
    """Call `cancel` as soon as the client goes away while the block runs; its body must have been read."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


class EventStream(Response):
    """A response of events. It calls `cancel` when the client goes away, and when it ends before them."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], cancel: Callable[[], None]) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        self._cancel = cancel
        # Events must not wait in the buffer of a proxy.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            with when_gone(receive, self._cancel):
                start = {"type": "http.response.start", "status": self.status_code}
                await send({**start, "headers": self.raw_headers})
                async for block in self._events:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError as error:
            raise ClientDisconnect from error
        finally:
            self._cancel()
