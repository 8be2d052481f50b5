"""Ctrl-C and SIGTERM during training: the current step is finished and saved before the process ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

from textgen.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAUNCHER_SECONDS = 1.0  # between two looks at whether the launcher is still there


class StopRequest:
    """A context in which Ctrl-C and SIGTERM are recorded instead of ending the process.

        with StopRequest() as stop:
            stop.deferred = True
            while not stop.signal_number: ...

    While `deferred` is False there is nothing to save, and a signal raises Interrupted at once. So does a
    second signal, unless `is_launched`: torchrun sends one more than the user did, and ends its processes by
    itself if they take too long. A launched process also gets SIGTERM when its launcher was killed and can
    send none. Outside the main thread, where Python allows no signal handlers, nothing is changed.
    """

    def __init__(self, *, is_launched: bool = False) -> None:
        self._is_launched = is_launched
        self.signal_number: int | None = None  # the signal that was received
        self.deferred = False
        self.hint = ""  # how to resume, added to the error message once there is something to resume
        self._previous: dict[signal.Signals, Any] = {}
        self._ended = threading.Event()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
            if self._is_launched:
                threading.Thread(target=self._follow_launcher, args=(os.getppid(),), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for number, handler in self._previous.items():
            # A launched process ends now: the launcher's signal, if another one failed, says nothing new.
            signal.signal(number, signal.SIG_IGN if self._is_launched else handler)

    def _follow_launcher(self, launcher: int) -> None:
        while not self._ended.wait(LAUNCHER_SECONDS):
            if os.getppid() != launcher:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.deferred or (self.signal_number is not None and not self._is_launched):
            self._end(number)
        self.signal_number = self.signal_number or number

    def end_deferral(self) -> None:
        """Stop deferring, as everything is saved. Raises Interrupted if a signal was received before."""
        self.deferred = False
        if self.signal_number is not None:
            self._end(self.signal_number)

    def _end(self, number: int) -> NoReturn:
        raise Interrupted(f"interrupted; unsaved work is lost. {self.hint}".rstrip(), number)
