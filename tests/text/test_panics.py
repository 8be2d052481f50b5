"""A panic of the library is an error of one line, and nothing else that is printed meanwhile gets lost."""

from __future__ import annotations

import os
import threading

import pytest
import tokenizers

from textgen.text.panics import LibraryPanic, panics_as_errors


def panic() -> None:
    tokenizers.Tokenizer.from_str(
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"],'
        ' "continuing_subword_prefix": "##"}}'
    )


def test_a_panic_is_an_ordinary_error_without_its_report(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LibraryPanic, match="slice index") as caught, panics_as_errors():
        panic()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_without_the_block_it_passes_every_handler_and_prints_a_report(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(BaseException, match="slice index") as caught:
        panic()
    assert not isinstance(caught.value, Exception)
    assert "panicked at" in capfd.readouterr().err


def test_other_errors_and_what_is_printed_pass(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        os.write(2, b"progress\n")
        raise KeyError("x")

    with pytest.raises(KeyError), panics_as_errors():
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "progress\nafter\n"


def test_blocks_may_overlap_in_threads(capfd: pytest.CaptureFixture[str]) -> None:
    both = threading.Barrier(2)

    def work(number: int) -> None:
        with panics_as_errors():
            both.wait()
            os.write(2, b"x")
        if number:
            both.wait()

    other = threading.Thread(target=work, args=(1,))
    other.start()
    work(0)
    both.wait()
    other.join()
    os.write(2, b"|")
    assert capfd.readouterr().err == "xx|"


def test_without_standard_error_the_block_still_runs() -> None:
    saved = os.dup(2)
    os.close(2)
    try:
        with panics_as_errors():
            pass
    finally:
        os.dup2(saved, 2)
        os.close(saved)
