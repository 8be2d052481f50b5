"""Ctrl-C and SIGTERM as a request: the step in hand is finished, saved, and then training ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

from textgen.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A context in which the two signals are noted instead of ending the process.

        with StopRequest() as stop:
            while not stop.signal_number: ...

    Before `deferred` is set there is nothing to save, so a signal ends the work at once with Interrupted. A
    second signal does so too. Outside the main thread, where Python allows no handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.deferred = False
        self.hint = ""  # how to go on, once there is something to go on with
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.deferred or self.signal_number is not None:
            self._end(number)
        self.signal_number = number

    def end_deferral(self) -> None:
        """From here on there is nothing more to save. Raises Interrupted for a signal that was noted."""
        self.deferred = False
        if self.signal_number is not None:
            self._end(self.signal_number)

    def _end(self, number: int) -> NoReturn:
        raise Interrupted(f"interrupted; what was not saved yet is lost. {self.hint}".rstrip(), number)
