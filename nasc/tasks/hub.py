"""Labelled examples from a data set of the datasets library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device_profiles.reading import shown
from nasc.data.hub import PREFIX, bad_id, expanded
from nasc.errors import TaskDataError


def is_dataset(source: str | Path) -> bool:
    """Whether a source is a data set's id, not a file."""
    return str(source).startswith(PREFIX)


def dataset_rows(source: str | Path, what: str) -> Iterator[dict[str, Any]]:
    """Rows of one part of a data set.

    Args:
        source: ``datasets:NAME:CONFIG:PART``, as in ``datasets:nyu-mll/glue:sst2:train``; the
            configuration may be empty.
        what: The data, for messages: ``SST-2 data``.

    Raises:
        TaskDataError: If it is no id or names no part, the library is missing, or it cannot be
            read.
    """
    name, config, part = [*str(source).removeprefix(PREFIX).split(":", 2), "", ""][:3]
    if not name or not part:
        raise TaskDataError(
            f"{what} '{source}' names no part of a data set; write datasets:NAME:CONFIG:PART, for "
            "example datasets:nyu-mll/glue:sst2:train"
        )
    name = expanded(name)
    if (reason := bad_id(name, config, part)) is not None:
        raise TaskDataError(f"{what} {shown(str(source))} {reason}")
    try:
        import datasets  # optional: installed with an extra
    except ImportError as error:
        raise TaskDataError(
            f"{what} '{source}' needs the datasets library, which is not installed. Install it: "
            "pip install 'nasc[datasets]'"
        ) from error
    try:
        yield from datasets.load_dataset(name, config or None, split=part, streaming=True)
    except Exception as error:  # whatever the library, the network or the files raise
        reason = " ".join(str(error).split())[:300]
        raise TaskDataError(
            f"{what} '{source}' cannot be read ({type(error).__name__}: {reason}). Check its name "
            "and the network, or give a file"
        ) from error
