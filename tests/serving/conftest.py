"""A real server in a thread, and the clients that talk to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from textgen.generation.generator import Generator
from textgen.generation.request import Request, several_of
from textgen.run import Run
from textgen.serving.asgi import app
from textgen.serving.service import Service
from textgen.settings.config import SampleConfig
from textgen.settings.request_limits import RequestLimits


@dataclass(frozen=True)
class Served:
    """A running server: its address, what it serves with, and two clients."""

    url: str
    service: Service
    openai: openai.OpenAI
    http: httpx.Client

    def post(self, path: str = "/v1/completions", **body: Any) -> Any:
        """The JSON that a request is answered with."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def error(self, path: str = "/v1/completions", **body: Any) -> tuple[int, dict[str, Any]]:
        """The status of a request that is refused, and its error."""
        answer = self.http.post(path, json=body)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["error"]

    def wait_until_idle(self, seconds: float = 5.0) -> float:
        """How many seconds it took until no text was left."""
        started = time.monotonic()
        while self.service.engine.running + self.service.engine.waiting:
            assert time.monotonic() - started < seconds, "texts are left"
            time.sleep(0.002)
        return time.monotonic() - started


Serve = Callable[..., Served]
Expected = Callable[..., list[str]]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """serve({name: run}, middleware=, routes=, **limits): a server, until the tests of the file are done."""
    running: list[tuple[uvicorn.Server, threading.Thread, Served]] = []

    def start(models: Mapping[str, Any], middleware: Any = (), routes: Any = (), **limits: Any) -> Served:
        paths = {name: source.path if isinstance(source, Run) else source for name, source in models.items()}
        application = app(paths, RequestLimits(**limits), middleware=middleware, routes=routes)
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        served = Served(url, application.state.service, client, httpx.Client(base_url=url, timeout=30))
        running.append((server, thread, served))
        return served

    yield start
    for server, thread, served in running:
        served.http.close()
        served.openai.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="module")
def run(module_run: Callable[..., Run]) -> Run:
    """A run that has seen end-of-text."""
    return module_run("fox", end_of_text=True)


@pytest.fixture(scope="module")
def served(serve: Serve, run: Run) -> Served:
    """A server of `run` under the name "fox"."""
    return serve({"fox": run})


@pytest.fixture(scope="module")
def generator(run: Run) -> Generator:
    """The generator of `run`."""
    return Generator.from_run(run)


@pytest.fixture(scope="module")
def expected(generator: Generator) -> Expected:
    """expected(prompt, seed, num_texts=1, tokens=24): what `textgen sample` writes at temperature 1."""

    def write(prompt: str, seed: int, num_texts: int = 1, tokens: int = 24) -> list[str]:
        config = SampleConfig(max_new_tokens=tokens, temperature=1.0)
        request = Request(prompt=prompt, config=config, seed=seed)
        return [sample.text for sample in generator.complete(several_of(request, num_texts))]

    return write
