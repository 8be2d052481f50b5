"""Reading metrics.jsonl, a record a line: every record is checked, and the file need not fit into memory.

training/metrics.py writes it and says what the kinds of records are.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from textgen.errors import RunError
from textgen.settings.option import NOT_NEGATIVE
from textgen.system.bounded_files import open_regular

# The fields that a reader may rely on, besides kind and step, epoch and seconds; other kinds may come.
_NUMBERS = {"train": ("nats_per_token", "tokens_per_second"), "val": ("nats_per_token",)}
_WHOLE_NUMBERS = {"rollback": ("back_to",)}
_OF_A_FINAL_LOSS = ("nats_per_token", "bits_per_character", "bits_per_byte", "perplexity_per_token")
_LONGEST_LINE = 2**16  # bytes
# A summary needs no train record but the last. So many lines are all checked; in a longer file, the train
# records that follow are passed over, since parsing a million takes several seconds.
_ALL_CHECKED = 20_000
_TRAIN, _FINAL = b'{"kind": "train", ', b'{"kind": "final", '

Record = dict[str, Any]

_DIGEST = "digest"  # the field with the first bits of the SHA-256 of the others
_DIGEST_LENGTH = 16  # in hexadecimal digits


@dataclass(frozen=True)
class MeasurementSummary:
    """What is to be known of a run's measurements. None: there is no such record.

    last: the last record. best: the last validation with the lowest loss so far. final: the evaluation of
    the complete run. is_cut_short: the last line has no end, and does not count.
    """

    last: Record | None = None
    best: Record | None = None
    final: Record | None = None
    is_cut_short: bool = False


def with_digest(record: Record) -> str:
    """The line of a record, without its end. Raises ValueError for a figure that is not finite."""
    text = json.dumps(record, allow_nan=False)
    return f'{text[:-1]}, "{_DIGEST}": "{_digest_of(text)}"}}'


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def damaged_lines(path: Path) -> list[int]:
    """The numbers of the lines of a metrics.jsonl that are not records as they were written."""
    damaged = []
    for number, line in _lines(path):
        try:
            _record(path, number, line)
            is_whole = line.endswith(b"\n")
        except RunError:
            is_whole = False
        if not is_whole:
            damaged.append(number)
    return damaged


def read_measurements(path: Path) -> Iterator[Record]:
    """Yield the records of a metrics.jsonl, without a last line that a crash left incomplete.

    Raises RunError for a line that is not a record, and for a file that cannot be read.
    """
    for number, line in _lines(path):
        if line.endswith(b"\n"):
            yield _record(path, number, line)


def has_final_record(path: Path) -> bool:
    """Whether there is a record of the final evaluation, whatever the other lines are. Raises RunError."""
    for number, line in _lines(path):
        if line.startswith(_FINAL):
            with suppress(RunError):
                return bool(_record(path, number, line)["kind"] == "final")
    return False


def summarize_measurements(path: Path) -> MeasurementSummary:
    """The summary of a metrics.jsonl, quickly; all of it is empty where there is no such file.

    Raises what read_measurements raises, except for train records far within a long file.
    """
    last = best = final = None
    passed: tuple[int, bytes] | None = None  # the last line, if it was passed over
    is_cut_short = False
    for number, line in _lines(path):
        if not line.endswith(b"\n"):
            is_cut_short = True
        elif number > _ALL_CHECKED and line.startswith(_TRAIN):
            passed = number, line
        else:
            passed, last = None, _record(path, number, line)
            if last["kind"] == "final":
                final = last
            elif last["kind"] == "val" and last["best"]:
                best = last
    if passed is not None:
        last = _record(path, *passed)
    return MeasurementSummary(last, best, final, is_cut_short)


def figures_with_ngrams(final: Record, num_bytes: int) -> dict[str, float] | None:
    """The loss of a final evaluation with the run's n-grams, in nats per token and bits per character.

    final: of the network alone, with what was measured with n-grams in it. num_bytes: the size of the n-gram
    file that the run has. None: the loss with these n-grams was not measured.
    """
    measured = final.get("ngram")
    if not isinstance(measured, dict) or measured.get("bytes") != num_bytes:
        return None
    names = "together_nats_per_token", "network_nats_per_token"
    together, alone = (measured.get(name) for name in names)
    if not isinstance(together, float) or not isinstance(alone, float) or alone <= 0:
        return None
    # Of the same tokens, so that both losses have one ratio in every unit.
    return {
        "nats_per_token": together,
        "bits_per_character": final["bits_per_character"] * together / alone,
    }


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, none if there is no such file. Raises RunError."""
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(functools.partial(file.readline, _LONGEST_LINE), b""), 1):
                if len(line) == _LONGEST_LINE:
                    raise RunError(f"{path}, line {number}: too long for a measurement; remove the line")
                yield number, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}; it must be a file that can be read") from error


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = _DECODER.decode(line.decode("utf-8"))
        broken = _violation(record)
        if broken is None and _DIGEST in record:
            digest = record.pop(_DIGEST)
            if digest != _digest_of(json.dumps(record)):
                broken = "has changed since it was written"
        if broken is None:
            return dict(record)
    except ValueError:
        broken = "is not JSON"
    except RecursionError:
        broken = "is nested too deeply"
    raise RunError(f"{path}, line {number}: {broken}; remove the line")


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_not_finite)


def _violation(record: Any) -> str | None:
    """What is wrong with a record; None if nothing is."""
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return "is not a measurement"
    kind = record["kind"]
    for name in ("step", *_WHOLE_NUMBERS.get(kind, ())):
        if type(record.get(name)) is not int or record[name] < 0:
            return f"{name} must be a whole number, 0 or more"
    numbers = _NUMBERS.get(kind, ())
    if kind == "final" and "nats_per_token" in record:
        numbers = _OF_A_FINAL_LOSS
    for name in ("epoch", "seconds", *numbers):
        value = record.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or NOT_NEGATIVE.violation(value):
            return f"{name} must be a number, 0 or more and finite"
    if kind == "val" and not isinstance(record.get("best"), bool):
        return "best must be true or false"
    return None
