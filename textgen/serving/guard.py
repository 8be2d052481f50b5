"""The guard: an ASGI middleware around the whole application, which every request passes.

    request -> stopping? -> Host, Origin, key -> preflight? -> body, up to a limit -> application -> log line

What it lets through has its body in memory, so that the application never waits for a client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.responses import Response

from textgen.serving.access import Access
from textgen.serving.errors import ApiError, failed, unavailable
from textgen.serving.metrics import Account, Metrics
from textgen.serving.streams import CLIENT_GONE, error_response
from textgen.settings.serving import ServingConfig
from textgen.system.terminal import one_line

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

NO_ROUTE = "other"  # in the metrics, of a request that reached no route
_LONGEST_SHOWN = 200  # characters of a path in the log


class Guard:
    """An ASGI application that lets through to another one what may use it, and no more than its limits.

    draining: whether new requests get 503, because the server is about to end. running: how many requests are
    being answered.

    A route counts the tokens of its request in request.state.account.
    """

    def __init__(
        self, app: App, config: ServingConfig, *, metrics: Metrics | None = None, keys: Sequence[str] = ()
    ) -> None:
        self.draining = False
        self.running = 0
        self.config = config
        self.metrics = Metrics() if metrics is None else metrics
        self._app = app
        self._access = Access(config, keys)
        self._body_bytes = 0  # of all running requests

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or pass on the lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"unexpected {scope['type']!r}: this server speaks HTTP only")
        exchange = _Exchange(scope, receive, send)
        self.running += 1
        try:
            await self._answer(exchange)
        finally:
            self.running -= 1
            self._body_bytes -= exchange.body_bytes
            self._record(exchange)

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            await self._answer_or_raise(exchange)
        except ApiError as error:
            await exchange.refuse(error)
        except Exception:
            logger.exception("error while answering %s", exchange.name)
            # Where a response has begun, uvicorn closes the connection, because it is not complete.
            await exchange.refuse(failed())

    async def _answer_or_raise(self, exchange: _Exchange) -> None:
        headers = exchange.headers
        is_preflight = exchange.scope["method"] == "OPTIONS" and (
            {"origin", "access-control-request-method"} <= headers.keys()
        )
        exchange.added = self._access.cors_headers(headers, preflight=is_preflight)
        if self.draining:
            raise unavailable("the server is about to end; try again")
        # A browser asks first, and without the key.
        self._access.check("/" if is_preflight else exchange.scope["path"], headers)
        if is_preflight:
            await exchange.answer(Response(status_code=204))
            return
        await self._receive_body(exchange)
        if not exchange.went_away:
            await self._app(exchange.scope, exchange.receive, exchange.send)

    async def _receive_body(self, exchange: _Exchange) -> None:
        """Read the body of a request into memory. Raises ApiError for one that is too large or too slow."""
        config = self.config
        announced = exchange.headers.get("content-length", ["0"])[0]
        if announced.isdecimal() and int(announced) > config.max_body_bytes:
            raise _too_large(config.max_body_bytes)
        try:
            async with asyncio.timeout(config.body_seconds):
                async for chunk in exchange.chunks():
                    self._body_bytes += len(chunk)
                    if exchange.body_bytes > config.max_body_bytes:
                        raise _too_large(config.max_body_bytes)
                    if self._body_bytes > config.max_total_body_bytes:
                        raise unavailable("too many requests with large bodies; try again")
        except TimeoutError:
            exchange.added.append((b"connection", b"close"))
            message = f"the body of the request did not arrive within {config.body_seconds:g} s"
            raise ApiError(408, message, code="timeout") from None

    def _record(self, exchange: _Exchange) -> None:
        account = exchange.scope.get("state", {}).get("account", Account())
        status, seconds = exchange.final_status, time.perf_counter() - exchange.started
        route = getattr(exchange.scope.get("route"), "path", NO_ROUTE)
        self.metrics.count(route, status, account, exchange.started)
        reason = f" ({exchange.refused})" if exchange.refused else ""
        read, written = account.prompt_tokens, account.completion_tokens
        logger.info(
            "%s %d%s, %d tokens in, %d out, %.3f s", exchange.name, status, reason, read, written, seconds
        )


class _Exchange:
    """A request and its response.

    body_bytes: those of the request that were received. status: of the response; None before it has begun.
    refused: why the guard refused the request, in one word. added: headers of any response.
    """

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.body_bytes = 0
        self.status: int | None = None
        self.went_away = False
        self.refused: str | None = None
        self.added: list[tuple[bytes, bytes]] = []
        self.headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        self._receive, self._send = receive, send
        self._body = bytearray()
        self._is_handed_over = False
        self._is_complete = False

    @property
    def name(self) -> str:
        """Method and path for the log, without the query, which may hold text."""
        shown = f"{self.scope['method']} {self.scope['path']}"
        return one_line(shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}...")

    @property
    def final_status(self) -> int:
        """The status for log and metrics, once the application has returned."""
        if not self._is_complete and (self.went_away or self.status is not None):
            return CLIENT_GONE if self.went_away else 500
        return 500 if self.status is None else self.status

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, which are kept; ends early if the client goes away."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.went_away = True
                return
            chunk = message.get("body", b"")
            self.body_bytes += len(chunk)
            self._body += chunk
            yield chunk
            if not message.get("more_body", False):
                return

    async def receive(self) -> Message:
        """For the application: the whole body, then the disconnect of the client."""
        if not self._is_handed_over:
            self._is_handed_over = True
            body, self._body = bytes(self._body), bytearray()
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_complete:
            self.went_away = True
        return message

    async def send(self, message: Message) -> None:
        """For the application: send a part of the response, with our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-content-type-options", b"nosniff"),
                *self.added,
            ]
        elif not message.get("more_body", False):
            self._is_complete = True
        await self._send(message)

    async def answer(self, response: Response) -> None:
        """Send a whole response."""
        await response(self.scope, self.receive, self.send)

    async def refuse(self, error: ApiError) -> None:
        """Send an error, unless a response has begun."""
        if self.status is not None or self.went_away:
            return
        self.refused = error.code
        await self.answer(error_response(error))


def _too_large(limit: int) -> ApiError:
    message = f"the body of the request is larger than {limit:,} bytes, the most that this server takes"
    return ApiError(413, message, code="body_too_large")
