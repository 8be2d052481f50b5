"""Signals during training: recorded while there is something to save, an error otherwise."""

from __future__ import annotations

import signal

import pytest

from textgen.errors import Interrupted
from textgen.system.interrupts import StopRequest


def test_a_deferred_signal_is_recorded_and_a_second_one_interrupts() -> None:
    with StopRequest() as stop:
        stop.deferred = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_with_nothing_to_save_a_signal_interrupts_at_once_with_the_exit_code_of_shells() -> None:
    with StopRequest() as stop:
        stop.hint = "Start again."
        with pytest.raises(Interrupted, match="Start again") as error:
            signal.raise_signal(signal.SIGTERM)
    assert error.value.exit_code == 143


def test_a_recorded_signal_interrupts_when_deferral_ends() -> None:
    with StopRequest() as stop:
        stop.deferred = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as error:
            stop.end_deferral()
    assert error.value.exit_code == 130


def test_the_previous_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
