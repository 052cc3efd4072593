"""Which files a package holds, and their hashes.

Every file but manifest.json and SHA256SUMS is listed in the manifest; SHA256SUMS lists
every file but itself, the manifest included, in the format of the program sha256sum. What
SHA256SUMS has to say follows from the other files byte for byte, so that one changed byte
of any file of the folder, SHA256SUMS included, shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from nasc.package.manifest import MANIFEST, FileRecord

SUMS = "SHA256SUMS"


def record_file(path: Path) -> FileRecord:
    """Hash and size of a file.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(digest, path.stat().st_size)


def record_folder(folder: Path) -> dict[str, FileRecord]:
    """Hash and size of every file that the manifest lists, by name.

    Raises:
        OSError: If one cannot be read.
    """
    return {
        path.name: record_file(path)
        for path in sorted(folder.iterdir())
        if path.name not in (MANIFEST, SUMS)
    }


def sums_text(files: Mapping[str, FileRecord], manifest: FileRecord) -> str:
    """The content of SHA256SUMS: a line for each file, by name."""
    listed = {**files, MANIFEST: manifest}
    return "".join(f"{listed[name].sha256}  {name}\n" for name in sorted(listed))


def find_changes(folder: Path, files: Mapping[str, FileRecord]) -> list[str]:
    """What differs between a folder and the files that its manifest lists.

    Args:
        folder: A package.
        files: From its manifest.

    Returns:
        One phrase for each file that is missing, unlisted or changed; empty if all is well.

    Raises:
        OSError: If a file cannot be read.
    """
    present = {path.name: path for path in folder.iterdir()}
    wanted = {*files, MANIFEST, SUMS}
    found = [f"{name} is missing" for name in sorted(wanted - present.keys())]
    for name in sorted(present):
        path = present[name]
        if name not in wanted or not path.is_file() or path.is_symlink():
            found.append(f"{name} is not listed in the manifest")
        elif name in files and record_file(path) != files[name]:
            found.append(f"{name} was changed")
    if MANIFEST in present and SUMS in present:
        expected = sums_text(files, record_file(present[MANIFEST]))
        if present[SUMS].read_bytes() != expected.encode():
            found.append(f"{MANIFEST} or {SUMS} was changed: they disagree")
    return found
