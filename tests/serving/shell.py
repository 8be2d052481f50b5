"""A small application behind the real guard and the real server, in a thread of the test."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from textgen.serving.guard import Guard
from textgen.serving.metrics import Account
from textgen.serving.server import TextServer, bind
from textgen.settings.serving import ServingConfig

BLOCK = b"x" * 2**16


async def length(request: Request) -> Response:
    """The length of the body; counts as tokens what the query says."""
    read, wrote = (int(request.query_params.get(name, 0)) for name in ("read", "wrote"))
    request.state.account = Account(read, wrote, time.perf_counter())
    return JSONResponse({"length": len(await request.body())})


async def blocks(request: Request) -> Response:
    """`n` blocks of 64 KiB, `pause` seconds apart."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(int(request.query_params.get("n", 10))):
            yield BLOCK
            await asyncio.sleep(float(request.query_params.get("pause", 0)))

    return StreamingResponse(body())


async def bug(request: Request) -> Response:
    raise ZeroDivisionError("secret \x1b[2J\nsecond line")


async def late_bug(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ZeroDivisionError("late")

    return StreamingResponse(body())


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


ROUTES = [
    Route("/", hello),
    Route("/health", hello),
    Route("/length", length, methods=["POST"]),
    Route("/blocks", blocks),
    Route("/bug", bug),
    Route("/late-bug", late_bug),
    Route("/things/{id}", hello),
]


@dataclass
class Answer:
    """A response that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error in the form of OpenAI's API."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        return found


@dataclass
class Shell:
    """A server that runs, and its guard."""

    guard: Guard
    port: int
    server: TextServer

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request, on a connection of its own; `_` stands for `-` in the names of headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A connection that has sent nothing."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@contextmanager
def shell(*, app: Any = None, keys: tuple[str, ...] = (), **config: Any) -> Iterator[Shell]:
    """Serve an application, on a free port of this machine, until the block ends."""
    guard = Guard(app or Starlette(routes=ROUTES), ServingConfig(port=0, **config), keys=keys)
    sockets = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = TextServer(guard, sockets, lambda line: ready.set(), "the tests")
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield Shell(guard, sockets[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
        for each in sockets:
            each.close()
