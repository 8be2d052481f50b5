"""Panics of the `tokenizers` library as errors of one line.

The library is written in Rust. Where its code, or that of its regular expressions, gives up, it panics: it
prints a report of many lines on standard error, and raises a BaseException that `except Exception` lets pass.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

_STDERR = 2


class LibraryPanic(Exception):
    """The library gave up; the message is its reason, in one line."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise a panic in the block as LibraryPanic, without the library's report.

    What is written to standard error during the block appears after it, or not at all after a panic. Blocks
    may overlap in several threads.
    """
    _capture.enter()
    panicked = False
    try:
        yield
    except BaseException as error:
        panicked = type(error).__name__ == "PanicException"  # the library does not export the class
        if not panicked:
            raise
        raise LibraryPanic(" ".join(str(error).split())) from None
    finally:
        _capture.leave(discard=panicked)


class _Capture:
    """Standard error of the process, written to a temporary file while any block is running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_blocks = 0
        self._discard = False
        self._file: IO[bytes] | None = None  # None: not captured
        self._original = _STDERR  # while it is captured, a copy of the descriptor

    def enter(self) -> None:
        with self._lock:
            self._num_blocks += 1
            if self._num_blocks == 1:
                self._discard = False
                with suppress(OSError):  # no standard error, or no room for a file: the report is shown
                    self._begin()

    def _begin(self) -> None:
        with ExitStack() as on_error:
            file = on_error.enter_context(tempfile.TemporaryFile())
            self._original = os.dup(_STDERR)
            on_error.callback(os.close, self._original)
            os.dup2(file.fileno(), _STDERR)
            on_error.pop_all()
            self._file = file

    def leave(self, *, discard: bool) -> None:
        with self._lock:
            self._num_blocks -= 1
            self._discard |= discard
            if self._num_blocks or self._file is None:
                return
            os.dup2(self._original, _STDERR)
            os.close(self._original)
            with self._file as file:
                self._file = None
                if file.seek(0, os.SEEK_END) and not self._discard:
                    file.seek(0)
                    with suppress(OSError):
                        os.write(_STDERR, file.read())


_capture = _Capture()
