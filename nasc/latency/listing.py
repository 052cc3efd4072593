"""The tables of a cache: which there are, how they are named, and which may be used here now."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasc.errors import TableDamaged, TableError, TableMissing, UsageError
from nasc.latency.key import LatencyKey
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import SUFFIX, table_files, table_name

KeyFields = Callable[[LatencyKey], Mapping[str, Any] | str]
"""What tables like one must hold for on its device as it is now (`MeasurementSession.key_fields`);
or why that cannot be told."""

DIFFERENCES = {
    "fingerprint": "another processor (fingerprint {there}, here {here})",
    "runtime_version": "{runtime} {there}, here {here}",
    "options": "other runtime options",
    "emitter_version": "graphs of another release of nasc",
    "statistic": "statistic {there}, here {here}",
    "reference": "another reference network",
    "accelerator": "measured on {there}, the device computes on {here}",
    "records": "other tuning records",
}
"""How a table differs from one that would be measured here now, by field of its key."""


@dataclass(frozen=True, slots=True)
class ListedTable:
    """A table in a cache.

    Attributes:
        path: Its file.
        table: The table; None where it cannot be read.
        unusable: Why it is not used on its device as that is now, in words; None if it may be.
    """

    path: Path
    table: LatencyTable | None
    unusable: str | None

    @property
    def name(self) -> str:
        """What `nasc tables` calls it."""
        return table_name(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        about: dict[str, Any] = {
            "name": self.name,
            "path": str(self.path),
            "readable": self.table is not None,
            "usable": self.unusable is None,
            "reason": self.unusable,
        }
        if self.table is None:
            return about
        table, key = self.table, self.table.key
        return about | {
            "device": key.device,
            "runtime": key.runtime,
            "runtime_version": table.as_measured().key.runtime_version,
            "precision": key.precision,
            "seq_len": key.seq_len,
            "batch": key.batch,
            "fixed_shape": key.fixed_shape,
            "threads": key.threads,
            "head": key.head,
            "sustained_minutes": key.sustained_minutes,
            "accelerator": key.accelerator,
            "records_sha256": key.records or None,
            "space": table.space.name,
            "entries": len(table.entries),
            "networks": len(table.measured),
            "mean_error": mean_error(table),
            "created": table.created,
            "processor": table.processor,
            "fingerprint": table.as_measured().key.fingerprint,
            "imported_utc": None if table.imported is None else table.imported.imported_utc,
            "foreign": table.foreign,
            "transferred": None
            if table.transferred is None
            else dataclasses.asdict(table.transferred),
        }


def mean_error(table: LatencyTable) -> float | None:
    """Mean relative error of the networks that their prediction had not seen, as a share."""
    return float(np.mean(np.abs(table.held_out))) if table.held_out else None


def list_tables(folder: Path, key_fields: KeyFields) -> list[ListedTable]:
    """Every table of a folder, ordered by name; those that cannot be read with the reason.

    Args:
        folder: Of tables in a cache.
        key_fields: Asked once for each device, runtime, precision, threads, cores and load.

    Raises:
        OSError: If the folder is there and cannot be read.
    """
    known: dict[Hashable, Mapping[str, Any] | str] = {}
    found = []
    for path in table_files(folder):
        try:
            table = load_table(path)
        except TableDamaged as error:
            found.append(ListedTable(path, None, f"damaged: {error.reason}"))
            continue
        except TableError as error:
            found.append(ListedTable(path, None, error.message))
            continue
        key = table.key
        about = (
            *(key.device, key.runtime, key.precision, key.threads),
            *(key.cores, key.sustained_minutes),
        )
        if about not in known:
            known[about] = key_fields(key)
        reason = why_unusable(key, known[about], emulated=table.emulated)
        found.append(ListedTable(path, table, reason))
    return found


def devices_of(folder: Path) -> list[str]:
    """Devices of which a folder has tables that can be read, ordered.

    Raises:
        OSError: If the folder is there and cannot be read.
    """
    found = set()
    for path in table_files(folder):
        try:
            found.add(load_table(path).key.device)
        except TableError:
            continue
    return sorted(found)


def why_unusable(
    key: LatencyKey, here: Mapping[str, Any] | str, *, emulated: bool = False
) -> str | None:
    """Why a table is not used on its device as that is now; None if it may be.

    Args:
        key: Of the table.
        here: What it must hold for, or why that cannot be told.
        emulated: Whether it was measured on an emulated device.
    """
    if emulated:
        return "emulated: its milliseconds mean nothing, no search takes it"
    if isinstance(here, str):
        return here
    return "; ".join(differences(key, here).values()) or None


def differences(key: LatencyKey, here: Mapping[str, Any]) -> dict[str, str]:
    """By field of a table's key, how it differs from one that would be measured here now."""
    return {
        name: DIFFERENCES[name].format(there=getattr(key, name), here=value, runtime=key.runtime)
        for name, value in here.items()
        if getattr(key, name) != value
    }


def find_named(folder: Path, text: str) -> Path | None:
    """The file of a table that is named as in `nasc tables list`, or by a part of that.

    Args:
        folder: Of tables in a cache.
        text: The name, its beginning, or that of the hash at its end; or the path of a file.

    Returns:
        None where it is no name in the cache but the path of a file.

    Raises:
        UsageError: If several tables are named so.
        TableMissing: If it is neither.
        OSError: If the folder is there and cannot be read.
    """
    by_name = {table_name(path): path for path in table_files(folder)}
    wanted = text.removesuffix(SUFFIX)
    if wanted in by_name:
        return by_name[wanted]
    if text and os.path.lexists(os.path.expanduser(text)):
        return None
    near = [
        name
        for name in by_name
        if wanted and (name.startswith(wanted) or name.rpartition("-")[2].startswith(wanted))
    ]
    if len(near) == 1:
        return by_name[near[0]]
    if near:
        raise UsageError(
            f"{len(near)} tables are named {text!r}: {', '.join(near[:5])}"
            f"{', ...' if len(near) > 5 else ''}. Give the whole name, or the hash at its end"
        )
    close = difflib.get_close_matches(wanted, by_name, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TableMissing(
        f"no latency table {text!r}: it is neither a name in the cache ('{folder}') nor a file."
        f"{hint} List them: nasc tables list"
    )
