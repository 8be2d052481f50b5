"""The page in a real browser, from a real server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser import PATIENCE, until, watch
from tests.serving.shell import shell
from textgen.generation.request import Request
from textgen.serving.asgi import app
from textgen.serving.metrics import Metrics
from textgen.serving.service import Service
from textgen.serving.status_routes import status_routes
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.conftest import MakeRun


@dataclass(frozen=True)
class PageServer:
    """A server that runs, and the service behind it."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def running(self) -> int:
        """How many texts are being written, or wait."""
        return self.service.engine.running + self.service.engine.waiting


ServePage = Callable[..., PageServer]
Visit = Callable[..., "Page"]
PROMPT = "The quick"
# Markup, control characters, and several scripts.
NASTY = (
    "</script><script>window.hacked = 1</script> <img src=x onerror=hacked=1> &amp; {script} <!--\n"
    "\tÉtude 中文\u202eabc\x07\r\n"
) * 4


@pytest.fixture
def serve_page(make_run: MakeRun) -> Iterator[ServePage]:
    """serve_page(keys=(), name={options of make_run}): a server of untrained runs, by name."""
    with contextlib.ExitStack() as running:

        def start(*, keys: tuple[str, ...] = (), **runs: Mapping[str, Any]) -> PageServer:
            paths = {name: make_run(name, **options).path for name, options in (runs or {"tiny": {}}).items()}
            application = app(paths, routes=status_routes(Metrics()))
            server = running.enter_context(shell(app=application, keys=keys))
            return PageServer(server.port, application.state.service)

        yield start


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(url, complaints=False, **browser options): the page; errors in its console fail the test.

    complaints: whether the browser may complain of requests that failed, as it does of a server that is away.
    """
    expect.set_options(timeout=1000 * PATIENCE)
    problems: list[str] = []
    contexts = []

    def open_page(url: str, *, complaints: bool = False, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        page = context.new_page()
        ignored = "Failed to load resource" if complaints else None
        watch(page, problems, (url, "data:", "blob:"), ignored)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


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


def texts(page: Page) -> list[str]:
    """The text of every column, with its prompt."""
    found = page.evaluate("columns.list.map(({ branch }) => branch.text)")
    assert isinstance(found, list)
    return found


def token(page: Page, place: int, column: int = 0) -> Locator:
    return page.locator(".branch .text").nth(column).locator("span > span, div > span").nth(place)


def sampled(page: Page, server: PageServer, num_tokens: int = 20, **request: Any) -> str:
    """What `textgen sample` writes with the run that the page shows."""
    model = server.service.models[page.locator("#name").inner_text()]
    config = SampleConfig(max_new_tokens=num_tokens)
    return "".join(model.generator.stream_request(Request(config=config, **request)))
