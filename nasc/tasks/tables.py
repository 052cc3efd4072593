"""Rows of a task's data file: tabs, commas or JSON lines, packed with gzip or not."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from nasc.errors import TaskDataError
from nasc.tasks.hub import dataset_rows, is_dataset

SUFFIXES = (".tsv", ".csv", ".jsonl", ".txt")

MOST_BAD = 0.01
"""Share of rows of a wrong number of columns that may be skipped: QQP is published with some."""

Row = tuple[int, dict[str, str]]
"""A line's number and its values by column."""


def read_rows(path: Path, what: str, head: Sequence[str] = ()) -> tuple[list[Row], int]:
    """Rows of a file with a head line, or of JSON lines.

    Args:
        path: A .tsv or .txt as GLUE ships it (tabs, no quoting), a .csv or a .jsonl, or one with
            .gz; or a data set's part, see `nasc.tasks.hub`.
        what: The data, for messages: ``STS data``.
        head: Names of the columns where the file has no head line; empty where it has one.

    Returns:
        The rows, and how many more were skipped: those of another number of columns than the
        head line.

    Raises:
        TaskDataError: If the file is missing, unreadable or damaged, or more than `MOST_BAD` of
            its rows would be skipped.
    """
    if is_dataset(path):
        rows = enumerate(dataset_rows(path, what), 1)
        return [(number, _texts(values)) for number, values in rows], 0
    path = path.expanduser()
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise TaskDataError(
            f"{what} '{path}': {', '.join(SUFFIXES)}, or one of them with .gz, is needed"
        )
    try:
        with _open(path) as file:
            if suffix == ".jsonl":
                return list(_json_lines(file, what, path)), 0
            if suffix == ".csv":
                return _table(csv.DictReader(file, head or None), what, path)
            reader = csv.DictReader(file, head or None, delimiter="\t", quoting=csv.QUOTE_NONE)
            return _table(reader, what, path)
    except FileNotFoundError as error:
        raise TaskDataError(f"no {what} at '{path}'. Name another file") from error
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise TaskDataError(f"{what} '{path}' is damaged or not text: {error}") from error
    except OSError as error:  # not gzip at all is one, too
        raise TaskDataError(f"{what} '{path}' cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _table(rows: csv.DictReader[str], what: str, path: Path) -> tuple[list[Row], int]:
    width = len(rows.fieldnames or [])
    good: list[Row] = []
    bad: list[int] = []
    for row in rows:
        if None in row or None in row.values():
            bad.append(rows.line_num)
        else:
            good.append((rows.line_num, row))
    total = len(good) + len(bad)
    if len(bad) > MOST_BAD * total:
        raise TaskDataError(
            f"{what} '{path}', line {bad[0]}: not {width} columns as in the head line; so are "
            f"{len(bad):,} of {total:,} rows, up to {MOST_BAD:.0%} would be skipped. Mend the "
            "file or name another"
        )
    return good, len(bad)


def _texts(row: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in row.items() if value is not None}


def _json_lines(file: TextIO, what: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TaskDataError(f"{what} '{path}', line {number}: no JSON: {error}") from error
        if not isinstance(row, dict):
            raise TaskDataError(f"{what} '{path}', line {number}: no object of named values")
        yield number, _texts(row)


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns of rows; none of no rows."""
    return list(rows[0][1]) if rows else []
