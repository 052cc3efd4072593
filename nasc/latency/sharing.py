"""Tables that travel: sent as one checked file, taken into a cache as what they are.

What is sent is the table's own file, under the key of where it was measured, with the samples in
its head where they are wanted. What is taken in stands under the key of the device here, and
remembers where it was measured (`Imported`): a table of another processor or of another version of
the runtime only if the user says so, and then whatever is made from it says so too
(`LatencyTable.foreign`).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from device_profiles.reading import FileRefused, read_bytes
from nasc.errors import NascError, TableDamaged, TableError, TableRefused
from nasc.latency.key import LatencyKey
from nasc.latency.listing import differences
from nasc.latency.session import MeasurementSession
from nasc.latency.shared_file import MAX_BYTES, check_shared
from nasc.latency.table import Imported, LatencyTable, TableFile, load_table, read_table
from nasc.latency.table_paths import samples_path, table_files, table_name
from nasc.utils.files import write_atomically

ACCEPTABLE = ("fingerprint", "runtime_version")
"""Fields of a key in which a table may differ from the device if the user accepts that."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A table in the cache whose place an imported one takes.

    Attributes:
        path: Its file.
        table: The table.
    """

    path: Path
    table: LatencyTable

    def __str__(self) -> str:
        how = "measured here" if self.table.imported is None else "imported"
        how += "" if self.table.transferred is None else ", transferred"
        return f"{table_name(self.path)} ({how}, created {self.table.created})"


def to_share(path: Path, *, samples: bool = False) -> str:
    """The text of a table's file as it is sent: the same for the same table.

    Args:
        path: A table in a cache.
        samples: Whether the measured samples, which lie beside it, go with it.

    Raises:
        TableMissing, TableDamaged: If there is no such table, it contradicts itself, or its samples
            are missing or not its own.
    """
    found = read_table(path)
    packed = _samples_of(path) if samples else None
    measured = found.table.as_measured()
    try:
        check_shared(TableFile(measured, packed, found.first_measured))
        text = measured.to_text(packed)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it would hold {len(text):,} bytes, at most {MAX_BYTES:,} are read")
    except ValueError as error:
        advice = " Leave --samples out, or measure" if samples else " Measure"
        raise TableDamaged(
            f"the latency table {table_name(path)!r} cannot be sent to others: {error}.{advice} it "
            f"again: {measured.key.command()} --force",
            str(error),
        ) from error
    return text


def _samples_of(path: Path) -> bytes:
    """The samples beside a table.

    Raises:
        TableDamaged: If they are not there or cannot be read.
    """
    place = samples_path(path)
    try:
        return read_bytes(place, MAX_BYTES)
    except (OSError, FileRefused) as error:
        reason = error.reason if isinstance(error, FileRefused) else error.strerror
        raise TableDamaged(
            f"the samples of the latency table {table_name(path)!r} cannot be read: '{place}': "
            f"{reason}. Leave --samples out",
            str(reason),
        ) from error


def adopted(
    found: TableFile,
    session: MeasurementSession,
    *,
    accept_other_machine: bool = False,
    reached: bool = True,
) -> LatencyTable:
    """A table from elsewhere as one of a device here.

    Args:
        found: From `read_shared`.
        session: On the device that it is for, with the runtime and the threads of the table.
        accept_other_machine: Take it even if it is of another processor or runtime version.
        reached: Whether the device can be asked. Where not, the table is taken as one of such a
            device: it keeps its fingerprint, by which it is used or passed over later.

    Raises:
        TableRefused: If it is of another machine, and that is not accepted; or cannot be compared
            with what is measured here.
        profilers.ProfilerError: If the device cannot be reached.
    """
    table = found.table.as_measured()
    told = {name: getattr(table.key, name) for name in ACCEPTABLE}
    precision = table.key.precision
    here = session.key_fields(precision) if reached else told | session.fixed_fields()
    theirs = dataclasses.replace(table.key, device=session.device.name)
    apart = differences(theirs, here)
    never = {name: text for name, text in apart.items() if name not in ACCEPTABLE}
    own = dataclasses.replace(theirs, **{name: here[name] for name in ACCEPTABLE})
    if reached and table.key.precision not in session.precisions():
        never["precision"] = f"the device does not compute in {table.key.precision}"
    if reached and not never:
        known = session.known_baseline()
        if known is not None and not table.is_near(known.quiet_ms):
            never["quiet_ms"] = (
                f"its reference network took {table.quiet_ms:.4g} ms, here it takes "
                f"{known.quiet_ms:.4g}: too far apart to be brought from one to the other"
            )
    what = f"the latency table of {table.processor} for {table.key.describe()}"
    if never:
        raise TableRefused(
            f"{what} cannot be used on device {session.device.name!r}: "
            f"{'; '.join(never.values())}. Measure one here: {own.command()}"
        )
    if apart and not accept_other_machine:
        raise TableRefused(
            f"{what} does not fit device {session.device.name!r} as it is here: "
            f"{'; '.join(apart.values())}. What it predicts need not hold here. Measure one: "
            f"{own.command()}; or take it, and everything that is made from it will say so: "
            "nasc tables import FILE --accept-other-machine"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    origin = Imported(
        table.key.device, table.key.fingerprint, table.key.runtime_version, imported_utc=now
    )
    return dataclasses.replace(table, key=own, imported=origin)


def in_its_place(folder: Path, table: LatencyTable) -> list[Replaced]:
    """Tables of a cache that answer what another one does, no more; damaged ones are passed over.

    Raises:
        TableRefused: If one answers all that it does and more.
        OSError: If the folder is there and cannot be read.
    """
    found = []
    for path in table_files(folder):
        try:
            other = load_table(path)
        except TableError:
            continue
        same = _question(other.key) == _question(table.key)
        whole = other.transferred is None
        if (
            same
            and whole == (table.transferred is None)
            and other.is_near(table.quiet_ms)
            and other.covers(table.space)
        ):
            if not table.covers(other.space):
                name = table_name(path)
                raise TableRefused(
                    f"the cache ('{folder}') has a table that holds all that this one does, and "
                    f"layers that it does not: {Replaced(path, other)}. It stays as it is. To have "
                    f"this one nevertheless, move that one away: nasc tables export {name} "
                    f"--output FILE && rm '{path}'"
                )
            found.append(Replaced(path, other))
    return found


def _question(key: LatencyKey) -> LatencyKey:
    """What a table is asked for; the scale moves a little with every measurement."""
    return dataclasses.replace(key, quiet_ms=1.0)


def check_replaceable(replaced: Iterable[Replaced], folder: Path) -> None:
    """Raise if a table that was measured here would be lost.

    Raises:
        TableRefused: Naming it.
    """
    own = [one for one in replaced if one.table.imported is None]
    if own:
        name = table_name(own[0].path)
        raise TableRefused(
            f"the cache ('{folder}') has a table of its own for the same: "
            f"{'; '.join(map(str, own))}. It stays as it is. Put the imported one in its place, "
            f"for good: nasc tables import FILE --force; keep it first: nasc tables export {name} "
            "--output FILE"
        )


def place(
    folder: Path, table: LatencyTable, samples: bytes | None, replaced: Iterable[Replaced]
) -> Path:
    """Write an adopted table, and its samples, into a cache; those whose place it takes go.

    Args:
        folder: Of the cache's tables.
        table: As it is kept there.
        samples: Its raw measurement, as JSON in gzip; None where it came without.
        replaced: Tables of the cache that it takes the place of.

    Returns:
        Its file.

    Raises:
        NascError: If the cache cannot be written.
    """
    path = folder / table.file_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if samples is None:
            samples_path(path).unlink(missing_ok=True)
        else:
            write_atomically(samples_path(path), samples)
        table.save(folder)
        for one in replaced:
            if one.path != path:
                one.path.unlink(missing_ok=True)
                samples_path(one.path).unlink(missing_ok=True)
    except OSError as error:
        raise NascError(
            f"cannot write the latency table to '{folder}': {error.strerror or error}. Free some "
            "space or name another cache: --cache DIR"
        ) from error
    return path
