"""Inspections to look at, and a real browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.conftest import MakeRun
    from textgen.analysis.inspection import Inspection

# Some of everything that could be markup, a placeholder or a command to someone.
NASTY = (
    'He said: "</script><script>window.hacked = 1</script>" <b>bold</b> <!-- {script} &amp; \\u003c '
    "<img src=x onerror=hacked=1>\n\n\tÉtude (2) 中文\u2028 \u202eabc\x07\r\n"
) * 3


@pytest.fixture
def nasty() -> str:
    """A text that would do harm if it were taken for anything but text."""
    return NASTY


@pytest.fixture
def inspect_text(make_run: MakeRun) -> Callable[..., Inspection]:
    """inspect_text(text=NASTY, known=text, **options of make_run): an untrained run reads a text."""

    def inspect(text: str = NASTY, known: str | None = None, **options: Any) -> Inspection:
        from textgen.analysis.inspection import inspect_run
        from textgen.analysis.opening import open_tokens

        run = make_run(text=known or text, **options)
        name = "</script><script>window.hacked = 2</script>"
        return inspect_run(run, open_tokens(run.tokenizer, run.tokenizer.encode(text), 5000, name))

    return inspect


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless; without one the test is skipped, or fails where it must run."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        # .ci/run sets it: there these tests must not pass by being skipped.
        refuse = pytest.fail if os.environ.get("TEXTGEN_NEEDS_BROWSER") else pytest.skip
        refuse("needs playwright and Chromium: apt-get install chromium")
    flags = ["no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update"]
    flags += ["disable-sync", "no-first-run"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=[f"--{flag}" for flag in flags])
        yield found
        found.close()
