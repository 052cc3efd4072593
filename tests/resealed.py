"""Packages that somebody changed, with hashes that are right again: shared by several tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from nasc.package.hashes import record_folder, write_manifest
from nasc.package.measurements import FIRST_VERSION, MEASURED, MEASUREMENTS, has_measurements
from nasc.package.read_manifest import MANIFEST, read_manifest, read_plain_manifest
from nasc.package.readme import measured_text, readme


def reseal(folder: Path, manifest: Any = None, **changes: Any) -> None:
    """Make all hashes right again, as a forger would.

    Args:
        folder: A package.
        manifest: What its manifest is to say, both files of it; None is what it says.
        changes: Of that. A schema version of before has one file, and README.md all figures.
    """
    plain = read_plain_manifest(folder) if manifest is None else manifest
    plain.update(changes)
    version = plain.get("schema_version")
    if type(version) is int and version < FIRST_VERSION:
        for name in (MEASURED, MEASUREMENTS):
            (folder / name).unlink(missing_ok=True)
    if isinstance(plain.get("files"), dict):
        files = record_folder(folder)
        plain["files"] = {name: dataclasses.asdict(one) for name, one in files.items()}
        write_manifest(folder, plain)
    else:
        (folder / MANIFEST).write_text(json.dumps(plain), encoding="utf-8")


def rewrite(folder: Path) -> None:
    """Have README.md and MEASURED.md say what the manifest says, and reseal."""
    manifest = read_manifest(folder)
    (folder / "README.md").write_text(readme(manifest), encoding="utf-8")
    if has_measurements(manifest.files):
        (folder / MEASURED).write_text(measured_text(manifest), encoding="utf-8")
    reseal(folder)
