"""The server process: its sockets, its ready line, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from textgen.errors import ConfigError
from textgen.serving.server import bind

ROOT = Path(__file__).parents[2]
# `textgen serve` without a run: the application of shell.py.
PROGRAM = """
import sys
from starlette.applications import Starlette
from tests.serving.shell import ROUTES
from textgen.serving.guard import Guard
from textgen.serving.server import logged, run
from textgen.settings.serving import ServingConfig
with logged():
    guard = Guard(Starlette(routes=ROUTES), ServingConfig(port=0, drain_seconds=float(sys.argv[1])))
    run(guard, lambda line: print(line, flush=True), "the tests")
"""


@contextmanager
def process(drain_seconds: float = 10) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own, and its port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(drain_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline().decode()
            assert line.startswith("Serving the tests at http://127.0.0.1:")
            yield started, int(line.rpartition(":")[2])
        finally:
            started.kill()


def stream(port: int, query: str) -> socket.socket:
    """A client whose response has begun."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(f"GET /blocks?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    return client


def received(client: socket.socket) -> bytes:
    """Everything until the connection is closed."""
    parts = []
    try:
        while part := client.recv(2**16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_responses_end_and_then_the_server_exits_with_0(number: signal.Signals) -> None:
    with process() as (server, port), stream(port, "n=4&pause=0.2") as client:
        server.send_signal(number)
        assert received(client).endswith(b"0\r\n\r\n")
        output, log = server.communicate(timeout=10)
        assert server.returncode == 0
        assert b"Ending: 1 request may go on for 10 s" in output
        assert b"GET /blocks 200, 0 tokens in, 0 out, " in log


def test_an_idle_server_ends_at_once() -> None:
    with process() as (server, port), socket.create_connection(("127.0.0.1", port)) as idle:
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert time.monotonic() - began < 3
        assert not received(idle)


def test_what_runs_too_long_is_cut_off() -> None:
    with process(drain_seconds=0.3) as (server, port), stream(port, "n=1000&pause=0.1") as client:
        server.send_signal(signal.SIGTERM)
        output, log = server.communicate(timeout=10)
        assert server.returncode == 0
        assert not received(client).endswith(b"0\r\n\r\n")
        assert b"1 request did not end in time" in output
        assert b"GET /blocks 499" in log
        assert b"Traceback" not in log


def test_a_second_signal_ends_the_server_at_once() -> None:
    with process() as (server, port), stream(port, "n=1000&pause=0.1"):
        server.send_signal(signal.SIGINT)
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"Ending")
        server.send_signal(signal.SIGINT)
        assert server.wait(5) == 130


def test_the_log_shows_control_characters_of_a_bug_and_its_traceback() -> None:
    with process() as (server, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /bug HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert received(client).startswith(b"HTTP/1.1 500 ")
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=10)
        assert log.count(b"Traceback (most recent call last)") == 1
        assert "secret \u241b[2J".encode() in log
        assert b"\x1b" not in log


def test_a_port_that_is_in_use_is_an_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: .* name another --port") as error:
            bind("127.0.0.1", port)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a b", "192.0.2.1", "\ud800"])
def test_an_address_that_this_machine_does_not_have_is_an_error_of_one_line(host: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        bind(host, 0)


def test_all_addresses_of_a_name_have_the_same_port() -> None:
    sockets = bind("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    for each in sockets:
        each.close()
