"""A folder of another format, and the package that was measured, which lies beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from device_profiles.reading import read_bytes
from nasc.errors import PackageError
from nasc.package.formats import LOWERED_FOR, runtime_of
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import MANIFEST, MAX_BYTES, read_manifest


def folder_beside(output: Path, name: str) -> Path:
    """Where a folder of another format goes: beside the package, which holds its own files alone.

    Args:
        output: Folder of the package.
        name: Of the format.
    """
    return output.with_name(f"{output.name}-{name}")


def beside_outcome(folder: Path, manifest: Manifest) -> tuple[bool, str]:
    """Whether the package beside a folder is of the build that it was written beside.

    Args:
        folder: Of another format.
        manifest: Its own.

    Returns:
        Whether, and what was found; it holds where no package lies there.

    Raises:
        OSError, FileRefused: If the manifest there cannot be read.
    """
    for name in LOWERED_FOR:
        own = folder.name.removesuffix(f"-{name}")
        if runtime_of(name) != manifest.conditions.runtime or own in ("", folder.name):
            continue
        package = folder.with_name(own)
        if (package / MANIFEST).exists():
            held = build_sha256(package) == manifest.beside_sha256
            return held, (
                f"'{own}', which it was written beside"
                if held
                else f"'{own}' is of another build than it was written beside: compile it again"
            )
    return True, "none lies beside it"


def left_beside(package: Path, written: Collection[str]) -> dict[str, Path]:
    """Folders of formats that lie beside a package and are of another build, by format.

    Args:
        package: Written a moment ago.
        written: Names of the formats that were written with it.
    """
    own, found = build_sha256(package), {}
    for name in LOWERED_FOR:
        folder = folder_beside(package, name)
        if name in written or not (folder / MANIFEST).exists():
            continue
        try:
            other = read_manifest(folder).beside_sha256 != own
        except PackageError:  # of another release, or damaged
            other = True
        if other:
            found[name] = folder
    return found


def build_sha256(package: Path) -> str:
    """Hash of a package's build: that of its manifest.json.

    Raises:
        OSError, FileRefused: If it cannot be read.
    """
    return hashlib.sha256(read_bytes(package / MANIFEST, MAX_BYTES)).hexdigest()
