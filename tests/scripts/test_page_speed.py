"""The benchmark of the exported page runs and prints its figures."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.conftest import MakeRun


def test_it_prints_characters_per_second_and_the_time_to_first_text(
    make_run: MakeRun,
    browser: Browser,
    import_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page_speed = import_script("page_speed")
    monkeypatch.setattr(page_speed, "chromium", lambda: contextlib.nullcontext(browser))
    run = make_run()
    page_speed.main(["--run", str(run.path), "--seconds", "0.1", "--repeats", "1"])
    speed, wait = capsys.readouterr().out.splitlines()
    assert re.search(r": [\d,]+ characters/s$", speed)
    assert re.search(r" MB: first text after [\d,]+ ms$", wait)
