"""The manifest of a package, out of its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from device_profiles.reading import FileRefused, read_json, sha256_of
from nasc.errors import PackageError
from nasc.package.manifest import Manifest
from nasc.package.measurements import (
    FIRST_VERSION,
    MEASURED,
    MEASUREMENTS,
    has_measurements,
    joined,
)

MANIFEST = "manifest.json"

MAX_BYTES = 32 << 20
"""What a manifest may hold; one with the samples of 300 rounds has 1 MB (2026)."""


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a package.

    Args:
        folder: The package.

    Raises:
        PackageError: If there is none, or it is damaged.
    """
    return Manifest.from_dict(read_plain_manifest(folder))


def read_plain_manifest(folder: str | Path) -> Any:
    """The manifest of a package, both of its files, as plain data not yet checked for its form.

    Raises:
        PackageError: If there is none, a file is no JSON of bounded size and finite numbers, or
            they are of two builds.
    """
    path = Path(os.path.expanduser(folder)).absolute() / MANIFEST
    if not path.exists():
        raise PackageError(
            f"no package in '{path.parent}': there is no {MANIFEST}. Make one: nasc compile "
            "--latency-ms 20"
        )
    try:
        build = read_json(path, MAX_BYTES)
        version = build.get("schema_version") if isinstance(build, dict) else None
        beside = path.with_name(MEASUREMENTS)
        is_whole = type(version) is not int or version < FIRST_VERSION
        if is_whole and (type(version) is int or not os.path.lexists(beside)):
            _check_listed(build, False)
            return build
        if not os.path.lexists(beside):
            raise PackageError(f"{MEASUREMENTS} is missing. Get the package anew")
        whole = joined(build, read_json(beside, MAX_BYTES), sha256_of(path))
        _check_listed(whole, True)
        return whole
    except (OSError, FileRefused) as error:
        raise PackageError(
            f"the manifest cannot be read: {error}. Get the package anew, or make another: "
            "nasc compile --latency-ms 20"
        ) from error


def _check_listed(plain: Any, apart: bool) -> None:
    """Refuse a manifest whose files do not go with where its measurements are."""
    files = plain.get("files") if isinstance(plain, dict) else None
    if isinstance(files, dict) and has_measurements(files) != apart:
        lists = "lists no" if apart else "lists a"
        raise PackageError(f"the manifest {lists} {MEASURED}, and is of another form. It is forged")
