"""What a person sees while a run trains: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm


class Reporter:
    """Writes lines to `stream`, and keeps a bar on standard error when a person looks at it.

    When nobody reads the stream any more (`textgen train ... | head`) the work goes on in silence.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.shows_bars = sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None
        self._closed = False

    def line(self, text: str = "") -> None:
        """Write one line, above the bar if there is one."""
        if self._closed:
            return
        try:
            if self._bar is not None:
                self._bar.clear()
            print(text, file=self.stream, flush=True)
            if self._bar is not None:
                self._bar.refresh()
        except BrokenPipeError:
            self._closed = True
            # What Python still holds for the stream must go somewhere when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def work(self, what: str, done: int, total: int) -> None:
        """Show how far a piece of work is (in bytes, or tokens); done = total ends its bar."""
        if not self.shows_bars:
            return
        if done >= total:
            self.close()
            return
        if self._bar is None or self._bar.desc != f"{what}: ":
            self.close()
            self._bar = tqdm(total=total, desc=f"{what}: ", unit="", unit_scale=True, leave=False)
        self._bar.update(done - self._bar.n)

    def training(self, progress: float, figures: str) -> None:
        """Show the training bar at a progress from 0 to 1, with figures behind it."""
        if not self.shows_bars:
            return
        if self._bar is None:
            layout = "{percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}"
            self._bar = tqdm(total=1.0, initial=progress, bar_format=layout, leave=False, dynamic_ncols=True)
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.n = min(progress, 1.0)
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Speedometer:
    """Tokens per second since it was made or last read, without the time in which it was stopped."""

    def __init__(self) -> None:
        self._tokens = 0
        self._since = time.monotonic()

    def count(self, tokens: int) -> None:
        """Note that so many tokens were trained on."""
        self._tokens += tokens

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        started = time.monotonic()
        yield
        self._since += time.monotonic() - started

    def read(self) -> float:
        """Tokens per second since the last reading; starts anew."""
        now = time.monotonic()
        speed = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return speed
