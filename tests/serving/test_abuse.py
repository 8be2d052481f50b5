"""What hostile clients do to a real server: memory stays bounded, and others are answered."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.serving.process import ServerProcess, serving

if TYPE_CHECKING:
    from tests.conftest import MakeRun

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MEGABYTE = 2**20
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def server(module_run: MakeRun) -> Iterator[ServerProcess]:
    with serving(module_run("fox").path) as running:
        running.write(prompt="The ", max_tokens=5)
        yield running


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def ask_normally(server: ServerProcess) -> None:
    """A normal request is answered before the server has worked for 1 s.

    Of its processor time: on a busy machine a clock measures other programs.
    """
    before = server.processor_seconds
    assert len(server.write(prompt="The ", max_tokens=5)) == 5
    assert server.processor_seconds - before < 1


@contextmanager
def unharmed(server: ServerProcess, *, megabytes: int = 50) -> Iterator[None]:
    """At the end of the block a normal request is answered in time, and memory has grown by no more."""
    before = server.resident_bytes
    yield
    ask_normally(server)
    assert server.resident_bytes - before < megabytes * MEGABYTE


def status_of(client: socket.socket) -> int:
    return int(client.recv(2**16).split(b" ")[1])


BODIES: dict[str, tuple[bytes, int]] = {
    "invalid UTF-8": (b'{"prompt": "\xff\xfe"}', 400),
    "deep lists": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "deep where it is ignored": (b'{"prompt": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "a huge number": (b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", 400),
    "no JSON": (b"\x00" * 1000, 400),
    "many empty lists": (b'{"prompt": [' + b"[]," * 500_000 + b"[]]}", 400),
    "many ids": (b'{"prompt": [' + b"1," * 1_000_000 + b"1]}", 400),
    "many names": (b"{" + b",".join(b'"%d":1' % n for n in range(300_000)) + b', "prompt": "a"}', 200),
    "too long": (b" " * (5 * MEGABYTE), 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_answered_and_harms_nobody(name: str, server: ServerProcess) -> None:
    body, expected = BODIES[name]
    with unharmed(server, megabytes=300):
        sender = in_background(lambda: server.ask("POST", "/v1/completions", body))
        time.sleep(0.01)
        ask_normally(server)
        status, answer = sender()
    assert status == expected, answer[:200]
    if status >= 400:
        assert json.loads(answer)["error"]["message"]


def in_background(work: Callable[[], tuple[int, bytes]]) -> Callable[[], tuple[int, bytes]]:
    """Starts the work; what it returns waits for the result."""
    results: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result() -> tuple[int, bytes]:
        thread.join(30)
        return results[0]

    return result


def test_a_body_of_a_gigabyte_is_refused_without_being_kept(server: ServerProcess) -> None:
    block = b"x" * MEGABYTE
    with unharmed(server), connect(server) as client:
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b"%x\r\n%s\r\n" % (len(block), block))
        with contextlib.suppress(ConnectionError):
            assert status_of(client) == 413


def test_half_sent_requests_take_no_place_from_others(server: ServerProcess) -> None:
    with unharmed(server), contextlib.ExitStack() as clients:
        for sent in (b"", b"POST /v1/comp", POST, POST + b"Content-Length: 1000\r\n\r\n{"):
            for _ in range(200):
                clients.enter_context(connect(server)).sendall(sent)


def test_readers_that_take_in_nothing_keep_no_text_in_memory(server: ServerProcess) -> None:
    body = json.dumps({"prompt": "The ", "max_tokens": 65_536, "stream": True, "logprobs": 5}).encode()
    with unharmed(server, megabytes=200), contextlib.ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(connect(server))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
            client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(2)
        ask_normally(server)
    assert running_texts_end(server)


def running_texts_end(server: ServerProcess) -> bool:
    """Whether the texts of clients that have gone away are given up."""
    deadline = time.monotonic() + 5
    while b"textgen_texts_running 0.0" not in server.ask("GET", "/metrics")[1]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_more_requests_than_may_wait_are_told_to_come_back(module_run: MakeRun) -> None:
    with serving(module_run("busy").path, "--max-streams", 1) as server:
        long = json.dumps({"prompt": "The ", "max_tokens": 60_000, "n": 100}).encode()
        with contextlib.ExitStack() as clients:
            for _ in range(3):
                client = clients.enter_context(connect(server))
                client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(long) + long)
            client.settimeout(10)
            head = client.recv(2**16)
            assert head.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1" in head.lower()


@pytest.mark.slow
def test_ten_thousand_idle_connections_harm_nobody(server: ServerProcess) -> None:
    with unharmed(server, megabytes=200), contextlib.ExitStack() as clients:
        with contextlib.suppress(OSError):  # this process or machine may allow no more
            for _ in range(10_000):
                clients.enter_context(connect(server))
        ask_normally(server)
