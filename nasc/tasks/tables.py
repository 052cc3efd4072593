"""Rows of a task's data file: tabs, commas or JSON lines, packed with gzip or not."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from device_profiles.reading import FileRefused, shown
from nasc.data.records import BROKEN, json_rows, table_rows
from nasc.errors import TaskDataError
from nasc.tasks.hub import dataset_rows, is_dataset

SUFFIXES = (".tsv", ".csv", ".jsonl", ".txt")

MOST_BAD = 0.01
"""Share of rows of a wrong number of columns that may be skipped: QQP is published with some."""

MAX_BYTES = 512 << 20
"""What a file may hold, unpacked. The largest published one, MNLI's training file as JSON lines
with its parse trees, holds 428 MB."""

MAX_ROWS = 1_000_000
"""Rows of a file; MNLI, the largest task of GLUE, has 392,702."""

MAX_MEMORY = 1 << 30
"""Bytes of memory that rows may take; those of MNLI as JSON lines take 0.7 GB."""

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
        TaskDataError: If the file is missing, unreadable, damaged or too large, a text is none, or
            more than `MOST_BAD` of its rows would be skipped.
    """
    try:
        return _read(path, what, head)
    except FileRefused as error:
        raise TaskDataError(f"{what} {error}") from error
    except FileNotFoundError as error:
        raise TaskDataError(f"no {what} at '{path}'. Name another file") from error
    except OSError as error:
        raise TaskDataError(f"{what} '{path}' cannot be read: {error.strerror or error}") from error


def _read(path: Path, what: str, head: Sequence[str]) -> tuple[list[Row], int]:
    if is_dataset(path):
        return list(_bounded(_named(enumerate(dataset_rows(path, what), 1), path), path)), 0
    if "\0" in str(path):
        raise TaskDataError(f"no {what} at {shown(str(path))}: no path holds a NUL character")
    path = Path(os.path.expanduser(path))
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise TaskDataError(
            f"{what} '{path}': {', '.join(SUFFIXES)}, or one of them with .gz, is needed"
        )
    if suffix == ".jsonl":
        return list(_bounded(_named(json_rows(path, MAX_BYTES), path), path)), 0
    csv = suffix == ".csv"
    rows = table_rows(path, "," if csv else "\t", quoted=csv, max_bytes=MAX_BYTES)
    return _table(rows, head, what, path)


def _table(
    rows: Iterator[tuple[int, list[str]]], head: Sequence[str], what: str, path: Path
) -> tuple[list[Row], int]:
    names = list(head) or next(rows, (0, []))[1]
    bad: list[int] = []

    def complete() -> Iterator[Row]:
        for number, row in rows:
            if len(row) == len(names):
                yield number, dict(zip(names, row, strict=True))
            else:
                bad.append(number)
                if len(bad) > MOST_BAD * MAX_ROWS:
                    return

    good = list(_bounded(complete(), path))
    total = len(good) + len(bad)
    if len(bad) > MOST_BAD * total:
        raise TaskDataError(
            f"{what} '{path}', line {bad[0]}: not {len(names)} columns as in the head line; so are "
            f"{len(bad):,} of {total:,} rows, up to {MOST_BAD:.0%} would be skipped. Mend the "
            "file or name another"
        )
    return good, len(bad)


def _named(rows: Iterable[tuple[int, object]], path: Path) -> Iterator[Row]:
    """Rows whose values are texts; what is a list or an object again is no value of a task."""
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise FileRefused(path, f"is damaged: line {number}: no object of named values")
        yield (
            number,
            {
                str(name): str(value)
                for name, value in row.items()
                if isinstance(value, str | int | float)
            },
        )


def _bounded(rows: Iterator[Row], path: Path) -> Iterator[Row]:
    """Rows of sound text, not too many and not too large."""
    held = 0
    for number, row in itertools.islice(rows, MAX_ROWS):
        held += sys.getsizeof(row) + sum(map(sys.getsizeof, row.values()))
        if held > MAX_MEMORY:
            raise FileRefused(
                path,
                f"takes more than {MAX_MEMORY:,} bytes of memory up to row {number:,}. Leave out "
                "columns that the task does not need, or rows",
            )
        if not is_sound("".join(row.values())):
            for column, value in row.items():
                check_text(value, path, f"column {column!r} of row {number:,}")
        yield number, row
    if next(rows, None) is not None:
        raise FileRefused(path, f"has more than the {MAX_ROWS:,} rows that are read")


def is_sound(text: str) -> bool:
    """Whether a text can be written in UTF-8 and read by a tokenizer: see `check_text`."""
    if text.isascii():
        return "\0" not in text
    return BROKEN.search(text) is None


def check_text(text: str, path: Path, where: str) -> None:
    """Raise unless a text is sound.

    Raises:
        FileRefused: With the place of a lone surrogate, which is half a character, or of NUL.
    """
    broken = BROKEN.search(text)
    if broken is None:
        return
    if broken[0] == "\0":
        raise FileRefused(path, f"holds a NUL character in {where}: mend it or leave the row out")
    raise FileRefused(
        path,
        f"holds a lone surrogate (half a character, {broken[0]!r}) in {where}: mend it or leave "
        "the row out",
    )


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns of rows; none of no rows."""
    return list(rows[0][1]) if rows else []
