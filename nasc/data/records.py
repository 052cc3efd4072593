"""Rows of tables and of JSON: each with its place, bounded, or refused by file and row."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from device_profiles.reading import (
    MAX_DIGITS,
    FileRefused,
    FileTooLarge,
    check_items,
    opened,
    parse_json,
    shown,
)
from nasc.data.streams import MAX_RATIO, RATIO_FROM, lines, read_whole

MAX_FIELD = 16 << 20
"""Characters of a field in quotation marks, where the csv module takes 131,072."""

MAX_ROW = 32 << 20
"""Characters of a row, which may go over many lines, and of its text."""

MAX_COLUMNS = 10_000
"""Values of a row."""

MAX_LIST = 128 << 20
"""Bytes of a JSON file that is one list, which is read as a whole."""

_BATCH_ROWS, _BATCH_BYTES = 1024, 256 << 20
"""Rows of parquet that are unpacked together, and what they may hold then."""

BROKEN = re.compile("[\0\ud800-\udfff]")
"""What is no character of a text: NUL, and surrogates, which are halves of characters (JSON can
write them alone, UTF-8 and tokenizers cannot)."""


def json_rows(path: Path, max_bytes: int | None = None) -> Iterator[tuple[int, Any]]:
    """Values of JSON lines, each with the number of its line; empty lines are left out.

    Raises:
        FileRefused: See `nasc.data.streams.lines`; or if a line is no JSON, is nested too deeply,
            has too many values, or holds a number of more than `MAX_DIGITS` digits.
        OSError: If it cannot be read.
    """
    for number, line in enumerate(lines(path, max_bytes=max_bytes), 1):
        if not line.isspace():
            try:
                check_items(line, path)
                value = _DECODER.decode(line)
            except FileTooLarge as error:
                raise FileTooLarge(path, f"{error.reason} in line {number:,}") from None
            except RecursionError:
                raise FileRefused(path, f"is nested too deeply in line {number:,}") from None
            except ValueError as error:
                raise FileRefused(path, f"is damaged: line {number}: no JSON: {error}") from error
            if isinstance(value, dict):
                _check_width(path, number, len(value))
            yield number, value


def _check_width(path: Path, number: int, count: int) -> None:
    if count > MAX_COLUMNS:
        raise FileRefused(
            path, f"has {count:,} values in line {number:,}: at most {MAX_COLUMNS:,} are read"
        )


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_whole)


def json_list(path: Path) -> Iterator[tuple[int, Any]]:
    """Values of a JSON file that holds a list, or JSON lines, each with its place, from 1.

    Raises:
        NoText: If it holds something else.
        FileRefused: If it is no JSON, too large or too deep.
        OSError: If it cannot be read.
    """
    if _is_list(path):
        try:
            return enumerate(parse_json(read_whole(path, MAX_LIST), path), 1)
        except FileTooLarge as error:
            raise FileRefused(
                path, f"{error.reason}; as JSON lines (.jsonl) it may be of any size"
            ) from error
    rows = json_rows(path)
    try:
        first = [next(rows), next(rows)]  # one object alone is settings
    except (FileRefused, StopIteration):
        raise NoText(path, "holds no list of records, and no JSON lines") from None
    return itertools.chain(first, rows)


class NoText(FileRefused):
    """A file of JSON or a table without a text that can be told: settings, an index."""


def _is_list(path: Path) -> bool:
    first = next((line for line in lines(path) if not line.isspace()), "")
    return first.lstrip().startswith("[")


def table_head(path: Path) -> str:
    """The first line of a table that is not empty; empty where there is none."""
    return next((line for line in lines(path) if not line.isspace()), "")


def table_rows(
    path: Path, delimiter: str, *, quoted: bool, max_bytes: int | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table, the head line among them, each with the number of its last line.

    Args:
        path: A text file of values between delimiters.
        delimiter: Between two values.
        quoted: Whether quotation marks around a value are not part of it.
        max_bytes: What the file may hold, unpacked; None is for readers that keep little of it.

    Raises:
        FileRefused: See `nasc.data.streams.lines`; or with the row that is too long or too wide.
        OSError: If it cannot be read.
    """
    if csv.field_size_limit() < MAX_FIELD:
        csv.field_size_limit(MAX_FIELD)  # of the whole process: it has no other
    source = _Lines(path, max_bytes)
    rows = csv.reader(
        source, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )
    try:
        for row in rows:
            source.of_row = 0
            if row:
                _check_width(path, rows.line_num, len(row))
                yield rows.line_num, row
    except csv.Error as error:
        raise FileRefused(
            path,
            f"is damaged: line {rows.line_num:,}: {error}. A quotation mark may not be closed",
        ) from error


class _Lines(Iterator[str]):
    """Lines of a file, counted by those who make rows of them.

    Attributes:
        of_row: Characters since the last row was complete.
    """

    def __init__(self, path: Path, max_bytes: int | None) -> None:
        self._path = path
        self._lines = lines(path, max_bytes=max_bytes, newline="")
        self._number = 0
        self.of_row = 0

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        self.of_row += len(line)
        if self.of_row > MAX_ROW:
            raise FileRefused(
                self._path,
                f"is damaged: the row that line {self._number:,} belongs to has more than "
                f"{MAX_ROW:,} characters. A quotation mark may not be closed",
            )
        return line


def parquet_columns(path: Path) -> tuple[list[str], list[str]]:
    """Names of all columns of a parquet file, and of those of text.

    Raises:
        FileRefused: If it is damaged, or the library that reads it is missing.
        OSError: If it cannot be read.
    """
    with opened(path) as file:
        schema = _parquet(path, file).schema_arrow
        kinds = zip(schema.names, map(str, schema.types), strict=True)
        return list(schema.names), [name for name, kind in kinds if _TEXT_KIND.match(kind)]


_TEXT_KIND = re.compile(r"(dictionary<values=)?(large_)?string")


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Values of some columns of a parquet file by their names, row by row.

    Raises:
        FileRefused, OSError: See `parquet_columns`.
    """
    with opened(path) as file:
        source = _parquet(path, file)
        size = _batch_rows(path, source.metadata, columns)
        try:
            for batch in source.iter_batches(batch_size=size, columns=list(columns)):
                for at in range(batch.num_rows):  # one by one: texts that repeat are held once
                    yield from batch.slice(at, 1).to_pylist()
        except (ValueError, OSError, RuntimeError) as error:  # bases of pyarrow's own errors
            raise _damaged(path, error) from error


def _batch_rows(path: Path, metadata: Any, columns: Sequence[str]) -> int:
    """Rows that hold `_BATCH_BYTES` at most, even if each is the largest text of its row group.

    Raises:
        FileRefused: If a row group unpacks to more than `MAX_RATIO` times its size.
    """
    largest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        all_chunks = map(group.column, range(group.num_columns))
        chunks = [chunk for chunk in all_chunks if chunk.path_in_schema in columns]
        packed = sum(chunk.total_compressed_size for chunk in chunks)
        held = sum(chunk.total_uncompressed_size for chunk in chunks)
        if held > max(RATIO_FROM, MAX_RATIO * packed):
            raise FileRefused(
                path, f"unpacks to more than {MAX_RATIO} times its size: no text does"
            )
        largest = max(largest, held)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // largest))


def _parquet(path: Path, file: Any) -> Any:
    try:
        import pyarrow.parquet  # optional: installed with an extra
    except ImportError as error:
        raise FileRefused(
            path,
            "is a parquet file: reading it needs the pyarrow library, which is not installed. "
            "Install it: pip install 'nasc[datasets]'",
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (ValueError, OSError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FileRefused:
    return FileRefused(path, f"is damaged or no parquet file: {' '.join(str(error).split())[:200]}")


def text_of(value: Any, column: str | None, path: Path, number: int) -> str | None:
    """A row's text; None where it has none.

    Args:
        value: That stands there.
        column: Of the row; None where a row is a text.
        path: Of the file, for the message.
        number: Of the row.

    Raises:
        FileRefused: If the value is something else, or longer than `MAX_ROW`, with file and row.
    """
    if isinstance(value, str) and len(value) > MAX_ROW:
        size = f"{len(value):,} characters in row {number:,}"
        raise FileRefused(path, f"has a text of {size}, at most {MAX_ROW:,} are read: break it up")
    if value is None or isinstance(value, str):
        return value
    where = "holds" if column is None else f"has {column} ="
    raise FileRefused(path, f"{where} {shown(value)} in row {number:,}: no text")


OBVIOUS = ("text", "sentence", "content", "passage")
"""Names of a column that is taken without being asked for."""


def chosen_column(
    names: Sequence[str],
    of_text: Sequence[str],
    wanted: str | None,
    path: Path | str,
    *,
    by_name: bool = False,
) -> str:
    """The column that holds the text.

    Args:
        names: Of all columns.
        of_text: Of those that hold text.
        wanted: The name that was asked for; None takes the only one with a name of `OBVIOUS`, else
            the only one of text.
        path: For the message.
        by_name: Whether only a column that was asked for, or with a name of `OBVIOUS`, is taken.

    Raises:
        NoText: If there is no such column, or not one alone, with their names.
    """
    listed = ", ".join(names[:20])[:300] or "none"
    if wanted is not None:
        if wanted not in names:
            raise NoText(path, f"has no column '{wanted}'; its columns are: {listed}")
        return wanted
    obvious = [name for name in names if name.strip().lower() in OBVIOUS]
    if len(obvious) == 1:
        return obvious[0]
    if not obvious and len(of_text) == 1 and not by_name:
        return of_text[0]
    how = "Say which: --text-column NAME"
    if len(obvious or of_text) > 1:
        several = ", ".join(obvious or of_text)[:300]
        raise NoText(path, f"has several columns of text: {several}. {how}")
    if of_text:
        raise NoText(path, f"has no column {', '.join(OBVIOUS)}; its columns are: {listed}. {how}")
    raise NoText(path, f"has no column of text; its columns are: {listed}")
