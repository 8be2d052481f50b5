"""`textgen serve` as its users start it: in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ServerProcess:
    """A server that runs; `lines` has what it printed until it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.line = process.stdout.readline()
        found = re.search(r"http://[^ ]*:(\d+)", self.line)
        assert found is not None, f"it did not start: {self.line}{process.communicate()[1]}"
        self.port = int(found[1])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """The status and the body of a response; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def write(self, **settings: Any) -> str:
        """The text of a completion."""
        status, body = self.ask("POST", "/v1/completions", settings)
        assert status == 200, body
        return str(json.loads(body)["choices"][0]["text"])

    @property
    def resident_bytes(self) -> int:
        """Anonymous memory that the process has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return 1024 * int(found[1])

    @property
    def processor_seconds(self) -> float:
        """Processor time that the process has used, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; returns the exit code and the log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=40)
        return self.process.returncode, log


@contextmanager
def serving(*arguments: object) -> Iterator[ServerProcess]:
    """A server with these arguments, on a free port unless they name one, until the block ends."""
    chosen = list(map(str, arguments))
    port = [] if "--port" in chosen else ["--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", "serve", *chosen, *port],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield ServerProcess(process)
    finally:
        process.kill()
        with contextlib.suppress(ValueError):  # its output is closed
            process.communicate()
