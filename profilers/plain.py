"""Values out of saved records, each checked for its type and range: nothing is converted.

Records come from files that anybody may have written. Every function returns the value, or raises
ValueError with the field's name and what may stand there; whoever reads a record turns that into
an error of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from device_profiles.reading import shown

MAX_TEXT = 1000
"""Characters of a name or a hash in a record; chosen, 2026."""

MAX_COUNT = 1 << 53
"""Whole numbers in records; what JSON's readers in other languages keep exactly."""


def record(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping."""
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "an object")
    return value


def items(value: Any, name: str, most: int, least: int = 0) -> Sequence[Any]:
    """A list of so many entries."""
    if not isinstance(value, list | tuple):
        raise _wrong(name, value, "a list")
    if not least <= len(value) <= most:
        raise ValueError(f"{name} has {len(value):,} entries; it must have {least:,} to {most:,}")
    return value


def whole(value: Any, name: str, least: int = 0, most: int = MAX_COUNT) -> int:
    """A whole number in [least, most]."""
    if type(value) is not int or not least <= value <= most:
        raise _wrong(name, value, f"a whole number from {least:,} to {most:,}")
    return value


def number(value: Any, name: str, *, above: float = -math.inf) -> float:
    """A finite number above a bound."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, "a number")
    if not (math.isfinite(value) and value > above):
        limit = "" if above == -math.inf else f" above {above:g}"
        raise _wrong(name, value, f"a finite number{limit}")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def text(value: Any, name: str) -> str:
    """Text on one line that can be printed."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise _wrong(name, value, f"text of at most {MAX_TEXT} printable characters")
    return value


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "str": text,
    "int": whole,
    "float": number,
    "bool": flag,
}


def fields(kind: Any, data: Any, name: str) -> dict[str, Any]:
    """Those fields of a dataclass that are text, numbers or flags.

    Args:
        kind: The dataclass, its annotations being text.
        data: The record; it may lack what the dataclass has a default for.
        name: Of the record, for messages.

    Returns:
        By name; fields of other types are left out.

    Raises:
        ValueError: A field is missing or wrong.
    """
    data = record(data, name)
    found = {}
    for one in dataclasses.fields(kind):
        base, _, optional = str(one.type).partition(" | ")
        if base not in _READERS or optional not in ("", "None"):
            continue
        if one.name not in data:
            if one.default is dataclasses.MISSING:
                raise ValueError(f"{name} lacks {one.name}")
            continue
        value = data[one.name]
        empty = value is None and optional == "None"
        found[one.name] = None if empty else _READERS[base](value, f"{name}.{one.name}")
    return found


def _wrong(name: str, value: Any, allowed: str) -> ValueError:
    return ValueError(f"{name} = {shown(value)}; it must be {allowed}")
