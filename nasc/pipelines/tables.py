"""What `nasc tables` does: latency tables of the cache, listed, shown, sent, taken in, compared."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import device_profiles
import profilers
from device_profiles import DeviceProfileError
from nasc.errors import NascError, UsageError
from nasc.latency.comparing import TableDiff, compare
from nasc.latency.key import LatencyKey
from nasc.latency.listing import ListedTable, find_named, list_tables, why_unusable
from nasc.latency.offline import unreachable
from nasc.latency.session import MeasurementSession
from nasc.latency.shared_file import read_shared
from nasc.latency.sharing import adopted, check_replaceable, in_its_place, place, to_share
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import table_name, tables_folder
from nasc.latency.table_report import TableReport
from nasc.utils.files import cache_folder, replacing
from nasc.utils.outputs import check_file, full_path


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """A table that was written for others.

    Attributes:
        name: In the cache.
        path: The file.
        size_bytes: Of it.
        samples: Whether the measured samples are in it.
    """

    name: str
    path: Path
    size_bytes: int
    samples: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "name": self.name,
            "path": str(self.path),
            "bytes": self.size_bytes,
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """A table that was taken into the cache.

    Attributes:
        table: As it stands there.
        path: Its file.
        samples: Whether the measured samples came with it.
        replaced: Tables whose place it took, in words.
        unchecked: Why it was not compared with its device; None where it was.
    """

    table: LatencyTable
    path: Path
    samples: bool
    replaced: tuple[str, ...]
    unchecked: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "name": table_name(self.path),
            "path": str(self.path),
            "table": self.table.key.describe(),
            "samples": self.samples,
            "replaced": list(self.replaced),
            "foreign": self.table.foreign,
            "note": self.table.note,
            "unchecked": self.unchecked,
        }

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        return [
            ("table", self.table.key.describe()),
            ("name", table_name(self.path)),
            ("file", str(self.path)),
            ("samples", "with it" if self.samples else "none came with it"),
            *(("replaced", text) for text in self.replaced),
            *([] if self.table.note is None else [("note", self.table.note)]),
            *([] if self.unchecked is None else [("not checked", self.unchecked)]),
        ]


def tables(
    *, cache: Path | None = None, opener: profilers.Opener | None = None
) -> list[ListedTable]:
    """Every latency table of the cache; those that cannot be read with the reason.

    Args:
        cache: Cache folder.
        opener: Starts a worker on a device; None is `profilers.open_worker`.
    """
    folder = cache_folder(cache)
    return list_tables(tables_folder(folder), partial(_key_fields, folder, opener))


def show_table(
    name_or_file: str | Path,
    *,
    cache: Path | None = None,
    opener: profilers.Opener | None = None,
) -> TableReport:
    """Where a table comes from, how far it is off, and what it holds.

    Args:
        name_or_file: A name in the cache, its beginning, the hash at its end; or a file.
        cache: Cache folder.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        TableMissing, TableDamaged, UsageError: If there is no such table, it cannot be read, or
            several are named so.
    """
    folder = cache_folder(cache)
    path, table = read_named(folder, name_or_file)
    here = _key_fields(folder, opener, table.key)
    reason = why_unusable(table.key, here, emulated=table.emulated)
    return TableReport(ListedTable(path, table, reason), table)


def export_table(
    name: str,
    output: Path,
    *,
    samples: bool = False,
    force: bool = False,
    cache: Path | None = None,
) -> ExportedTable:
    """Write a table of the cache into one file for others.

    Args:
        name: In the cache, or a part of it: see `show_table`.
        output: The file.
        samples: Whether the measured samples go with it.
        force: Whether a file that lies there may be replaced.
        cache: Cache folder.

    Raises:
        TableMissing, TableDamaged, UsageError: See `show_table`; or its samples are not there, or
            the file may not be replaced.
        NascError: If it cannot be written.
    """
    path = find_named(tables_folder(cache_folder(cache)), str(name))
    if path is None:
        raise UsageError(
            f"'{name}' is a file, and no name in the cache: a table's file is sent as it is. "
            "Names: nasc tables list"
        )
    check_file(output, "--output FILE", force=force)
    content = to_share(path, samples=samples).encode()
    try:
        with replacing(full_path(output), new=not force) as part:
            part.write_bytes(content)
    except FileExistsError as error:
        raise UsageError(
            f"'{output}' came to be meanwhile. Replace it: --force; or name another: --output FILE"
        ) from error
    except OSError as error:
        raise NascError(
            f"cannot write '{output}': {error.strerror or error}. Name another: --output FILE"
        ) from error
    return ExportedTable(table_name(path), output, len(content), samples)


def import_table(
    file: Path,
    *,
    device: str | None = None,
    accept_other_machine: bool = False,
    force: bool = False,
    cache: Path | None = None,
    opener: profilers.Opener | None = None,
) -> ImportedTable:
    """Take a table from elsewhere into the cache.

    Where the device cannot be reached it is taken unchecked: `nasc search` predicts by it, and says
    so; once the device is there, it is used if it is of such a processor and runtime.

    Args:
        file: From `export_table`.
        device: That it is for: a name or the path of a profile; None takes the known device of the
            name that it has in the table.
        accept_other_machine: Take a table of another processor or another version of the runtime;
            everything made from it then says so.
        force: Put it in the place of a table that was measured here.
        cache: Cache folder.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        TableMissing, TableDamaged: If there is no such file, it is damaged or contradicts itself.
        TableRefused: If it is of another machine, cannot be used on the device, or one that was
            measured here answers the same.
        UsageError: If it names a device that is not known here.
        profilers.ProfilerError: If the device is reached and does not work.
        NascError: If the cache cannot be written.
    """
    folder = cache_folder(cache)
    found = read_shared(Path(os.path.expanduser(file)))
    key = found.table.as_measured().key
    if device is None and key.device not in device_profiles.names():
        # A name in somebody's file is never taken for the path of a profile.
        raise UsageError(
            f"the latency table '{file}' is of a device {key.device!r}, which is not known here. "
            f"Say which it is for: --device NAME; known: {', '.join(device_profiles.names())}"
        )
    session = _session(folder, opener, key, device)
    why = unreachable(session)
    table = adopted(found, session, accept_other_machine=accept_other_machine, reached=why is None)
    where = tables_folder(folder)
    replaced = in_its_place(where, table)
    if not force:
        check_replaceable(replaced, where)
    path = place(where, table, found.samples, replaced)
    unchecked = None
    if why is not None:
        unchecked = (
            f"the device, which cannot be reached ({why.reason.rstrip('.')}): the table is used on "
            f"it if it has the fingerprint {table.key.fingerprint} and {table.key.runtime} "
            f"{table.key.runtime_version}; until then nasc search predicts by it"
        )
    words = tuple(map(str, replaced))
    return ImportedTable(table, path, found.samples is not None, words, unchecked)


def diff_tables(a: str | Path, b: str | Path, *, cache: Path | None = None) -> TableDiff:
    """How the costs of two tables differ.

    Args:
        a: See `show_table`.
        b: As well.
        cache: Cache folder.

    Raises:
        TableMissing, TableDamaged, UsageError: See `show_table`.
    """
    folder = cache_folder(cache)
    (path_a, table_a), (path_b, table_b) = read_named(folder, a), read_named(folder, b)
    return compare(table_a, table_b, (table_name(path_a), table_name(path_b)))


def read_named(cache: Path, name_or_file: str | Path) -> tuple[Path, LatencyTable]:
    """A table of the cache by its name; or a file, checked as what comes from elsewhere.

    Raises:
        TableMissing, TableDamaged, UsageError: See `show_table`.
    """
    path = find_named(tables_folder(cache), str(name_or_file))
    if path is not None:
        return path, load_table(path)
    path = Path(os.path.expanduser(name_or_file))
    return path, read_shared(path).table


def _session(
    cache: Path, opener: profilers.Opener | None, key: LatencyKey, device: str | None = None
) -> MeasurementSession:
    """Where a table like one of a key would be measured now.

    Raises:
        DeviceProfileError: If there is no such device.
    """
    found = device_profiles.find(key.device if device is None else device)
    if key.cores:
        found = dataclasses.replace(found, default_cores=key.cores)
    return MeasurementSession.on(
        found,
        cache,
        key.threads,
        key.runtime,
        sustained_minutes=key.sustained_minutes,
        opener=opener,
    )


def _key_fields(
    cache: Path, opener: profilers.Opener | None, key: LatencyKey
) -> Mapping[str, Any] | str:
    """See `nasc.latency.listing.KeyFields`."""
    if key.device not in device_profiles.names():
        return f"device {key.device!r} is not known here by its name (nasc devices)"
    try:
        return _session(cache, opener, key).key_fields(key.precision)
    except (DeviceProfileError, profilers.ProfilerError, NascError) as error:
        return f"device {key.device!r} cannot be asked: {error}"
