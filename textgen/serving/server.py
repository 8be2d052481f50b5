"""The server process: sockets, uvicorn in this process, and an orderly end.

bind -> uvicorn -> ready: say the addresses -> a signal: running texts may end -> exit
                                               a second signal: exit at once
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

from uvicorn.config import Config
from uvicorn.server import Server

from textgen.errors import ConfigError
from textgen.serving.connections import ConnectionPool, protocol_of
from textgen.serving.guard import Guard
from textgen.system.exits import exit_at_signals
from textgen.system.terminal import visible

BACKLOG = 2048  # connections that wait to be accepted
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOKS_PER_SECOND = 50  # at whether all texts have ended
_CUT_SECONDS = 2  # for the application to notice that its connections are closed
_DAY = 24 * 3600  # seconds

_ADVICE = {
    errno.EADDRINUSE: "another program uses it; name another --port, or 0 for a free one",
    errno.EACCES: "it needs more rights; use a --port of 1024 or more",
    errno.EADDRNOTAVAIL: "this machine does not have that address; use another --host",
}


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for each address of a host, all on one port; port 0 picks a free one. "" is every address.

    Raises ConfigError, with what to do.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: {error}; name an address of this machine") from None
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as opened:
        for family, _, _, _, address in dict.fromkeys(found):
            # Where the port was picked, the other addresses take the same.
            place = (address[0], bound[0].getsockname()[1] if bound else address[1], *address[2:])
            try:
                bound.append(opened.enter_context(_bound_socket(family, place)))
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:  # a machine without IPv6
                    continue
                reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
                advice = _ADVICE.get(error.errno or 0, "use another --host or --port")
                raise ConfigError(f"{_url(place[0], place[1])}: {reason}: {advice}") from None
        opened.pop_all()
    return bound


def run(guard: Guard, say: Callable[[str], None], what: str) -> None:
    """Serve until a signal comes.

    say: gets a line for people when the server is ready, with its addresses and `what` it serves, and when
        its end begins.

    Returns when running texts have ended, or had the time for it. The main thread must call it, if signals
    shall end it; from another one, `Server.should_exit` does.

    Raises ConfigError for an address that cannot be used.
    """
    config = guard.config
    sockets = bind(config.host, config.port)
    try:
        server = TextServer(guard, sockets, say, what)
        server.run(sockets)
    finally:
        for each in sockets:
            each.close()


class TextServer(Server):
    """uvicorn's server for a guard: says when it is ready, and lets running texts end."""

    def __init__(
        self, guard: Guard, sockets: list[socket.socket], say: Callable[[str], None], what: str
    ) -> None:
        self._guard, self._say, self._what = guard, say, what
        self._pool = ConnectionPool(guard.config)
        self._addresses = [_url(*each.getsockname()[:2]) for each in sockets]
        self._ending: asyncio.Task[None] | None = None
        super().__init__(
            Config(
                guard,
                http=protocol_of(self._pool),
                loop="asyncio",
                ws="none",
                lifespan="on",
                backlog=BACKLOG,
                timeout_keep_alive=_DAY,  # connections.py decides
                timeout_graceful_shutdown=_CUT_SECONDS,
                proxy_headers=False,
                server_header=False,
                access_log=False,  # the guard's
                log_config=None,
                log_level="critical",  # what can go wrong is logged by the guard
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say the addresses."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._say(f"Serving {self._what} at {' and '.join(self._addresses)}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the first signal end the server in order, and the second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        exit_at_signals()  # the next one
        self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        """Refuse new requests, wait for those that run, and close their connections when the time is over."""
        guard = self._guard
        guard.draining = True
        if guard.running:
            limit = guard.config.drain_seconds
            running = _requests(guard.running)
            self._say(f"Ending: {running} may go on for {limit:g} s; a second signal ends it at once")
            deadline = self._loop.time() + limit
            while guard.running and self._loop.time() < deadline:
                await asyncio.sleep(1 / _LOOKS_PER_SECOND)
        if guard.running:
            self._say(f"{_requests(guard.running)} did not end in time")
            self._pool.abort_all()
        self.should_exit = True


class LogLines(logging.StreamHandler[TextIO]):
    """Writes the server's log on standard error, control characters made visible."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        return visible(super().format(record))


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """In the block, what textgen.serving logs is written on standard error."""
    logger = logging.getLogger("textgen.serving")
    handler, level, propagates = LogLines(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _bound_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)  # a port that is in use may be noticed only now
    except OSError:
        made.close()
        raise
    return made


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"
