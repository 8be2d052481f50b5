"""The records of .jsonl and .csv files, read line by line; at most one record is held in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from textgen.errors import CorpusError
from textgen.text.formats import TextFile, is_utf8, text_blocks

_MAX_NAMES = 20  # fields that a message names


@dataclass
class RecordCount:
    """How many records were read, and how many of them were skipped because they have no text.

    absent: records without the field. null: records whose field is null. names: fields seen in skipped ones.
    """

    read: int = 0
    absent: int = 0
    null: int = 0
    names: dict[str, None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def skipped(self) -> int:
        """Records without text."""
        return self.absent + self.null

    def note(self, field: str | None) -> str:
        """One sentence that says how many records were skipped, and why."""
        reasons = [f"{self.absent:,} without the field {field!r}"] if self.absent else []
        reasons += [f"{self.null:,} where it is null"] if self.absent and self.null else []
        reasons += [f"the field {field!r} is null"] if self.null and not self.absent else []
        return f"Skipped {self.skipped:,} of {self.read:,} records: {', '.join(reasons)}."

    def add(self, other: RecordCount) -> None:
        """Add the records of another count."""
        self.read += other.read
        self.absent += other.absent
        self.null += other.null
        self.add_names(other.names)

    def add_names(self, names: Iterable[str]) -> None:
        """Remember fields to name in a message; those beyond a limit are left out."""
        for name in names:
            if len(self.names) == _MAX_NAMES:
                return
            self.names.setdefault(name)

    def require_text(self, name: str, field: str | None) -> None:
        """Raise CorpusError when there were records but all were skipped. name: where they come from."""
        if self.read and self.skipped == self.read:
            found = ", ".join(self.names) or "none"
            raise CorpusError(f"{name}: no record has text in the field {field!r}; found: {found}")


def _lines(file: TextFile, encoding: str) -> Iterator[str]:
    """The lines of a file with their line ends; only "\\n" ends a line, as in JSON Lines and CSV."""
    pieces: list[str] = []
    for block in text_blocks(file, encoding):
        *ended, rest = block.split("\n")
        for line in ended:
            yield "".join([*pieces, line, "\n"])
            pieces = []
        pieces.append(rest)
    if last := "".join(pieces):
        yield last


def records(
    file: TextFile, field: str | None, encoding: str, count: RecordCount | None = None
) -> Iterator[str]:
    """The text of each record of a .jsonl or .csv file.

    field: the name of the field that holds the text. A .jsonl record without it, or where it is null, is
    skipped. count: adds up what was read and skipped; None does not count.

    Raises CorpusError with file and line when field is None, and for a record that cannot be read or whose
    field is not text.
    """
    read = _json_records if file.format == "jsonl" else _csv_records
    count = RecordCount() if count is None else count
    for line, text in read(file, field, encoding, count):
        count.read += 1
        if text is None:
            continue
        if not is_utf8(text):
            raise CorpusError(f"{file.name}:{line}: the text has a lone surrogate; fix its escape sequence")
        yield text


def _require_field(field: str | None, found: list[str], where: str) -> str:
    """The field, if it is given and among those found. Raises CorpusError."""
    names = ", ".join(found) or "none"
    if field is None:
        raise CorpusError(f"{where}: which field holds the text? Name it with --field; found: {names}")
    if field not in found:
        raise CorpusError(f"{where}: no field {field!r}; found: {names}")
    return field


def _json_text(record: Any, field: str | None, where: str, count: RecordCount) -> str | None:
    """The text of a JSON record; None, counted, where it has none. Raises CorpusError."""
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a {type(record).__name__}; each line must be one object")
    if field is None:
        _require_field(field, list(record), where)
    text = record.get(field)
    if text is None:
        if field in record:
            count.null += 1
        else:
            count.absent += 1
        count.add_names(record)
        return None
    if not isinstance(text, str):
        raise CorpusError(f"{where}: the field {field!r} is not text: {json.dumps(text)[:40]}")
    return text


def _json_records(
    file: TextFile, field: str | None, encoding: str, count: RecordCount
) -> Iterator[tuple[int, str | None]]:
    for number, line in enumerate(_lines(file, encoding), start=1):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: not JSON ({error}); each line must be one object") from None
        yield number, _json_text(record, field, where, count)


def _csv_records(
    file: TextFile, field: str | None, encoding: str, count: RecordCount
) -> Iterator[tuple[int, str | None]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses a field of more than 128 KiB
    reader = csv.reader(_lines(file, encoding), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        column = header.index(_require_field(field, header, f"{file.name}:1"))
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                raise CorpusError(
                    f"{file.name}:{reader.line_num}: {len(record)} fields where the header has {len(header)}"
                )
            yield reader.line_num, record[column]
    except csv.Error as error:
        raise CorpusError(f"{file.name}:{reader.line_num}: not CSV ({error})") from None
