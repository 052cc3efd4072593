"""What of a package's manifest was measured: kept in a file of its own, beside the build.

manifest.json lists the hashes of all files of the build, so that its own hash is that of the
build: it is the same whenever the same is compiled by the same versions. What differs from one
measurement to the next, times and what follows from them, is in measurements.json, which names
the build that it is about, and in MEASURED.md, which shows it. SHA256SUMS covers both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nasc.errors import PackageError

MEASUREMENTS = "measurements.json"
MEASURED = "MEASURED.md"

FORMAT = "nasc.measurements"

MEASURED_FILES = (MEASURED,)
"""Files that measurements.json lists, since they differ with it."""

FIRST_VERSION = 7
"""The form of a manifest from which on it has measurements beside it."""

FIELDS = (
    "created",
    "predicted",
    "latency_table",
    "measured",
    "tokenisation_ms",
    "peak_memory",
    "attempts",
    "evidence",
)
"""Of a manifest: what measurements.json holds, as far as it is there."""

_BUILD, _FILES, _VERSION = "build_sha256", "files", "schema_version"


def has_measurements(files: Collection[str]) -> bool:
    """Whether a package whose files are these has its measurements in a file of their own."""
    return MEASURED in files


def split(plain: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two parts of a manifest.

    Args:
        plain: All of it, as plain data.

    Returns:
        What manifest.json holds, and what measurements.json holds but the hash of the first.
    """
    files = plain[_FILES]
    build = {name: value for name, value in plain.items() if name not in FIELDS}
    build[_FILES] = {name: one for name, one in files.items() if name not in MEASURED_FILES}
    measurements = {"format": FORMAT, _VERSION: plain[_VERSION]}
    measurements |= {name: plain[name] for name in FIELDS if name in plain}
    measurements[_FILES] = {name: files[name] for name in MEASURED_FILES if name in files}
    return build, measurements


def of_build(measurements: Mapping[str, Any], build_sha256: str) -> dict[str, Any]:
    """Measurements that name their build, as measurements.json holds them."""
    head = ("format", _VERSION)
    return {name: measurements[name] for name in head} | {_BUILD: build_sha256} | dict(measurements)


def joined(build: Any, measurements: Any, build_sha256: str) -> dict[str, Any]:
    """All of a manifest, out of its two parts.

    Args:
        build: What manifest.json holds.
        measurements: What measurements.json holds.
        build_sha256: Of manifest.json as it is.

    Raises:
        PackageError: If one of them is no such part, or they are of two builds.
    """
    if not isinstance(build, dict) or not isinstance(build.get(_FILES), dict):
        raise PackageError("the manifest lists no files")
    if not isinstance(measurements, dict) or not isinstance(measurements.get(_FILES), dict):
        raise PackageError(f"{MEASUREMENTS} lists no files")
    if measurements.get("format") != FORMAT or measurements.get(_VERSION) != build.get(_VERSION):
        raise PackageError(f"{MEASUREMENTS} is not of the form of its manifest")
    if measurements.get(_BUILD) != build_sha256:
        raise PackageError(
            f"{MEASUREMENTS} is of another build than its manifest: get the package anew, or make "
            "it anew: nasc compile"
        )
    stated = {n: v for n, v in measurements.items() if n not in ("format", _VERSION, _BUILD)}
    strange = sorted(map(str, {*stated} - {*FIELDS, _FILES} | {*build} & {*FIELDS}))
    if strange:
        raise PackageError(f"{', '.join(strange)[:200]} is no part of its file of a manifest")
    files = stated.pop(_FILES)
    strange = sorted(map(str, {*files} - {*MEASURED_FILES} | {*build[_FILES]} & {*MEASURED_FILES}))
    if strange:
        raise PackageError(f"{', '.join(strange)[:200]} is listed in the wrong file")
    return build | stated | {_FILES: dict(sorted({**build[_FILES], **files}.items()))}
