"""Progress of a training run: lines of text, and a progress bar in a terminal or a notebook."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from textgen.system.terminal import one_line, unguarded

if TYPE_CHECKING:
    from tqdm import tqdm


class Reporter:
    """Writes lines to a stream, and shows a bar on standard error in a terminal, or in a notebook's cell.

    stream None is silent: no lines and no bars. When the stream is closed (`textgen train ... |
    head`), lines are dropped and the work continues.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.shows_bars = stream is not None and (_is_terminal(sys.stderr) or _in_notebook())
        self._bar: tqdm[Any] | None = None
        self._bar_name = ""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is written, so that a line need not even be computed."""
        return self.stream is None

    def line(self, text: str = "") -> None:
        """Write one line, above the bar if there is one."""
        if self.stream is None:
            return
        try:
            if self._bar is not None:
                self._bar.clear()
            print(text, file=self.stream, flush=True)
            if self._bar is not None:
                self._bar.refresh()
        except BrokenPipeError:
            # What Python has buffered for the stream is written when it exits, and must not fail then.
            with suppress(OSError, AttributeError):  # a stream of a notebook or a test has no descriptor
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            self.stream = None

    def work(self, what: str, done: int, total: int) -> None:
        """Show a bar for a piece of work, in bytes or tokens; it disappears when done reaches total."""
        if not self.shows_bars:
            return
        if done >= total:
            self.close()
            return
        bar = self._show(what, total=total, desc=f"{one_line(what)}: ", unit="", unit_scale=True)
        bar.update(done - bar.n)

    def training(self, progress: float, figures: str) -> None:
        """Show the training bar at a progress from 0 to 1, followed by figures."""
        if not self.shows_bars:
            return
        layout = "{percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}"
        bar = self._show("training", total=1.0, initial=progress, bar_format=layout, dynamic_ncols=True)
        bar.set_postfix_str(one_line(figures), refresh=False)
        bar.n = min(progress, 1.0)
        bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, name: str, **options: Any) -> tqdm[Any]:
        """The bar of this name, made with these options of tqdm if it is not the one on show."""
        if self._bar is None or self._bar_name != name:
            self.close()
            self._bar, self._bar_name = _new_bar(leave=False, **options), name
        return self._bar


def _new_bar(**options: Any) -> tqdm[Any]:
    # Imported when a bar is shown: tqdm.auto is slow to import, because it loads asyncio.
    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns and shows a text bar, which is good enough.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm
    # A bar moves the cursor; what it says is made visible before.
    return tqdm(file=unguarded(sys.stderr), **options)


def _is_terminal(stream: TextIO | None) -> bool:
    # Python sets sys.stderr to None where standard error is closed.
    return stream is not None and stream.isatty()


def _in_notebook() -> bool:
    return "ipykernel.zmqshell" in sys.modules


class Speedometer:
    """Training speed in tokens per second since the last reading, or since it was made.

    Time spent inside `stopped` does not count.
    """

    def __init__(self) -> None:
        self._tokens = 0
        self._since = time.monotonic()  # seconds

    def count(self, tokens: int) -> None:
        """Add tokens that were trained on."""
        self._tokens += tokens

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock during the block."""
        started = time.monotonic()
        yield
        self._since += time.monotonic() - started

    def read(self) -> float:
        """Tokens per second since the last reading; starts again from zero."""
        now = time.monotonic()
        speed = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return speed
