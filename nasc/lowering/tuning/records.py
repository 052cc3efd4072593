"""Tuning records on disk: a folder for each target, versions and flags, checked when it is read.

A folder holds ``key.json`` and MetaSchedule's two files, a line a kernel and a line a record. They
are replaced whole, kernels first, which only ever grow: whenever a run is killed, what lies there
can be read. MetaSchedule itself applies a record to whatever target is asked for, without a word;
here a record of another one is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from device_profiles.reading import FileRefused, read_json, read_text
from device_profiles.temporary import temporary_folder
from nasc.errors import RecordsDamaged, RecordsError, RecordsRefused
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tvm_module import DATABASE, MODULE_EQUALITY, open_records
from nasc.utils.files import content_key, write_atomically

VERSION = 1
"""Of what lies in such a folder."""

KEY_FILE = "key.json"
SUFFIX = ".tuning"
MAX_BYTES = 1 << 29
MAX_S = 1e6
"""A run of a kernel is shorter; so is every time that is finite."""

_KEY_SCHEMA = {"type": "object"}


@dataclass(frozen=True, slots=True)
class RecordsKey:
    """What records are for: with anything else they mean nothing.

    Attributes:
        device: Its name.
        cpu: Fingerprint of its processor.
        target: As TVM writes it; holds the instructions that it may use, and the threads.
        tvm_version: Of TVM.
        ffi_version: Of apache-tvm-ffi.
        equality: How kernels are compared, as MetaSchedule calls it.
        version: `VERSION`.
    """

    device: str
    cpu: str
    target: str
    tvm_version: str
    ffi_version: str
    equality: str = MODULE_EQUALITY
    version: int = VERSION

    @classmethod
    def of(cls, device: str, cpu: str, target: tvm.target.Target) -> RecordsKey:
        """The key of what is tuned here and now.

        Args:
            device: Its name.
            cpu: Fingerprint of its processor.
            target: That kernels are compiled for.
        """
        tvm_version, ffi_version = map(importlib.metadata.version, ("apache-tvm", "apache-tvm-ffi"))
        return cls(device, cpu, str(target), tvm_version, ffi_version)

    def folder(self, tables: Path) -> Path:
        """Where the records lie, beside the device's tables."""
        return tables / f"{self.device}.{content_key(dataclasses.asdict(self))}{SUFFIX}"


def check_records(folder: Path, key: RecordsKey) -> None:
    """Read all of a folder of records.

    Raises:
        RecordsRefused: If there are none, or they are of another device, target or version.
        RecordsDamaged: If a file cannot be read, or a line is not what it should be; names it.
    """
    _read(folder, key)


def best_records(folder: Path, key: RecordsKey) -> KernelRecords | None:
    """The best record of each kernel of a folder, as they are now.

    Args:
        folder: Of records; may be missing.
        key: What they are wanted for.

    Returns:
        None where there are none.

    Raises:
        RecordsRefused, RecordsDamaged: As `check_records`.
    """
    if not folder.is_dir():
        return None
    workloads, records = _read(folder, key)
    best: dict[int, tuple[float, str]] = {}
    for line in records:
        index, record = json.loads(line)
        seconds = sum(record[1]) / len(record[1])  # as MetaSchedule orders them
        if index not in best or seconds < best[index][0]:
            best[index] = seconds, json.dumps(record)
    if not best:
        return None
    kernels = {}
    for index, (_, record) in best.items():
        digest, kernel = json.loads(workloads[index])
        kernels[digest] = json.dumps([digest, kernel]), record
    return KernelRecords(key.target, kernels)


def other_records(tables: Path, key: RecordsKey) -> list[str]:
    """What records of the device there are that are for something else, in words.

    Args:
        tables: Where records lie, see `RecordsKey.folder`; may be missing.
        key: What they are wanted for. Those of another number of threads alone are not told.
    """
    said = []
    for path in sorted(tables.glob(f"*{SUFFIX}/{KEY_FILE}")):
        with contextlib.suppress(FileRefused, OSError, ValueError):
            found = read_json(path, 1 << 16, _KEY_SCHEMA)
            if found.get("device") == key.device and _but_threads(found) != _but_threads(
                dataclasses.asdict(key)
            ):
                said.append(f"'{path.parent}' is of another: {_differences(found, key)}")
    return said


def _but_threads(key: dict[str, Any]) -> dict[str, Any]:
    """A key for whatever number of threads."""
    return key | {"target": {**json.loads(str(key.get("target"))), "num-cores": None}}


def write_database(records: KernelRecords, folder: Path) -> None:
    """Records as MetaSchedule's two files.

    Args:
        records: What they hold, the kernels in the order of their hashes.
        folder: Exists; holds no such files.

    Raises:
        OSError: If they cannot be written.
    """
    lines = [records.kernels[name] for name in sorted(records.kernels)]
    workloads = [workload for workload, _ in lines]
    numbered = [f"[{index}, {record}]" for index, (_, record) in enumerate(lines)]
    for name, content in zip(DATABASE, (workloads, numbered), strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


def check_lines(workloads: Sequence[str], records: Sequence[str], target: str, place: Path) -> None:
    """Raise unless lines of MetaSchedule's two files are what they should be.

    Args:
        workloads: Of kernels.
        records: Of their records.
        target: Of every record, as TVM writes it.
        place: Where they lie, for messages.

    Raises:
        RecordsDamaged: If one is not; names it.
        RecordsRefused: If one is of another target.
    """
    wanted = json.loads(target)
    for name, lines in zip(DATABASE, (workloads, records), strict=True):
        for number, line in enumerate(lines, 1):
            wrong = _wrong(name, line, len(workloads))
            if wrong is not None:
                raise RecordsDamaged(
                    f"line {number} of '{place / name}' {wrong}: the tuning records are damaged"
                )
            if name == DATABASE[1] and (other := json.loads(line)[1][2]) != wanted:
                raise RecordsRefused(
                    f"line {number} of '{place / name}' is of another target, "
                    f"{json.dumps(other)}, and not of {target}"
                )


def _read(folder: Path, key: RecordsKey) -> tuple[list[str], list[str]]:
    """Lines of kernels, and of records, checked."""
    anew = f"Tune anew: rm -r '{folder}', and: nasc tune --device {key.device}"
    try:
        if not (folder / KEY_FILE).is_file():
            raise RecordsRefused(
                f"'{folder}' holds no tuning records ({KEY_FILE} is missing). Make some: nasc tune "
                f"--device {key.device}"
            )
        found = read_json(folder / KEY_FILE, 1 << 16, _KEY_SCHEMA)
        _check_key(folder, found, key)
        # Kernels last, which only grow: a run beside this one may have added to both by then.
        records, workloads = (
            read_text(folder / name, MAX_BYTES).splitlines() for name in reversed(DATABASE)
        )
    except (FileRefused, OSError) as error:
        raise RecordsDamaged(f"tuning records cannot be read: {error}. {anew}") from error
    try:
        check_lines(workloads, records, key.target, folder)
    except RecordsError as error:
        raise type(error)(f"{error}. {anew}") from None
    return workloads, records


def _check_key(folder: Path, found: dict[str, Any], key: RecordsKey) -> None:
    if other := _differences(found, key):
        raise RecordsRefused(
            f"the tuning records in '{folder}' are not for this: {other}. Schedules of another "
            "processor or release may be slow or wrong. Move that folder away, and tune here: nasc "
            f"tune --device {key.device}"
        )


def _differences(found: dict[str, Any], key: RecordsKey) -> str:
    """Where a folder's key is another one, in words; empty where it is not."""
    wanted = dataclasses.asdict(key)
    return "; ".join(
        f"{name} {found.get(name)!r}, here {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    )


def _wrong(name: str, line: str, workloads: int) -> str | None:
    """What is wrong with a line of a file, as the end of a sentence; None if nothing is."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(value, list) or len(value) != 2:
        return "is no pair"
    if name == DATABASE[0]:
        return None if all(isinstance(part, str) for part in value) else "is no kernel"
    index, record = value
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < workloads:
        return f"is a record of kernel {index!r}, of {workloads}"
    if not isinstance(record, list) or len(record) != 4:
        return "is no record"
    seconds = record[1]
    if not isinstance(seconds, list) or not seconds or not all(_positive(s) for s in seconds):
        return f"states no times: {str(seconds)[:80]!r}"
    return None


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < MAX_S


class Records:
    """Records while more are made: MetaSchedule's database over a copy, published by rounds.

    Attributes:
        database: Of all records so far.
    """

    def __init__(self, folder: Path, working: Path) -> None:
        """See `open_for_tuning`."""
        self._folder = folder
        self._working = working
        self.database = open_records(working)

    def workload(self, module: tvm.ir.IRModule) -> Any:
        """A kernel as the database knows it; it is added where it was not there."""
        return self.database.commit_workload(module)

    def best_s(self, module: tvm.ir.IRModule) -> float | None:
        """Seconds of the best schedule of a kernel; None where there is no record."""
        top = self.database.get_top_k(self.workload(module), 1)
        return min(float(s) for s in top[0].run_secs) if top else None

    def publish(self) -> None:
        """Write all records so far where readers find them.

        Raises:
            OSError: If they cannot be written; what was there stays.
        """
        for name in DATABASE:  # kernels first: no record is ever without its kernel
            write_atomically(self._folder / name, (self._working / name).read_bytes())


@contextlib.contextmanager
def open_for_tuning(folder: Path, key: RecordsKey) -> Iterator[Records]:
    """The records of a folder, to which more are added; held by the caller's lock.

    Args:
        folder: Exists; may hold none yet.
        key: What is tuned.

    Raises:
        RecordsRefused, RecordsDamaged: As `check_records`.
        OSError: If they cannot be read or written.
    """
    if not (folder / KEY_FILE).exists():
        for name in DATABASE:  # what a run left that was killed before it wrote a key is empty
            if (folder / name).exists() and (folder / name).stat().st_size:
                raise RecordsDamaged(
                    f"'{folder}' holds tuning records, and not what they are for: {KEY_FILE} is "
                    f"missing. Put it back, or tune anew: rm -r '{folder}', and: nasc tune "
                    f"--device {key.device}"
                )
            write_atomically(folder / name, b"")
        write_atomically(
            folder / KEY_FILE, json.dumps(dataclasses.asdict(key), indent=1).encode() + b"\n"
        )
    check_records(folder, key)
    with temporary_folder() as working:
        for name in DATABASE:
            shutil.copyfile(folder / name, working / name)
        yield Records(folder, working)
