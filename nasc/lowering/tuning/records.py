"""Tuning records on disk: a folder for each target, versions and flags, checked when it is read.

A folder holds ``key.json`` and MetaSchedule's two files, a line a kernel and a line a record. They
are replaced whole, kernels first, which only ever grow: whenever a run is killed, what lies there
can be read. MetaSchedule itself applies a record to whatever target is asked for, without a word;
here a record of another one is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from device_profiles.reading import FileRefused, read_json, read_text
from device_profiles.temporary import temporary_folder
from nasc.errors import RecordsDamaged, RecordsRefused
from nasc.lowering.tuned_kernels import RECORDS_SUFFIX, KernelRecords
from nasc.lowering.tvm_module import DATABASE, MODULE_EQUALITY, open_records
from nasc.utils.files import content_key, write_atomically

VERSION = 1
"""Of what lies in such a folder."""

KEY_FILE = "key.json"
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
        return tables / f"{self.device}.{content_key(dataclasses.asdict(self))}{RECORDS_SUFFIX}"


def check_records(folder: Path, key: RecordsKey) -> None:
    """Read all of a folder of records.

    Raises:
        RecordsRefused: If there are none, or they are of another device, target or version.
        RecordsDamaged: If a file cannot be read, or a line is not what it should be; names it.
    """
    anew = f"Tune anew: rm -r '{folder}', and: nasc tune --device {key.device}"
    try:
        if not (folder / KEY_FILE).is_file():
            raise RecordsRefused(
                f"'{folder}' holds no tuning records ({KEY_FILE} is missing). Make some: nasc tune "
                f"--device {key.device}"
            )
        found = read_json(folder / KEY_FILE, 1 << 16, _KEY_SCHEMA)
        _check_key(folder, found, key)
        workloads, records = (read_text(folder / n, MAX_BYTES).splitlines() for n in DATABASE)
    except (FileRefused, OSError) as error:
        raise RecordsDamaged(f"tuning records cannot be read: {error}. {anew}") from error
    target = json.loads(key.target)
    for name, lines in zip(DATABASE, (workloads, records), strict=True):
        for number, line in enumerate(lines, 1):
            wrong = _wrong(name, line, len(workloads))
            if wrong is not None:
                raise RecordsDamaged(
                    f"line {number} of '{folder / name}' {wrong}: the tuning records are damaged. "
                    f"{anew}"
                )
            if name == DATABASE[1] and (other := json.loads(line)[1][2]) != target:
                raise RecordsRefused(
                    f"line {number} of '{folder / name}' is of another target, "
                    f"{json.dumps(other)}, and not of {key.target}. {anew}"
                )


def read_records(folder: Path, key: RecordsKey) -> KernelRecords | None:
    """The records of a folder as they are now, checked.

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
    check_records(folder, key)
    with temporary_folder() as own:
        for name in reversed(DATABASE):  # kernels last, which only grow: each record has its own
            shutil.copyfile(folder / name, own / name)
        contents = [(own / name).read_bytes() for name in DATABASE]
        database = open_records(own)
    kernels = {json.loads(line)[0] for line in contents[1].splitlines()}
    if not kernels:
        return None
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    threads = int(json.loads(key.target).get("num-cores", 1))
    return KernelRecords(folder, digest.hexdigest(), len(kernels), threads, database)


def _check_key(folder: Path, found: dict[str, Any], key: RecordsKey) -> None:
    wanted = dataclasses.asdict(key)
    other = [name for name in wanted if found.get(name) != wanted[name]]
    if other:
        said = "; ".join(f"{n} {found.get(n)!r}, here {wanted[n]!r}" for n in other)
        raise RecordsRefused(
            f"the tuning records in '{folder}' are not for this: {said}. Schedules of another "
            f"processor or release may be slow or wrong. Tune here: nasc tune --device {key.device}"
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
