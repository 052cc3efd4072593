"""Tuning records that come with nasc: one set a kind of processor, in `device_profiles/tuning`.

A set is two files. ``NAME.json`` says what it is for and how it was made; ``NAME.records.xz`` holds
a line a kernel: the hash of its structure, the kernel as TVM writes it, its best record.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_profiles
from device_profiles.reading import FileRefused, read_bytes, read_json
from nasc.errors import RecordsDamaged, RecordsError
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tuning.records import RecordsKey, check_lines
from nasc.utils.files import write_atomically

FOLDER = Path(device_profiles.__file__).parent / "tuning"

ABOUT = ".json"
RECORDS = ".records.xz"

FORMAT = 1
"""Of the two files."""

MAX_BYTES = 1 << 20
"""Of a file; what comes with nasc is to stay small."""

MAX_UNPACKED = 1 << 27

_TEXT = {"type": "string", "maxLength": 1000}
_TEXT_OR_NONE = {"type": ["string", "null"], "maxLength": 1000}
_SIZE = {"type": "integer", "minimum": 1, "maximum": 10**6}
_KIND = ("arch", "vendor", "family", "model_number", "model")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("format", "processor", "key", "space", "precision", "seq_lens", "command", "date"),
        *("nasc_version", "kernels", "sha256"),
    ],
    "properties": {
        "format": {"const": FORMAT},
        "processor": {
            "type": "object",
            "additionalProperties": False,
            "required": list(_KIND),
            "properties": dict.fromkeys(_KIND, _TEXT_OR_NONE),
        },
        "key": {
            "type": "object",
            "additionalProperties": False,
            "required": ["target", "tvm_version", "ffi_version", "equality", "version"],
            "properties": {
                **dict.fromkeys(("target", "tvm_version", "ffi_version", "equality"), _TEXT),
                "version": _SIZE,
            },
        },
        "space": _TEXT,
        "precision": _TEXT,
        "seq_lens": {"type": "array", "maxItems": 100, "items": _SIZE},
        "command": _TEXT,
        "date": _TEXT,
        "nasc_version": _TEXT,
        "kernels": _SIZE,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a set was made.

    Attributes:
        space: Whose kernels were tuned.
        precision: Of the networks.
        seq_lens: Tokens of the texts.
        command: That tuned them.
        date: When, as YYYY-MM-DD.
        nasc_version: By which release.
    """

    space: str
    precision: str
    seq_lens: tuple[int, ...]
    command: str
    date: str
    nasc_version: str


def processor_kind(cpu: Mapping[str, Any]) -> dict[str, str | None]:
    """Which kind a processor is, however many cores it has and whatever it is called.

    Args:
        cpu: As `profilers.context.read_context` gives it.
    """
    kind = {name: cpu.get(name) for name in _KIND}
    if kind["arch"] == "x86_64":
        kind["model"] = None  # a name, which virtual machines change; of arm64 it is the core
    return kind


def shipped_records(
    cpu: Mapping[str, Any], key: RecordsKey, folder: Path | None = None
) -> KernelRecords | None:
    """The records that come with nasc for a processor, all sets of it together.

    Args:
        cpu: The processor, as `profilers.context.read_context` gives it.
        key: What they are wanted for; its device and the exact processor do not matter.
        folder: Of sets; None is `FOLDER`.

    Returns:
        None where there are none for that kind of processor, target and release of TVM.

    Raises:
        RecordsDamaged: If a set cannot be read, or is not what it says.
    """
    found: KernelRecords | None = None
    wanted = _key_of(key)
    for path in sorted((folder or FOLDER).glob(f"*{ABOUT}")):
        try:
            about = read_json(path, MAX_BYTES, _SCHEMA)
            theirs = processor_kind(about["processor"])
            if theirs != processor_kind(cpu) or about["key"] != wanted:
                continue
            records = _read(path.with_suffix("").with_suffix(RECORDS), about)
        except (FileRefused, OSError, RecordsError) as error:
            raise RecordsDamaged(
                f"tuning records that come with nasc cannot be read: {error}. Install nasc again, "
                "or leave them out: --no-tuned"
            ) from error
        found = records if found is None else found.over(records)
    return found


def write_shipped(
    records: KernelRecords,
    key: RecordsKey,
    cpu: Mapping[str, Any],
    provenance: Provenance,
    folder: Path,
    name: str,
) -> None:
    """Write a set.

    Args:
        records: What it holds.
        key: What they are for.
        cpu: The processor that they were measured on, see `shipped_records`.
        provenance: How they were made.
        folder: Exists.
        name: Of the files, without dots.

    Raises:
        OSError: If they cannot be written.
    """
    lines = []
    for digest in sorted(records.kernels):
        workload, record = records.kernels[digest]
        kernel = base64.b64decode(json.loads(workload)[1]).decode("latin-1")
        lines.append(json.dumps([digest, kernel, json.loads(record)]))
    packed = lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    about = {
        "format": FORMAT,
        "processor": {field: cpu.get(field) for field in _KIND},
        "key": _key_of(key),
        "space": provenance.space,
        "precision": provenance.precision,
        "seq_lens": list(provenance.seq_lens),
        "command": provenance.command,
        "date": provenance.date,
        "nasc_version": provenance.nasc_version,
        "kernels": len(lines),
        "sha256": hashlib.sha256(packed).hexdigest(),
    }
    write_atomically(folder / f"{name}{RECORDS}", packed)
    write_atomically(folder / f"{name}{ABOUT}", f"{json.dumps(about, indent=1)}\n".encode())


def _key_of(key: RecordsKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in _SCHEMA["properties"]["key"]["required"]}


def _read(path: Path, about: Mapping[str, Any]) -> KernelRecords:
    """The records of a set, checked.

    Raises:
        FileRefused, OSError, RecordsError: If they are not what they should be.
    """
    packed = read_bytes(path, MAX_BYTES)
    if hashlib.sha256(packed).hexdigest() != about["sha256"]:
        raise RecordsDamaged(f"'{path}' is not the file that {ABOUT} beside it names")
    kernels = {}
    try:
        for line in _unpacked(packed):
            digest, kernel, record = json.loads(line)
            text = base64.b64encode(kernel.encode("latin-1")).decode()
            kernels[digest] = json.dumps([digest, text]), json.dumps(record)
    except (lzma.LZMAError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RecordsDamaged(f"'{path}' holds no tuning records: {error}") from error
    target = about["key"]["target"]
    numbered = [f"[{index}, {record}]" for index, (_, record) in enumerate(kernels.values())]
    check_lines([workload for workload, _ in kernels.values()], numbered, target, path)
    return KernelRecords(target, kernels)


def _unpacked(packed: bytes) -> Iterator[bytes]:
    """Lines of a compressed file."""
    unpacking = lzma.LZMADecompressor(memlimit=1 << 28)
    content = unpacking.decompress(packed, MAX_UNPACKED)
    if not unpacking.eof:
        raise ValueError(f"it holds more than {MAX_UNPACKED:,} bytes, or ends early")
    yield from content.splitlines()
