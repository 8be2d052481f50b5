"""The connections of the server: bounded in number, and closed where a client sends or takes in nothing.

A connection is idle while it owes us the head of a request: from its beginning or the end of a response until
the next head is complete. While it is busy, guard.py limits the time of the body.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from textgen.settings.serving import ServingConfig

logger = logging.getLogger(__name__)

SPARE_FILES = 64  # of the limit on open files: for the runs, the log, and connections that are about to close
MOST_FILES = 2**20  # some systems have no limit, and would reserve memory for one that is huge


class ConnectionPool:
    """The open connections of a server, and their limits.

    max_connections: those of the config, or fewer where the system allows fewer open files.
    """

    def __init__(self, config: ServingConfig) -> None:
        self.config = config
        self.max_connections = min(config.max_connections, max(1, _raise_open_files() - SPARE_FILES))
        self._idle: dict[Connection, None] = {}  # in the order in which they became idle
        self._all: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> bool:
        """Take in a new connection, closing the oldest idle one when full. False: there is no place."""
        if len(self._all) >= self.max_connections:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            oldest.abort()
        self._all.add(connection)
        self._idle[connection] = None
        return True

    def became_idle(self, connection: Connection) -> None:
        """Put a connection at the end of the idle ones."""
        self._idle[connection] = None

    def became_busy(self, connection: Connection) -> None:
        """Take a connection out of the idle ones."""
        self._idle.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed; it may be forgotten already."""
        self._idle.pop(connection, None)
        self._all.discard(connection)

    def abort_all(self) -> None:
        """Close all connections, those too that a response is being sent on."""
        for connection in tuple(self._all):
            connection.abort()


class Connection(H11Protocol):
    """uvicorn's protocol of one connection, with the limits of a pool; made by `protocol_of`."""

    pool: ConnectionPool

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection into the pool, or close it."""
        super().connection_made(transport)
        if self.pool.add(self):
            self._expect_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the connection out of the pool."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read more of requests; the time for a head goes on until one is complete."""
        if self.transport.is_closing():  # asyncio may still deliver what had arrived
            return
        super().data_received(data)
        if self.is_busy:
            self._head_is_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have arrived already, or for the connection to close.

        A client that does not take in the end of a response keeps the connection open, and one may still be
        sending the body of a request that was refused: the time for a head ends both.
        """
        super().on_response_complete()
        if not self.is_busy:
            self.pool.became_idle(self)
            self._expect_head()

    def pause_writing(self) -> None:
        """Start the time that the client has to take in what waits for it."""
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.pool.config.send_seconds, self.abort)

    def resume_writing(self) -> None:
        """The client took it in."""
        super().resume_writing()
        self._send_timer = _cancel(self._send_timer)

    def abort(self) -> None:
        """Close the connection at once, whatever it still had to send."""
        self._forget()
        self.transport.abort()

    def _expect_head(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = self.loop.call_later(self.pool.config.head_seconds, self.abort)

    def _head_is_complete(self) -> None:
        self.pool.became_busy(self)
        self._head_timer = _cancel(self._head_timer)

    def _forget(self) -> None:
        self.pool.remove(self)
        self._head_timer = _cancel(self._head_timer)
        self._send_timer = _cancel(self._send_timer)


def protocol_of(pool: ConnectionPool) -> type[Connection]:
    """The protocol class for uvicorn whose connections belong to a pool."""
    return type("PooledConnection", (Connection,), {"pool": pool})


def _cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one; returns None, to be kept in its place."""
    if timer is not None:
        timer.cancel()
    return None


def _raise_open_files() -> int:
    """Raise the process's limit on open files as far as it goes; returns it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit for sockets
        return MOST_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
        except (ValueError, OSError):  # macOS has a second limit, of the kernel
            return soft
    return wanted if soft == resource.RLIM_INFINITY else min(soft, MOST_FILES)
