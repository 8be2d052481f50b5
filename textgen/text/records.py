"""The records of .jsonl and .csv files, read line by line; at most one record is held in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator

from textgen.errors import CorpusError
from textgen.text.formats import TextFile, is_utf8, text_blocks


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


def records(file: TextFile, field: str | None, encoding: str) -> Iterator[str]:
    """The text of each record of a .jsonl or .csv file.

    field: the name of the field that holds the text.

    Raises CorpusError with file and line when field is None, and for a record that cannot be read or does not
    have the field.
    """
    read = _json_records if file.format == "jsonl" else _csv_records
    for line, text in read(file, field, encoding):
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


def _json_records(file: TextFile, field: str | None, encoding: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_lines(file, encoding), start=1):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: not JSON ({error}); each line must be one object") from None
        if not isinstance(record, dict):
            raise CorpusError(f"{where}: a {type(record).__name__}; each line must be one object")
        text = record[_require_field(field, list(record), where)]
        if not isinstance(text, str):
            raise CorpusError(f"{where}: the field {field!r} is not text: {json.dumps(text)[:40]}")
        yield number, text


def _csv_records(file: TextFile, field: str | None, encoding: str) -> Iterator[tuple[int, str]]:
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
