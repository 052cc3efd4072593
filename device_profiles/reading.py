"""The one way in for files from outside: regular, bounded, of plain structure, or refused in words.

Whoever reads a file that somebody else may have written (packages, teachers, tables, supernets,
search spaces, devices, corpora, records) reads it here, and turns `FileRefused` into an error of
their own kind. It lies in the lowest of the three packages, so that all of them can use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

MAX_BYTES = 128 << 20
"""What a JSON or TOML file may hold where nobody says less. The largest that are met, tokenizers of
250,000 pieces, hold 17 to 33 MB (tokenizer.json of XLM-R and of Gemma, 2026)."""

MAX_DEPTH = 64
"""Lists and objects within each other; files that are met have 12 (manifest.json, 2026)."""

MAX_ITEMS = 4_000_000
"""Lists, objects and commas of a JSON text: each may take 240 bytes of memory, for five of text.
Tokenizers of 260,000 pieces and 580,000 pairs of them have 2 million (Gemma, 2026)."""

MAX_DOTS = 500
"""Dots in a line of TOML; Python's reader takes time with the square of the parts of a key."""

MAX_DIGITS = 40
"""Digits of a whole number; 64 bits have 20."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_PLURALS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "an object",
    "boolean": "true or false",
    "null": "null",
}


class FileRefused(Exception):
    """A file that is not read, with the reason.

    Attributes:
        path: The file.
        reason: What is wrong with it, as the end of a sentence about the file.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"'{path}' {reason}")
        self.path = Path(path)
        self.reason = reason


class FileTooLarge(FileRefused):
    """A file that holds more than its reader keeps."""


@contextlib.contextmanager
def opened(path: Path | str, max_bytes: int | None = None) -> Iterator[BufferedReader]:
    """A regular file, open for reading bytes. Links are followed.

    Args:
        path: The file.
        max_bytes: What it may hold; None is for readers that stream.

    Raises:
        FileRefused: If it is no regular file, or larger.
        OSError: If it cannot be opened or read.
    """
    # Looked at before it is opened, since opening a device may do something, and after, since
    # another file may lie there by then. Without O_NONBLOCK a pipe would wait for a writer.
    _check_kind(path, os.stat(path).st_mode)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        _check_kind(path, found.st_mode)
        if max_bytes is not None and found.st_size > max_bytes:
            raise FileTooLarge(
                path, f"holds {found.st_size:,} bytes, at most {max_bytes:,} are read"
            )
        yield file


def _check_kind(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise FileRefused(path, f"is no file but {kind}")


def sha256_of(path: Path | str, max_bytes: int | None = None) -> str:
    """Of a regular file's bytes, as hexadecimal digits; the file is never in memory as a whole.

    Args:
        path: The file.
        max_bytes: What it may hold; None is any size.

    Raises:
        FileRefused: If it is no regular file, or larger.
        OSError: If it cannot be read.
    """
    with opened(path, max_bytes) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path | str, max_bytes: int = MAX_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        FileRefused: If it is no regular file, or larger.
        OSError: If it cannot be read.
    """
    with opened(path, max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:  # files of /proc, and those that grow, do not tell their size
        raise FileTooLarge(path, f"holds more than the {max_bytes:,} bytes that are read")
    return content


def read_text(path: Path | str, max_bytes: int = MAX_BYTES) -> str:
    """A file's text, in UTF-8 with or without a byte order mark.

    Raises:
        FileRefused: If it is no regular file, larger, or not in UTF-8.
        OSError: If it cannot be read.
    """
    try:
        return read_bytes(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileRefused(path, f"is not text in UTF-8 (byte {error.start:,})") from error


def read_json(
    path: Path | str, max_bytes: int = MAX_BYTES, schema: Mapping[str, Any] | None = None
) -> Any:
    """What a JSON file holds: see `parse_json`.

    Raises:
        FileRefused: Also if it is no regular file, larger, or not in UTF-8.
        OSError: If it cannot be read.
    """
    return parse_json(read_text(path, max_bytes), path, schema)


def read_toml(
    path: Path | str, max_bytes: int = 1 << 16, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a TOML file holds, as bounded as `parse_json`'s.

    Raises:
        FileRefused: If it is no regular file, larger, no TOML, or does not fit.
        OSError: If it cannot be read.
    """
    text = read_text(path, max_bytes)
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise FileRefused(path, f"has a line with more than {MAX_DOTS} dots")
    data: dict[str, Any] = _parsed(path, "TOML", lambda: tomllib.loads(text))
    _bounded(path, data)
    if schema is not None:
        conform(data, schema, path)
    return data


def parse_json(text: str | bytes, path: Path | str, schema: Mapping[str, Any] | None = None) -> Any:
    """What a JSON text holds.

    Args:
        text: The text.
        path: Where it comes from, for messages.
        schema: JSON Schema that it must fit; see `conform`.

    Returns:
        Plain data whose numbers are finite, of at most `MAX_DIGITS` digits and `MAX_DEPTH` levels.

    Raises:
        FileTooLarge: If it has more than `MAX_ITEMS` lists, objects and commas.
        FileRefused: If it is no such JSON, or does not fit.
    """
    check_items(text, path)
    data = _parsed(
        path,
        "JSON",
        lambda: json.loads(
            text,
            parse_constant=lambda word: _not_finite(path, word),
            parse_float=lambda digits: _finite(path, digits),
            parse_int=lambda digits: _whole(path, digits),
        ),
    )
    _bounded(path, data)
    if schema is not None:
        conform(data, schema, path)
    return data


_ITEM = re.compile(r'(?:[^"\[{,]++|"[^"\\]*+(?:\\.?[^"\\]*+)*+"?)*+([\[{,]|\Z)', re.DOTALL)
"""A list, an object or a comma, with all that is before it, strings among it as wholes."""


def check_items(text: str | bytes, path: Path | str) -> None:
    """Raise if a JSON text, once parsed, would take too much memory.

    Raises:
        FileTooLarge: If it has more than `MAX_ITEMS` lists, objects and commas.
    """
    if len(text) <= MAX_ITEMS:
        return
    plain = text if isinstance(text, str) else text.decode("latin-1")
    if sum(map(plain.count, "[{,")) <= MAX_ITEMS:
        return
    found = itertools.islice(_ITEM.finditer(plain), MAX_ITEMS + 1)  # without those in strings
    if sum(bool(item[1]) for item in found) > MAX_ITEMS:
        raise FileTooLarge(path, f"holds more than {MAX_ITEMS:,} lists, objects and commas")


def conform(data: Any, schema: Mapping[str, Any], path: Path | str) -> None:
    """Raise unless plain data fits a JSON Schema (2020-12).

    Args:
        data: As `parse_json` gives it.
        schema: What it must fit. A list counts as an array, nothing else does.
        path: Where it comes from, for the message.

    Raises:
        FileRefused: With the place of what fits worst.
    """
    import jsonschema  # half a second, and most files need none

    checks: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, {"pattern": fits_pattern}
    )
    try:
        error = jsonschema.exceptions.best_match(checks(schema).iter_errors(data))
    except RecursionError:
        raise FileRefused(path, "is nested too deeply") from None
    if error is not None:
        raise FileRefused(path, _complaint(error))


def fits_pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[Any]:
    """The keyword `pattern` of JSON Schema: its `$` is the end, as in ECMA-262.

    Python's is before a line break at the end too, which jsonschema does not mend.

    Args:
        validator: Of jsonschema.
        pattern: A regular expression.
        text: What it must fit, if it is a text.
        schema: That it stands in.

    Yields:
        What is wrong, as jsonschema says it.
    """
    import jsonschema

    ends = re.sub(r"(?<!\\)\$$", r"\\Z", pattern)
    if validator.is_type(text, "string") and not re.search(ends, text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern!r}")


def _complaint(error: Any) -> str:
    """A schema's complaint in words: the place, what stands there, what may."""
    place = ".".join(str(part) for part in error.absolute_path)
    where = f"has {place} = {shown(error.instance)}" if place else "does not hold what it must"
    if error.validator == "type":
        kinds = (
            [error.validator_value]
            if isinstance(error.validator_value, str)
            else list(error.validator_value)
        )
        return f"{where}; it must be {' or '.join(_PLURALS[kind] for kind in kinds)}"
    if error.validator in ("enum", "const"):
        allowed = error.validator_value if error.validator == "enum" else [error.validator_value]
        return f"{where}; allowed: {', '.join(map(shown, allowed))}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{f'at {place} ' if place else ''}lacks {', '.join(map(shown, missing))}"
    if error.validator in ("additionalProperties", "dependentRequired"):
        return f"{f'at {place}' if place else ''}: {error.message[:300]}".lstrip(": ")
    limits = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
    }
    if error.validator in limits:
        return f"{where}; it must be {limits[error.validator]} {error.validator_value}"
    return f"{where}: {error.message[:300]}"


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, without control characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _parsed(path: Path | str, kind: str, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except RecursionError:
        raise FileRefused(path, "is nested too deeply") from None
    except ValueError as error:
        raise FileRefused(path, f"is not valid {kind}: {error}") from error


def _not_finite(path: Path | str, word: str) -> NoReturn:
    raise FileRefused(path, f"holds {word}, which is no number of JSON")


def _finite(path: Path | str, digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise FileRefused(path, f"holds {digits[:40]}, which is too large")
    return value


def _whole(path: Path | str, digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise FileRefused(path, f"holds a number of {len(digits):,} digits")
    return int(digits)


def _bounded(path: Path | str, data: Any) -> None:
    """Raise where data is nested too deeply, or a number is not finite or too long.

    JSON's numbers were looked at while they were read; those of TOML are here.
    """
    level, depth = [data], 0
    while level:
        if depth > MAX_DEPTH:
            raise FileRefused(path, f"is nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, float) and not math.isfinite(value):
                _not_finite(path, str(value))
            elif isinstance(value, int) and value.bit_length() > 3.33 * MAX_DIGITS:
                raise FileRefused(path, f"holds a number of more than {MAX_DIGITS} digits")
        level, depth = below, depth + 1
