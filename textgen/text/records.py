"""The records of .jsonl, .json, .csv, .tsv and .parquet files, about one at a time in memory."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from textgen.errors import CorpusError
from textgen.text.formats import Place, TextFile, is_utf8, placed_blocks, text_blocks
from textgen.text.parquet import ParquetFile

_MAX_NAMES = 20  # fields that a message names
_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_JSON_TOKEN = 32  # of those that are not strings or numbers, with a margin


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


def _nested(record: dict[str, Any], field: str, where: str) -> tuple[bool, Any]:
    """Whether a record has a field, and its value; `a.b` is the field b of the object a, or a field `a.b`.

    Raises CorpusError when a is not an object.
    """
    if field in record:
        return True, record[field]
    value: Any = record
    parts = field.split(".")
    for depth, part in enumerate(parts):
        if value is None:
            return True, None
        if not isinstance(value, dict):
            outer = ".".join(parts[:depth])
            raise CorpusError(f"{where}: the field {outer!r} is not an object: {json.dumps(value)[:40]}")
        if part not in value:
            return False, None
        value = value[part]
    return True, value


def _names(record: dict[str, Any]) -> Iterator[str]:
    """The names of the fields of a record; `a.b` for those of an object a, at any depth."""
    waiting = [iter(record.items())]
    prefixes = [""]
    while waiting:
        for name, value in waiting[-1]:
            if isinstance(value, dict) and value:
                waiting.append(iter(value.items()))
                prefixes.append(f"{prefixes[-1]}{name}.")
                break
            yield prefixes[-1] + name
        else:
            waiting.pop()
            prefixes.pop()


class NextLine:
    """Where the line begins that follows those which were read so far of a file that is not compressed."""

    def __init__(self) -> None:
        self._block = Place(0)
        self._characters = 0

    @property
    def place(self) -> Place:
        """The place of that line."""
        return self._block.after(self._characters)

    def placed(self, file: TextFile, encoding: str) -> Iterator[str]:
        """The text blocks of a file, which it follows."""
        for self._block, text in placed_blocks(file, encoding):
            self._characters = 0
            yield text

    def pass_line(self, characters: int) -> None:
        """A line ended so many characters after the last one of its block, or after its beginning."""
        self._characters += characters


def _lines(file: TextFile, encoding: str, next_line: NextLine | None = None) -> Iterator[str]:
    """The lines of a file with their line ends; only "\\n" ends a line, as in JSON Lines and CSV."""
    pieces: list[str] = []
    for block in text_blocks(file, encoding) if next_line is None else next_line.placed(file, encoding):
        *ended, rest = block.split("\n")
        for line in ended:
            if next_line is not None:
                next_line.pass_line(len(line) + 1)
            yield "".join([*pieces, line, "\n"])
            pieces = []
        pieces.append(rest)
    if last := "".join(pieces):
        yield last


class Record(NamedTuple):
    """The text of a record, and its label: None where it has none."""

    text: str
    label: str | None


def records(
    file: TextFile,
    field: str | None,
    encoding: str,
    delimiter: str | None = None,
    count: RecordCount | None = None,
    *,
    label_field: str | None = None,
    next_line: NextLine | None = None,
) -> Iterator[Record]:
    """The text and the label of each record of a .jsonl, .json, .csv, .tsv or .parquet file.

    field: the name of the field that holds the text; `a.b` is the field b of the object a in JSON and
    Parquet. Where the first row of a .csv or .tsv file does not have it, also the number of a column, from 1,
    and the first row is a record too. A record of JSON or Parquet without the field, or where it is null, is
    skipped. delimiter: of .csv and .tsv; None finds it in the first row. count: adds up what was read and
    skipped; None does not count. label_field: named like field; a record where it is absent, null or empty
    has no label, nor has any where this is None. next_line: follows where the next record begins, in a file
    whose records are lines, or begin with one.

    Raises CorpusError when field is None, and with file and line, or row, for a record that cannot be read or
    whose fields are not text.
    """
    count = RecordCount() if count is None else count
    found: Iterator[tuple[int, str | None, str | None]]
    if file.format in ("jsonl", "json"):
        found = _json_records(file, field, label_field, encoding, count, next_line)
    elif file.format == "parquet":
        found = _parquet_rows(file, field, label_field, count)
    else:
        found = _table_records(file, field, label_field, encoding, delimiter, next_line)
    for line, text, label in found:
        count.read += 1
        if text is None:
            continue
        if not is_utf8(text) or not is_utf8(label or ""):
            raise CorpusError(f"{file.name}:{line}: the text has a lone surrogate; fix its escape sequence")
        yield Record(text, label or None)


def _json_records(
    file: TextFile,
    field: str | None,
    label_field: str | None,
    encoding: str,
    count: RecordCount,
    next_line: NextLine | None,
) -> Iterator[tuple[int, str | None, str | None]]:
    is_lines = file.format == "jsonl"
    for line, record in _json_lines(file, encoding, next_line) if is_lines else _json_array(file, encoding):
        where = f"{file.name}:{line}"
        text = _json_text(record, field, where, count)
        yield line, text, None if label_field is None else _json_label(record, label_field, where)


def _json_label(record: dict[str, Any], field: str, where: str) -> str | None:
    """The label of a JSON record; a number or a truth value is taken as it is written. Raises CorpusError."""
    _, label = _nested(record, field, where)
    if label is None or isinstance(label, str):
        return label
    if isinstance(label, (int, float)):
        return json.dumps(label)
    raise CorpusError(f"{where}: the field {field!r} is not a label: {json.dumps(label)[:40]}")


def _require_field(field: str | None, found: list[str], where: str) -> str:
    """The field, if it is given and among those found. Raises CorpusError."""
    if field is None:
        raise _field_not_given(found, where)
    if field not in found:
        raise CorpusError(f"{where}: no field {field!r}; found: {', '.join(found) or 'none'}")
    return field


def _field_not_given(found: Iterable[str], where: str) -> CorpusError:
    names = ", ".join(found) or "none"
    return CorpusError(f"{where}: which field holds the text? Name it with --field; found: {names}")


def _json_text(record: Any, field: str | None, where: str, count: RecordCount) -> str | None:
    """The text of a JSON record; None, counted, where it has none. Raises CorpusError."""
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a {type(record).__name__}; each record must be one object")
    if field is None:
        raise _field_not_given(itertools.islice(_names(record), _MAX_NAMES), where)
    exists, text = _nested(record, field, where)
    if text is None:
        if exists:
            count.null += 1
        else:
            count.absent += 1
        count.add_names(_names(record))
        return None
    if not isinstance(text, str):
        raise CorpusError(f"{where}: the field {field!r} is not text: {json.dumps(text)[:40]}")
    return text


def _json_lines(file: TextFile, encoding: str, next_line: NextLine | None) -> Iterator[tuple[int, Any]]:
    """The value of each line of a .jsonl file that is not empty, with its number. Raises CorpusError."""
    decode = json.JSONDecoder().decode
    for number, line in enumerate(_lines(file, encoding, next_line), start=1):
        if line.isspace():
            continue
        try:
            record = decode(line)
        except (ValueError, RecursionError) as error:
            reason = f"not JSON ({error}); each line must be one object"
            raise CorpusError(f"{file.name}:{number}: {reason}") from None
        yield number, record


def _json_array(file: TextFile, encoding: str) -> Iterator[tuple[int, Any]]:
    """The elements of the array in a .json file, each with the number of the line where it begins.

    At most one element and a block, or twice the element, are held in memory. Raises CorpusError.
    """
    text = _JsonText(text_blocks(file, encoding), file.name)
    text.take("[", "an array of records must begin with [")
    while True:
        line = text.line
        yield line, text.value()
        if not text.take_if(","):
            break
    text.take("]", "a comma or ] must follow")
    if text.next_character():
        raise text.error("nothing may follow the array")


class _JsonText:
    """JSON that arrives in blocks, read a value at a time.

    line: the number of the line where the next value or character begins, once it was looked at.
    """

    def __init__(self, blocks: Iterator[str], name: str) -> None:
        self._blocks = blocks
        self._name = name
        self._text = ""  # what has arrived, of which `_start` characters are done with
        self._start = 0
        self._decoder = json.JSONDecoder()
        self.line = 1

    def error(self, reason: str, position: int | None = None) -> CorpusError:
        """An error at a position of the text that has arrived; None: at the next character."""
        line = self.line + self._text.count("\n", self._start, self._start if position is None else position)
        return CorpusError(f"{self._name}:{line}: not JSON ({reason})")

    def next_character(self) -> str:
        """The next character that is not whitespace, which is not taken; empty at the end."""
        while True:
            begun = _JSON_SPACE.match(self._text, self._start).end()  # type: ignore[union-attr]
            self._advance(begun)
            if begun < len(self._text):
                return self._text[begun]
            if not self._read(1):
                return ""

    def take_if(self, character: str) -> bool:
        """Take the next character if it is this one; whether it was."""
        if self.next_character() != character:
            return False
        self._advance(self._start + 1)
        self.next_character()
        return True

    def take(self, character: str, reason: str) -> None:
        """Take the next character, which must be this one."""
        if not self.take_if(character):
            raise self.error(reason)

    def value(self) -> Any:
        """Take the next value."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                # An error near the end, or a string without one, may only mean that more has to arrive.
                # Reading as much again as there is keeps the time in proportion to the length of the value.
                near_end = error.pos > len(self._text) - _LONGEST_JSON_TOKEN
                may_continue = near_end or error.msg.startswith("Unterminated string")
                if may_continue and self._read(len(self._text) - self._start):
                    continue
                raise self.error(error.msg.removesuffix(" at"), error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from None
            if isinstance(value, (int, float)) and end == len(self._text) and self._read(1):
                continue  # a number may go on in the next block
            self._advance(end)
            return value

    def _advance(self, position: int) -> None:
        self.line += self._text.count("\n", self._start, position)
        self._start = position

    def _read(self, characters: int) -> bool:
        """Wait for at least so many more characters, or the end; whether any arrived."""
        pieces, wanted = [self._text[self._start :]], characters
        while wanted > 0 and (block := next(self._blocks, "")):
            pieces.append(block)
            wanted -= len(block)
        self._text, self._start = "".join(pieces), 0
        return len(pieces) > 1


def _parquet_rows(
    file: TextFile, field: str | None, label_field: str | None, count: RecordCount
) -> Iterator[tuple[int, str | None, str | None]]:
    """The rows of a Parquet file, with the text, None and counted where it is null. Raises CorpusError."""
    with ParquetFile(file) as table:
        labels: Iterator[str | None] = itertools.repeat(None)
        if label_field is not None:
            labels = table.labels(_require_field(label_field, table.names, file.name))
        for row, text in table.texts(_require_field(field, table.names, file.name)):
            if text is None:
                count.null += 1
                count.add_names(table.names)
            yield row, text, next(labels)


def _table_records(
    file: TextFile,
    field: str | None,
    label_field: str | None,
    encoding: str,
    delimiter: str | None,
    next_line: NextLine | None,
) -> Iterator[tuple[int, str, str | None]]:
    csv.field_size_limit(2**31 - 1)  # the default refuses a field of more than 128 KiB
    lines = _lines(replace(file, place=None), encoding, next_line)
    first = _first_lines(lines)
    if not first:
        return
    if delimiter is None:
        delimiter = _sniffed_delimiter(first, field, "\t,;|" if file.format == "tsv" else ",;\t|")
    # Tab-separated text by its usual definition has a record a line, and quotes in it mean nothing.
    one_a_line = file.format == "tsv" and delimiter == "\t"
    read = _tab_separated_rows if one_a_line else _csv_rows
    rows = read(itertools.chain(first, lines), delimiter, file.name)
    line, header = next(rows)
    column = _column(header, field, f"{file.name}:1")
    label_column = None if label_field is None else _column(header, label_field, f"{file.name}:1")
    if file.place is not None:
        rows = read(_lines(file, encoding, next_line), delimiter, file.name)
    elif field not in header:
        rows = itertools.chain([(line, header)], rows)
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            reason = "; each line of a .tsv file is a record" if one_a_line else ""
            raise CorpusError(
                f"{file.name}:{line}: {len(row)} fields where the header has {len(header)}{reason}"
            )
        yield line, row[column], None if label_column is None else row[label_column]


def _column(header: list[str], field: str | None, where: str) -> int:
    """The index of a field in the first row; a number that is no field there counts columns from 1.

    Raises CorpusError.
    """
    if field is not None and field not in header and field.isdecimal():
        if not 1 <= int(field) <= len(header):
            raise CorpusError(f"{where}: no field or column {field}; there are {len(header)} columns")
        return int(field) - 1
    return header.index(_require_field(field, header, where))


def _first_lines(lines: Iterator[str]) -> list[str]:
    """The lines of the first row: several where a quoted field has line ends, read with commas; else one."""
    taken: list[str] = []

    def recorded() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    with suppress(csv.Error):  # another delimiter, or an error that is reported when the row is read
        next(csv.reader(recorded(), strict=True), None)
    return taken


def _sniffed_delimiter(first: list[str], field: str | None, delimiters: str) -> str:
    """The delimiter by which the first row has the field, else the one that makes most columns of it.

    delimiters: those to choose from; the first one where several are as good.
    """
    headers = {delimiter: next(csv.reader(first, delimiter=delimiter)) for delimiter in delimiters}
    for delimiter, header in headers.items():
        if field in header:
            return delimiter
    return max(delimiters, key=lambda delimiter: len(headers[delimiter]))


def _csv_rows(lines: Iterator[str], delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its last line. Raises CorpusError."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{name}:{reader.line_num}: not CSV ({error})") from None


def _tab_separated_rows(lines: Iterator[str], delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a .tsv file, each with the number of its line."""
    for number, line in enumerate(lines, start=1):
        content = line.removesuffix("\n").removesuffix("\r")
        yield number, [_unquoted(field) for field in content.split(delimiter)] if content else []


def _unquoted(field: str) -> str:
    """A field without the quotes around it, if it is quoted as a whole as in CSV; else as it is."""
    inner = field[1:-1]
    if len(field) < 2 or field[0] != '"' or field[-1] != '"' or '"' in inner.replace('""', ""):
        return field
    return inner.replace('""', '"')
