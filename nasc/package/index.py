"""The index of a folder with a package for each of several devices: what an app picks from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jsonschema

from device_profiles.reading import FileRefused, read_json
from nasc.errors import PackageError
from nasc.utils.files import write_atomically

INDEX = "index.json"

FORMAT, VERSION = "nasc-devices", 1
MAX_BYTES = 1 << 20
MAX_DEVICES = 64

_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,199}$"}
_TEXT = {"type": "string", "maxLength": 10_000}
_MS = {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}]}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["format", "schema_version", "variants"],
    "properties": {
        "format": {"const": FORMAT},
        "schema_version": {"const": VERSION},
        "variants": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_DEVICES,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": [
                    "device", "description", "folder", "runtime", "architecture", "limits",
                    "latency_ms", "upper_ms", "size_bytes", "manifest_sha256", "folders",
                ],
                "properties": {
                    "device": _TEXT,
                    "description": _TEXT,
                    "folder": _NAME,
                    "runtime": _TEXT,
                    "architecture": _TEXT,
                    "limits": {
                        "type": "object", "maxProperties": 16,
                        "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
                    },
                    "latency_ms": _MS,
                    "upper_ms": _MS,
                    "size_bytes": {"type": "integer", "minimum": 0},
                    "manifest_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "folders": {
                        "type": "object", "maxProperties": 64, "additionalProperties": _NAME,
                    },
                },
            },
        },
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceVariant:
    """The package of one device, as the index has it.

    Attributes:
        device: Name of its profile.
        description: Of the profile.
        folder: Name of the package's folder, beside the index.
        runtime: That opens it.
        architecture: Of the network, in text.
        limits: By name, as asked for.
        latency_ms: As measured on the device; None where it was not.
        upper_ms: Its 95% upper bound, which the limit is held to.
        size_bytes: Of the files that the runtime opens.
        manifest_sha256: Of the package's manifest.json, which names the hashes of all else.
        folders: Names of the folders of other formats, by format.
    """

    device: str
    description: str
    folder: str
    runtime: str
    architecture: str
    limits: dict[str, float]
    latency_ms: float | None
    upper_ms: float | None
    size_bytes: int
    manifest_sha256: str
    folders: dict[str, str]


def write_index(folder: Path, variants: Sequence[DeviceVariant]) -> None:
    """Write the index of a folder.

    Args:
        folder: That holds the packages.
        variants: One for each device, at least one, in the order that an app is to see.

    Raises:
        OSError: If it cannot be written.
    """
    plain = {
        "format": FORMAT,
        "schema_version": VERSION,
        "variants": [asdict(one) for one in variants],
    }
    write_atomically(folder / INDEX, (json.dumps(plain, indent=1) + "\n").encode())


def read_index(folder: Path) -> tuple[DeviceVariant, ...]:
    """The variants that an index names.

    Raises:
        PackageError: If it cannot be read, or has another form: names lead nowhere but to
            folders beside it.
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
    found = tuple(DeviceVariant(**one) for one in plain["variants"])
    names = [one.folder for one in found]
    if len(set(names)) < len(names):
        raise PackageError(f"'{path}' names a folder twice. Get the folder anew")
    return found
