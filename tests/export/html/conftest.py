"""Pages of untrained runs, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import until, watch
from textgen.export.formats import export
from textgen.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]

# A writer of the page's model, run to its end: the text, its tokens and why it ended.
WRITE = """(request) => {
    const off = { label: null, temperature: 1, top_k: null, top_p: null, min_p: null, stops: [] };
    const writer = new Writer(model, { maxTokens: 50, seed: 1, ...off, ...request });
    while (!writer.ending) writer.step();
    return { text: writer.text, ids: writer.tokens.map(({ id }) => id), ending: writer.ending };
}"""
# The logits after each of some model ids.
LOGITS = """(ids) => {
    model.engine.reset();
    return ids.map((id) => {
        model.engine.read(id);
        return Array.from(model.engine.logits());
    });
}"""


def shown(page: Page) -> str:
    """The text that the page shows, once it has ended."""
    until(page, "sheet.writer?.ending")
    return str(page.locator("#text").text_content())


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """open_page(run, fragment="", context={}, **options of the export): its page.

    Errors in the console, dialogs and requests fail the test.
    """
    problems: list[str] = []
    contexts = []

    def visit(run: Run, fragment: str = "", context: dict[str, Any] | None = None, **options: Any) -> Page:
        output = tmp_path / f"page{len(contexts)}.html"
        export(run, "html", output, **{"cache_dir": str(tmp_path / "cache")} | options)
        opened = browser.new_context(**(context or {}))
        contexts.append(opened)
        page = opened.new_page()
        watch(page, problems, ("file:", "data:"))
        page.goto(output.as_uri() + fragment)
        return page

    yield visit
    for opened in contexts:
        opened.close()
    assert not problems
