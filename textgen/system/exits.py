"""Ctrl-C and SIGTERM outside training: one line and exit code 130 or 143 at any moment, and no traceback.

    exit_at_signals()             at once: while there is nothing to clean up, and while Python ends
    with raise_at_signals(): ...  by an exception, so that what is being written is removed

It imports next to nothing, because until exit_at_signals is called a signal gives a traceback. What Python
does before it runs our first line (reading `site`) is out of our reach.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

TYPE_CHECKING = False  # typing takes longer to load than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

_MESSAGES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def exit_at_signals() -> None:
    """Let a signal end this process at once, now and while Python ends. One that is ignored stays so."""
    # Registered first, it is called last; after that Python calls no handlers of ours.
    atexit.register(_handle, signal.SIG_DFL)
    _handle(_exit)


class raise_at_signals:  # noqa: N801 (like a function of contextlib, which takes longer to load)
    """A context in which the first signal raises KeyboardInterrupt or Interrupted; another ends the process.

    A signal ends the process at once where an exception would not arrive: while a module is imported, some of
    which catch or replace any exception, and where Python only prints it (in __del__, for example).
    """

    def __enter__(self) -> None:
        self._handlers = _handle(_raise)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # a launched process ignores them in the end
                signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def _unraisable(self, unraisable: Any) -> None:
        from textgen.errors import Interrupted

        if isinstance(unraisable.exc_value, Interrupted):
            _end(str(unraisable.exc_value), unraisable.exc_value.exit_code)
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _end(_MESSAGES[signal.SIGINT], 128 + signal.SIGINT)
        self._hook(unraisable)


def _handle(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> dict[signal.Signals, Any]:
    """Set the handler of both signals; returns those before. Changes nothing outside the main thread."""
    before = {}
    try:
        for number in _MESSAGES:
            if (previous := signal.getsignal(number)) is not signal.SIG_IGN:
                before[number] = previous
                signal.signal(number, handler)
    except ValueError:  # not in the main thread, where Python allows no handlers
        return {}
    return before


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    _end(_MESSAGES[signal.Signals(number)], 128 + number)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _handle(_exit)
    if _is_importing(frame):
        _exit(number, frame)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    from textgen.errors import Interrupted

    raise Interrupted(_MESSAGES[signal.SIGTERM], number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(message: str, exit_code: int) -> NoReturn:
    try:  # noqa: SIM105 (suppress is in contextlib)
        os.write(2, f"textgen: {message}\n".encode())
    except OSError:  # standard error is closed
        pass
    os._exit(exit_code)
