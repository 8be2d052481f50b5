"""A server that is measured, and a client of plain sockets that only waits for bytes."""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from textgen.generation.generator import Generator
from textgen.run import Run
from textgen.system.threads import numpy_threads

PROMPT = " "
DONE = b"data: [DONE]"
TIMEOUT = 120  # seconds


class LoadServer:
    """`textgen serve` in a process of its own, while the block runs."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def __enter__(self) -> LoadServer:
        command = [sys.executable, "-m", "textgen", "serve", str(self.run), "--port", "0"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        found = re.search(r"http://[^ ]*:(\d+)", self._process.stdout.readline())
        if found is None:
            raise click.ClickException("the server did not start")
        self.port = int(found[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    @cached_property
    def generator(self) -> Generator:
        """The same run in this process."""
        return Generator.from_run(Run(self.run), None, numpy_threads())

    @property
    def megabytes(self) -> float:
        """The server's anonymous memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def send(self, **settings: Any) -> socket.socket:
        """Send a request for a completion on a connection of its own."""
        body = json.dumps({"prompt": PROMPT} | settings).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        client = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        return client

    def stream(self, num_tokens: int, seed: int = 0) -> socket.socket:
        """Send a request for a stream of so many tokens."""
        return self.send(max_tokens=num_tokens, seed=seed, stream=True, temperature=0.8)


def finished(client: socket.socket) -> None:
    """Read a stream to its end. Raises ClickException if it is cut off."""
    end = b""
    with client:
        while block := client.recv(2**16):
            end = (end + block)[-100:]
    if DONE not in end:
        raise click.ClickException(f"a stream was cut off: {end!r}")


def first_token_seconds(server: LoadServer) -> float:
    """From sending a request until its first token is there."""
    started = time.perf_counter()
    with server.stream(2) as client:
        received = b""
        while b"data: " not in received:
            received += client.recv(2**16)
        waited = time.perf_counter() - started
        while client.recv(2**16):
            pass
    return waited


def side_by_side(clients: Sequence[socket.socket]) -> list[float]:
    """Read streams to their ends, in one thread; returns how many seconds each took from now."""
    started = time.perf_counter()
    times: list[float] = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while len(times) < len(clients):
            for key, _ in selector.select():
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if not client.recv(2**16):
                    times.append(time.perf_counter() - started)
                    selector.unregister(client)
                    client.close()
    return times
