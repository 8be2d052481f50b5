"""The text of one column of a Parquet file, a few rows at a time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import CorpusError
from textgen.text.formats import TextFile

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]

_BATCH_BYTES = 2**20  # of text that is decoded at a time
_LARGEST_BATCH = 2**10  # rows; a dictionary may make them look smaller in the file than they are
_BUFFER_BYTES = 2**16


class ParquetFile:
    """A Parquet file that is read row by row.

    names: its columns; `a.b` for the column b of the structure a, at any depth. Must be closed, by `with`.

    Raises CorpusError when it cannot be read or pyarrow is not installed.
    """

    def __init__(self, file: TextFile) -> None:
        try:
            from pyarrow import parquet
        except ImportError:
            raise CorpusError(
                f"{file.name}: a Parquet file needs another package: pip install 'textgen[parquet]'"
            ) from None
        self.name = file.name
        if Path(file.path).exists() and not Path(file.path).is_file():
            raise CorpusError(f"{file.name}: a Parquet file cannot be read from a pipe; name the file")
        if file.is_compressed:
            raise CorpusError(f"{file.name}: a Parquet file is compressed within; decompress it first")
        with self._errors():
            # With a buffer, a column of a group of rows is read page by page and not as a whole.
            self._file = parquet.ParquetFile(
                file.path, memory_map=False, buffer_size=_BUFFER_BYTES, pre_buffer=False
            )
            self._columns = {
                ".".join(path): (path, kind) for path, kind in _leaves([], self._file.schema_arrow)
            }
        self.names = list(self._columns)

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def texts(self, column: str) -> Iterator[tuple[int, str | None]]:
        """The text of each row with the number of the row, counted from 1; None where it is null.

        column: one of `names`. Raises CorpusError when it is not of text, and for a damaged file.
        """
        path, kind = self._columns[column]
        if not _holds_text(kind):
            raise CorpusError(f"{self.name}:1: the field {column!r} is not text but {kind}")
        row = 0
        batches = self._file.iter_batches(self._batch_rows(column), columns=[column], use_threads=False)
        while True:
            with self._errors():
                batch = next(batches, None)
            if batch is None:
                return
            values = _inner(batch, path)
            texts: Iterable[str | None]
            try:
                texts = _decoded(values)
            except UnicodeDecodeError:  # in one of the rows; those before it are still text
                texts = self._one_by_one(values, row)
            for text in texts:
                row += 1
                yield row, text

    def labels(self, column: str) -> Iterator[str | None]:
        """The label of each row, None where it is null; a number is taken as it is written.

        column: one of `names`. Raises CorpusError for values of other kinds, and for a damaged file.
        """
        path, _ = self._columns[column]
        batches = self._file.iter_batches(_LARGEST_BATCH, columns=[column], use_threads=False)
        row = 0
        with self._errors():
            for batch in batches:
                for value in _inner(batch, path).to_pylist():
                    row += 1
                    if value is not None and not isinstance(value, (str, int, float)):
                        raise CorpusError(f"{self.name}:{row}: the field {column!r} is not a label")
                    yield value if value is None or isinstance(value, str) else json.dumps(value)

    def _one_by_one(self, values: pyarrow.Array, rows_before: int) -> Iterator[str | None]:
        """The texts up to one that is not UTF-8. Raises CorpusError with its row."""
        for index in range(len(values)):
            try:
                yield from _decoded(values[index : index + 1])
            except UnicodeDecodeError as error:
                where = f"{self.name}:{rows_before + index + 1}"
                raise CorpusError(f"{where}: invalid utf-8 at byte {error.start} of the text") from None

    def _batch_rows(self, column: str) -> int:
        """How many rows to decode at a time, by the average size of a text."""
        metadata = self._file.metadata
        size, num_rows = 0, int(metadata.num_rows)
        for group in range(metadata.num_row_groups):
            chunks = metadata.row_group(group)
            for index in range(chunks.num_columns):
                if chunks.column(index).path_in_schema == column:
                    size += chunks.column(index).total_uncompressed_size
        return max(1, min(_LARGEST_BATCH, _BATCH_BYTES * num_rows // max(size, 1)))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Report what pyarrow finds wrong with the file in one line."""
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or ["it cannot be read"])[0].rstrip(".")
            raise CorpusError(f"{self.name}: not a Parquet file, or damaged ({reason})") from error


def _leaves(outer: list[str], fields: Any) -> Iterator[tuple[list[str], pyarrow.DataType]]:
    """The columns of a schema or structure: the path through structures to each, and its type."""
    from pyarrow import types

    for column in fields:
        path = [*outer, column.name]
        if types.is_struct(column.type):
            yield from _leaves(path, column.type)
        else:
            yield path, column.type


def _holds_text(kind: pyarrow.DataType) -> bool:
    """Whether the values of a type are text: strings, or bytes that may be UTF-8; also where all are null."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    texts = types.is_string, types.is_large_string, types.is_string_view
    binary = types.is_binary, types.is_large_binary, types.is_binary_view
    return any(is_kind(kind) for is_kind in (*texts, *binary, types.is_null))


def _decoded(values: pyarrow.Array) -> list[str | None]:
    """The values as strings; bytes are UTF-8. Raises UnicodeDecodeError."""
    return [text.decode() if isinstance(text, bytes) else text for text in values.to_pylist()]


def _inner(batch: pyarrow.RecordBatch, path: list[str]) -> pyarrow.Array:
    """The values at the end of a path through structures; null where one on the way is."""
    from pyarrow import compute

    values = batch.column(batch.schema.get_all_field_indices(path[0])[0])
    return compute.struct_field(values, path[1:]) if path[1:] else values
