"""The rows of a latency table's file: read, and held to what they may be, each by its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from device_profiles.reading import shown
from nasc.architecture.layers import Layer

ENTRY_TYPES: Mapping[str, type] = {
    "kind": str,
    "hidden_in": int,
    "hidden_out": int,
    "cost_ms": float,
    "std_error_ms": float,
}
MEASURED_TYPES: Mapping[str, type] = {
    "role": str,
    "latency_ms": float,
    "lower_ms": float,
    "upper_ms": float,
    "predicted_ms": float,
    "network": str,
}

MAX_MS = 1e7
"""No latency is above: hours of one run."""

MAX_ROWS = 100_000
"""Rows of one kind; tables of the presets hold 28 to 104 costs and 58 to 150 networks."""

FORMULA = ("=", "+", "-", "@")
"""What a cell begins with that a spreadsheet computes."""


def read_rows(lines: Sequence[str], columns: Mapping[str, type], first: int) -> pd.DataFrame:
    """Rows of CSV with known columns; Python's own float() reads back what was written.

    Args:
        lines: Of the file, the row of names first.
        columns: Names and types.
        first: Number of the first line in the file.

    Raises:
        ValueError: With the line and column of what is no such value.
    """
    if len(lines) > MAX_ROWS:
        raise ValueError(
            f"from line {first} on it holds {len(lines):,} rows, at most {MAX_ROWS:,} are read"
        )
    try:
        rows = list(csv.reader(lines))
    except csv.Error as error:
        raise ValueError(f"the rows from line {first} on are no CSV: {error}") from error
    if not rows or rows[0] != list(columns):
        raise ValueError(
            f"line {first} names columns {shown(rows[0] if rows else [])}, not {', '.join(columns)}"
        )
    for number, row in enumerate(rows[1:], first + 1):
        if len(row) != len(columns):
            raise ValueError(f"line {number} holds {len(row)} values, not {len(columns)}")
    return pd.DataFrame(
        {
            name: [
                _cell(row[i], kind, f"line {number}, column {name!r}")
                for number, row in enumerate(rows[1:], first + 1)
            ]
            for i, (name, kind) in enumerate(columns.items())
        }
    )


def _cell(text: str, kind: type, place: str) -> Any:
    """The value of a cell: text, a whole number from 1 on, or milliseconds."""
    if kind is str:
        if not text or text.startswith(FORMULA) or not text.isprintable():
            raise ValueError(f"{place} holds {shown(text)}, which is no name")
        return text
    pattern = r"[0-9]{1,9}" if kind is int else r"[0-9]{1,20}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?"
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError(f"{place} holds {shown(text)}, which is no number from 0 on")
    value = kind(text)
    if not (1 if kind is int else 0) <= value <= MAX_MS:
        raise ValueError(f"{place} holds {shown(text)}, which is out of range")
    return value


def check_entries(entries: pd.DataFrame, first: int, priced: Collection[Layer]) -> None:
    """Raise unless each row is the cost of another layer of the search space.

    Args:
        entries: As `read_rows` gives them.
        first: Number of the line with the first cost.
        priced: Layers of the space.

    Raises:
        ValueError: With the line of what is not.
    """
    seen: dict[Layer, int] = {}
    names = entries[["kind", "hidden_in", "hidden_out"]].itertuples(index=False, name=None)
    for number, about in enumerate(names, first):
        layer = Layer(*about)
        if layer in seen:
            raise ValueError(
                f"line {number} holds a second cost of {layer}, after line {seen[layer]}"
            )
        if layer not in priced:
            raise ValueError(
                f"line {number} holds a cost of {shown(str(layer))}, which no network of its "
                "search space has"
            )
        seen[layer] = number


def check_measured(measured: pd.DataFrame, first: int) -> None:
    """Raise unless each row is another network, with latencies above 0 in their order.

    Args:
        measured: As `read_rows` gives them.
        first: Number of the line with the first network.

    Raises:
        ValueError: With the line of what is not.
    """
    seen: dict[str, int] = {}
    rows = measured[list(MEASURED_TYPES)].itertuples(index=False, name=None)
    for number, (_, latency_ms, lower_ms, upper_ms, predicted_ms, network) in enumerate(
        rows, first
    ):
        for name, value in (("latency_ms", latency_ms), ("predicted_ms", predicted_ms)):
            if not value > 0:
                raise ValueError(f"line {number}, column {name!r} holds 0, no latency is that")
        if not lower_ms <= latency_ms <= upper_ms:
            raise ValueError(
                f"line {number} says that {latency_ms} ms lie between {lower_ms} and {upper_ms} ms"
            )
        if network in seen:
            raise ValueError(
                f"line {number} holds the network of line {seen[network]} a second time"
            )
        seen[network] = number
