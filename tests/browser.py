"""What tests of pages in a real browser share; the fixture `browser` is in conftest.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE = 90  # seconds to wait for the browser, because the machine may be busy


def watch(page: Page, problems: list[str], allowed: tuple[str, ...], ignored: str | None = None) -> None:
    """Add to `problems` what no page may do: errors, dialogs, lines in the console, requests to others.

    allowed: how the URLs of requests may begin. ignored: part of a line in the console that is no problem.
    """

    def on_console(text: str) -> None:
        if ignored is None or ignored not in text:
            problems.append(f"console: {text}")

    def on_request(url: str) -> None:
        if not url.startswith(allowed):
            problems.append(f"request to {url}")

    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: on_console(message.text))
    page.on("request", lambda request: on_request(request.url))


def until(page: Page, expression: str, seconds: float = PATIENCE) -> Any:
    """The value of an expression in the page once it is true; its policy forbids playwright's own wait."""
    limit = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < limit, f"{expression} is not true after {seconds} s"
        page.wait_for_timeout(20)
    return value


def serious_problems(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
