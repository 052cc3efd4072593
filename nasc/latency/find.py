"""Which saved table answers a question, and what to say where none does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles import Noise
from device_profiles.sustained import load_words
from nasc.architecture.space import SearchSpace
from nasc.errors import TableDamaged, TableMissing
from nasc.latency.key import LatencyKey, device_prefix
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import table_files

_WORDS = {
    "precision": "{key.precision}",
    "seq_len": "length {key.seq_len}",
    "threads": "threads {key.threads}",
    "batch": "batch {key.batch}",
    "head": "head {key.head}",
    "runtime": "{key.runtime}",
    "runtime_version": "{key.runtime} {key.runtime_version}",
    "options": "other runtime options",
    "geometry": "another teacher",
    "fingerprint": "another processor",
    "emitter_version": "graphs of an older release",
    "statistic": "statistic {key.statistic}",
    "reference": "another reference network",
    "fixed_shape": "{key.shape_text}",
    "accelerator": "on {key.accelerator}",
    "records": "other tuning records",
    "quiet_ms": "scale of {key.quiet_ms:.4g} ms",
}
"""How a table differs from what was asked for, by field of its key."""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table and the file it came from."""

    table: LatencyTable
    path: Path


def find_table(
    folders: Iterable[Path],
    query: LatencyKey,
    space: SearchSpace,
    noise: Noise | None = None,
    *,
    transferred: bool = True,
) -> FoundTable:
    """The newest table that fits and has a cost of every layer of a space.

    One that was imported, or transferred, is taken only where none was measured for this cache.

    It comes in milliseconds of the quiet time asked for, if it was measured on one near that.

    Args:
        folders: Where tables may be; missing folders are passed over.
        query: What the table must hold for, in every point.
        space: Whose layers are needed; the table may have been measured for a larger one.
        noise: Of the device as it is known now; None leaves the interval as it was measured.
        transferred: Whether one will do that was transferred from another device.

    Raises:
        TableMissing: If there is none, naming those that come near and the command to run.
        TableDamaged: If the table is there but damaged.
    """
    others: list[LatencyTable] = []
    fitting: list[FoundTable] = []
    damaged: TableDamaged | None = None
    for path in _files(folders, query.device):
        try:
            table = load_table(path)
        except TableMissing:  # of another release
            continue
        except TableDamaged as error:
            if path.name.startswith(query.stem()):
                damaged = error
            continue
        if not transferred and table.transferred is not None:
            continue
        if not _apart(table, query) and table.covers(space):
            if noise is not None:
                table = table.with_noise(noise)
            fitting.append(FoundTable(table.rescaled(query.quiet_ms), path))
        else:
            others.append(table)
    if fitting:
        return max(fitting, key=preference)
    if damaged is not None:
        raise damaged
    raise TableMissing(
        f"no latency table for {query.describe()}. {_near(others, query)} "
        f"Measure one: {query.command()}"
    )


def preference(found: FoundTable) -> tuple[bool, bool, bool, str, str]:
    """Of such a machine first, then measured whole, then measured here, then the newest."""
    table = found.table
    return (
        table.foreign is None,
        table.transferred is None,
        table.imported is None,
        table.created,
        found.path.name,
    )


def _files(folders: Iterable[Path], device: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in table_files(folder)
        if path.name.startswith(device_prefix(device))
    ]


def tables_of(folders: Iterable[Path], device: str) -> list[LatencyTable]:
    """All tables of a device that can be read.

    Args:
        folders: Where tables may be; missing folders are passed over.
        device: Its name.
    """
    found = []
    for path in _files(folders, device):
        try:
            found.append(load_table(path))
        except (TableMissing, TableDamaged):
            continue
    return [table for table in found if table.key.device == device]


def _apart(table: LatencyTable, query: LatencyKey) -> set[str]:
    """Fields in which a table is not what is wanted; a scale near the one asked for is none."""
    near = {"quiet_ms"} if table.is_near(query.quiet_ms) else set()
    return set(query.differences(table.key)) - near


def _near(tables: Sequence[LatencyTable], query: LatencyKey) -> str:
    """What is there instead, in words: each table by what sets it apart."""
    words = set()
    for table in tables:
        apart = _apart(table, query)
        if "device" in apart:
            continue
        said = [text.format(key=table.key) for name, text in _WORDS.items() if name in apart]
        if (load := load_words(table.key.sustained_minutes)) is not None:
            said.append(load)
        words.add(", ".join(said) or f"another search space ({table.space.name})")
    if not words:
        return "There is none for this device yet."
    return f"Tables exist for: {'; '.join(sorted(words))}."


def find_source(
    folder: Path, device: str, query: LatencyKey, space: SearchSpace
) -> FoundTable | None:
    """The table of another device, or another setting, that is most like one that is wanted.

    Args:
        folder: Of tables in a cache.
        device: Whose tables are looked at.
        query: What is wanted.
        space: Whose layers are needed.

    Returns:
        One that was measured whole; None where there is none of this space.
    """
    found = []
    for path in _files([folder], device):
        try:
            table = load_table(path)
        except (TableMissing, TableDamaged):
            continue
        if table.key.device == device and table.transferred is None and table.covers(space):
            found.append(FoundTable(table, path))
    return max(found, key=lambda one: _likeness(one, query), default=None)


def _likeness(found: FoundTable, query: LatencyKey) -> tuple[bool | str, ...]:
    """What most decides the ratios of costs comes first; among equals the newest."""
    key = found.table.key
    same = (getattr(key, name) == getattr(query, name) for name in _LIKENESS)
    return (*same, found.table.foreign is None, found.table.created, found.path.name)


_LIKENESS = ("accelerator", "precision", "runtime", "seq_len", "batch", "threads", "fixed_shape")
