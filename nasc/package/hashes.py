"""Which files a package holds, and their hashes.

Every file but SHA256SUMS, a signature and those of the manifest itself is listed in the manifest.
SHA256SUMS lists every file but itself and a signature, those of the manifest included, in the
format of the program sha256sum. What it has to say follows from the other files byte for byte, so
that one changed byte of any of these files, SHA256SUMS included, shows.

What is hashed is content: a link counts as the file that it leads to, wherever that lies, as
in the cache of the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from device_profiles.reading import FileRefused, opened, read_bytes
from nasc.errors import PackageError
from nasc.package.measurements import MEASUREMENTS, has_measurements, of_build, split
from nasc.package.read_manifest import MANIFEST
from nasc.package.records import FileRecord
from nasc.utils.printable import printable

SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"
"""Written by `nasc.package.signing`, over all other files."""

BESIDE = (".git", ".gitattributes", ".gitignore", ".cache/huggingface")
"""What git and the hub's client lay beside the files of a folder: no part of a package."""


def record_file(path: Path) -> FileRecord:
    """Hash and size of a file.

    Raises:
        OSError: If it cannot be read.
        PackageError: If it is no regular file.
    """
    try:
        with opened(path) as file:
            return _record(file)
    except FileRefused as error:
        raise PackageError(f"no file of a package: {error}") from error


def _record(file: BufferedReader) -> FileRecord:
    digest = hashlib.file_digest(file, "sha256")
    return FileRecord(digest.hexdigest(), file.tell())


def record_folder(folder: Path) -> dict[str, FileRecord]:
    """Hash and size of every file that the manifest lists, by name; ``/`` stands between folders.

    Raises:
        OSError: If one cannot be read.
        PackageError: If one is no regular file.
    """
    return {
        name: record_file(path)
        for name, path in _entries(folder, lambda path: path.is_dir() and not path.is_symlink())
        if name not in (MANIFEST, MEASUREMENTS, SUMS, SIGNATURE)
    }


def package_names(folder: Path) -> set[str]:
    """Names of all that lies in a package, ``/`` between folders; of those in `BESIDE` none.

    Raises:
        OSError: If it cannot be read.
    """
    return {name for name, _ in _entries(folder, lambda path: path.is_dir())}


def manifest_files(files: Collection[str]) -> tuple[str, ...]:
    """Names of the files that a package's manifest is in.

    Args:
        files: Those that it lists.
    """
    return (MANIFEST, MEASUREMENTS) if has_measurements(files) else (MANIFEST,)


def write_manifest(folder: Path, plain: Mapping[str, Any]) -> None:
    """Write a manifest, in one file or two by its form, and SHA256SUMS.

    Args:
        folder: With all files that the manifest lists.
        plain: All of the manifest.

    Raises:
        OSError: If one cannot be written.
    """
    two = has_measurements(plain["files"])
    build, measurements = split(plain) if two else (dict(plain), {})
    (folder / MANIFEST).write_text(_as_text(build), encoding="utf-8", newline="\n")
    if two:
        about = of_build(measurements, record_file(folder / MANIFEST).sha256)
        (folder / MEASUREMENTS).write_text(_as_text(about), encoding="utf-8", newline="\n")
    files = {name: FileRecord(**record) for name, record in plain["files"].items()}
    own = {name: record_file(folder / name) for name in manifest_files(files)}
    (folder / SUMS).write_text(sums_text(files, own), encoding="utf-8", newline="\n")


def _as_text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def things_beside(folder: Path) -> list[str]:
    """Names out of `BESIDE` that lie in a folder.

    Raises:
        OSError: If it cannot be read.
    """
    return [name for name in BESIDE if os.path.lexists(folder / name)]


def sums_text(files: Mapping[str, FileRecord], manifest: Mapping[str, FileRecord]) -> str:
    """The content of SHA256SUMS: a line for each file, by name.

    Args:
        files: Those that the manifest lists.
        manifest: Those that it is in.
    """
    listed = {**files, **manifest}
    return "".join(f"{listed[name].sha256}  {name}\n" for name in sorted(listed))


def find_changes(folder: Path, files: Mapping[str, FileRecord]) -> list[str]:
    """What differs between a folder and the files that its manifest lists.

    Args:
        folder: A package.
        files: From its manifest.

    Returns:
        One phrase for each file that is missing, unlisted, changed or no file, of those in
        `BESIDE` and of a signature none; empty if all is well.

    Raises:
        OSError: If the folder cannot be read.
    """
    own = manifest_files(files)
    wanted = {*files, *own, SUMS}
    inner = {str(parent) for name in wanted for parent in PurePosixPath(name).parents}
    present = dict(
        _entries(
            folder,
            is_folder=lambda path: path.is_dir() and path.relative_to(folder).as_posix() in inner,
        )
    )
    found = dict.fromkeys(sorted(wanted - present.keys()), "is missing")
    for name in sorted(present):
        if name == SIGNATURE and present[name].is_file():
            continue
        if name not in wanted:
            found[name] = "is not listed in the manifest"
        elif reason := _difference(present[name], files.get(name)):
            found[name] = reason
    if not found.keys() & {*own, SUMS}:
        records = {name: record_file(present[name]) for name in own}
        expected = sums_text(files, records).encode()
        try:
            same = read_bytes(present[SUMS], len(expected)) == expected
        except FileRefused:
            same = False
        if not same:
            found[" or ".join((*own, SUMS))] = "was changed: they disagree"
    return [f"{_readable(name)} {reason}" for name, reason in found.items()]


def check_unchanged(folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Refuse a package whose files are not as hashed, before one of them is opened.

    Raises:
        PackageError: If it is not as it was made, or cannot be read.
    """
    changes = find_changes(folder, files)
    if changes:
        raise PackageError(
            f"the package '{folder}' is not as it was made: {'; '.join(changes)[:500]}. See all "
            f"that is wrong with it: nasc verify {folder}"
        )


def _difference(path: Path, record: FileRecord | None) -> str:
    """What is wrong with a file, as the end of a sentence; empty if nothing is."""
    try:
        with opened(path) as file:
            if record is None:
                return ""
            # Its size first: of a file that claims to be endless, nothing is read
            size = os.fstat(file.fileno()).st_size
            same = size == record.size_bytes and _record(file) == record
    except FileRefused as error:
        return error.reason
    except FileNotFoundError:
        return "is a link that leads nowhere"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if same else "was changed"


def _entries(folder: Path, is_folder: Callable[[Path], bool]) -> Iterator[tuple[str, Path]]:
    """Name and path of what lies in a folder, in order.

    Args:
        folder: The folder.
        is_folder: Whether an entry is a folder whose own entries count, not itself.
    """
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = path.relative_to(folder).as_posix()
            if name in BESIDE:
                continue
            holds_known = any(known.startswith(f"{name}/") for known in BESIDE)
            if is_folder(path) or (holds_known and path.is_dir()):
                waiting.append(path)
            else:
                yield name, path


def _readable(name: str) -> str:
    """A name that somebody else gave to a file, as one line of UTF-8."""
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))
