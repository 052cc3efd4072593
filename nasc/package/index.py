"""The index of a folder with packages for several devices: what an app picks from.

All that it says of a package is taken from that package, and compared with it again when the folder
is verified: nobody has to believe the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jsonschema

from device_profiles.reading import FileRefused, read_json, sha256_of
from nasc.errors import PackageError
from nasc.package.measurements import MEASUREMENTS
from nasc.package.read_manifest import MANIFEST, read_manifest
from nasc.package.sibling_folders import build_sha256
from nasc.utils.files import write_atomically

INDEX = "index.json"

FORMAT, VERSION = "nasc-devices", 1
MAX_BYTES = 1 << 20
MAX_VARIANTS = 1024

_TEXT = {"type": "string", "maxLength": 10_000}
_MS = {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}]}
_SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
_PROPERTIES: dict[str, Any] = {
    "device": _TEXT,
    "folder": {"type": "string", "pattern": r"^[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,199}\Z"},
    "runtime": _TEXT,
    "architecture": _TEXT,
    "limits": {
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
    },
    "latency_ms": _MS,
    "upper_ms": _MS,
    "size_bytes": {"type": "integer", "minimum": 0},
    "manifest_sha256": _SHA256,
    "measurements_sha256": {"anyOf": [{"type": "null"}, _SHA256]},
}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


_VARIANTS = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_VARIANTS,
    "items": _object(_PROPERTIES),
}
_SCHEMA = _object(
    {"format": {"const": FORMAT}, "schema_version": {"const": VERSION}, "variants": _VARIANTS}
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One package for one device, as the index has it: all of it is the package's own.

    Attributes:
        device: Name of the device that it was made for.
        folder: Name of the package's folder, beside the index.
        runtime: That opens it, or the format of an app.
        architecture: Of the network, in text.
        limits: By name, as asked for.
        latency_ms: As measured on the device; None where none is stated.
        upper_ms: Its 95% upper bound, which the limit is held to.
        size_bytes: Of the files that the runtime opens.
        manifest_sha256: Of its manifest.json, which holds the hashes of the build.
        measurements_sha256: Of its measurements.json, which holds what was measured; None of
            older packages, whose manifest.json holds that, too.
    """

    device: str
    folder: str
    runtime: str
    architecture: str
    limits: Mapping[str, float]
    latency_ms: float | None
    upper_ms: float | None
    size_bytes: int
    manifest_sha256: str
    measurements_sha256: str | None

    @classmethod
    def of(cls, package: Path) -> IndexEntry:
        """What an index says of a package.

        Raises:
            PackageError: If its manifest cannot be read.
        """
        m, beside = read_manifest(package), package / MEASUREMENTS
        return cls(
            m.conditions.device,
            package.name,
            m.conditions.runtime,
            str(m.architecture),
            dict(m.limits),
            None if m.measured is None else m.measured.latency_ms,
            None if m.measured is None else m.measured.upper_ms,
            m.size_bytes,
            build_sha256(package),
            sha256_of(beside) if beside.exists() else None,
        )


def is_index(folder: Path) -> bool:
    """Whether a folder holds packages of several devices, and is none itself."""
    return (folder / INDEX).is_file() and not (folder / MANIFEST).exists()


def write_index(folder: Path, variants: Sequence[IndexEntry]) -> None:
    """Write the index of a folder.

    Args:
        folder: That holds the packages.
        variants: At least one, in the order that an app is to see.

    Raises:
        OSError: If it cannot be written.
    """
    plain = {
        "format": FORMAT,
        "schema_version": VERSION,
        "variants": [asdict(one) for one in variants],
    }
    write_atomically(folder / INDEX, (json.dumps(plain, indent=1) + "\n").encode())


def read_index(folder: Path) -> tuple[IndexEntry, ...]:
    """The packages that an index names.

    Raises:
        PackageError: If it cannot be read, or has another form: names lead nowhere but to
            folders beside it, each once, and each once of a device and a runtime.
    """
    path = folder / INDEX
    try:
        plain = read_json(path, MAX_BYTES)
    except (OSError, FileRefused) as error:
        raise PackageError(f"the index cannot be read: {error}. Get the folder anew") from error
    form = jsonschema.Draft202012Validator(_SCHEMA)
    wrong = jsonschema.exceptions.best_match(form.iter_errors(plain))
    if wrong is not None:
        place = "/".join(map(str, wrong.absolute_path)) or "all of it"
        raise PackageError(
            f"'{path}' is no index of packages: {place}: {wrong.message[:300]}. Get the folder anew"
        )
    found = tuple(IndexEntry(**one) for one in plain["variants"])
    for what in ([one.folder for one in found], [(one.device, one.runtime) for one in found]):
        if len(set(what)) < len(what):
            raise PackageError(f"'{path}' names a package twice. Get the folder anew")
    return found
