"""The page in a real browser, and a real server that can go away and come back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from textgen.serving.asgi import app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.conftest import MakeRun


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


class PageServer:
    """An application on a port of its own, which stays the same when it is stopped and started again."""

    def __init__(self, make_app: Callable[[], Starlette]) -> None:
        self._make_app = make_app
        self.application: Starlette
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def running(self) -> int:
        """How many texts are being written."""
        engine = self.application.state.service.engine
        return int(engine.running + engine.waiting)

    def start(self) -> None:
        self.application = self._make_app()
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(self.application, log_level="critical", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"


ServePage = Callable[..., PageServer]


@pytest.fixture
def serve_page(make_run: MakeRun) -> Iterator[ServePage]:
    """serve_page(name={options of make_run}, middleware=[...]): a server of untrained runs, by name."""
    servers: list[PageServer] = []

    def start(*, middleware: Any = (), **runs: Mapping[str, Any]) -> PageServer:
        paths = {name: make_run(name, **options).path for name, options in (runs or {"tiny": {}}).items()}
        servers.append(
            PageServer(lambda: app(paths, middleware=middleware, routes=[Route("/health", health)]))
        )
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(server, complaints=False, **browser options): the page; errors in its console fail the test.

    complaints: whether the browser may complain of requests that failed, as it does of a server that is away.
    """
    problems: list[str] = []
    contexts = []

    def open_page(server: PageServer, *, complaints: bool = False, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                None
                if complaints and "Failed to load resource" in message.text
                else problems.append(f"console: {message.text}")
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((server.url, "data:", "blob:"))
                else problems.append(f"request to {request.url}")
            ),
        )
        page.goto(server.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def until(page: Page, expression: str, seconds: float = 30) -> Any:
    """The value of an expression in the page once it is true; its policy forbids playwright's own wait."""
    limit = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < limit, f"{expression} is not true after {seconds} s"
        page.wait_for_timeout(20)
    return value


def set_slider(page: Page, name: str, value: float | str) -> None:
    """Move a slider to one of its values, as a hand would."""
    page.evaluate(
        """([name, value]) => {
            const input = byId(`slider-${name}`);
            input.value = SLIDERS.find((slider) => slider.name === name).values.indexOf(value);
            input.dispatchEvent(new Event("input"));
        }""",
        [name, value],
    )


def write(page: Page, prompt: str, *, seed: int, max_tokens: int = 20) -> None:
    """Write a text from a prompt, to its end."""
    page.fill("#prompt", prompt)
    page.fill("#seed", str(seed))
    set_slider(page, "max_tokens", max_tokens)
    page.click("#write")
    finished(page)


def finished(page: Page, column: int = 0) -> None:
    """Wait until a column has been written, and is shown as it is."""
    until(
        page,
        f"(({{branch, spans, isWriting}}) => !isWriting && branch.ending !== null"
        f" && spans.length === branch.tokens.length)(columns.list[{column}])",
    )
