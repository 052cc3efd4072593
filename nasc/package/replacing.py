"""Replacing a package by a new one: only what is proved to be a package, as nasc wrote it.

A folder is one if its manifest names our format and lists every file that is in the folder with
the hash that it has. Whatever else lies there, or was changed, is somebody's: the folder stays as
it is. The proof is given again after the old package was moved aside, where nobody expects it, and
then only the files that it is about are removed, one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device_profiles.reading import FileRefused, read_bytes, read_json, sha256_of
from nasc.errors import PackageError
from nasc.package.hashes import SIGNATURE, SUMS, manifest_files, record_file, sums_text
from nasc.package.manifest_schema import FORMAT
from nasc.package.measurements import FORMAT as MEASUREMENTS_FORMAT
from nasc.package.measurements import MEASURED_FILES, MEASUREMENTS
from nasc.package.read_manifest import MANIFEST
from nasc.package.records import FileRecord
from nasc.utils.progress import Say

MANIFEST_BYTES = 64 << 20


def why_kept(folder: Path) -> str | None:
    """Why a folder must not be replaced, in words; None of a package as nasc wrote it.

    Files that are missing are no reason: nothing is lost with them.

    Args:
        folder: What lies where a package is to go.
    """
    if folder.is_symlink() or not folder.is_dir():
        return "it is no folder"
    try:
        files = _listed(folder)
        for name, path in _entries(folder):
            reason = _differs(name, path, files)
            if reason is not None:
                return reason
        return _sums_differ(folder, files)
    except FileRefused as error:
        return str(error)
    except OSError as error:
        return f"'{error.filename or folder}' cannot be read: {error.strerror or error}"


def is_package(folder: Path) -> bool:
    """Whether a folder has a manifest of ours, whatever else is in it."""
    try:
        _listed(folder)
    except (OSError, FileRefused):
        return False
    return True


def _is_whole(folder: Path) -> bool:
    """Whether a folder is a package that `remove_package` has not begun to remove."""
    try:
        files = _listed(folder)
    except (OSError, FileRefused):
        return False
    return (folder / SUMS).exists() or all((folder / name).exists() for name in files)


def _listed(folder: Path) -> dict[str, FileRecord]:
    """The files that a manifest of ours lists, in both of its files where it has two.

    Raises:
        FileRefused: If it is none of ours, or there is none.
        OSError: If it cannot be read.
    """
    path, beside = folder / MANIFEST, folder / MEASUREMENTS
    found = _records(path)
    if os.path.lexists(beside) and MEASUREMENTS not in found:
        measured = _records(beside, measured=True)
        found |= {name: measured[name] for name in MEASURED_FILES if name in measured}
    return found


def _records(path: Path, measured: bool = False) -> dict[str, FileRecord]:
    """The files that one file of a manifest lists."""
    if path.is_symlink():
        raise FileRefused(path, "is a link")
    try:
        raw: Any = read_json(path, MANIFEST_BYTES)
    except FileNotFoundError:
        raise FileRefused(path, "is missing") from None
    form = MEASUREMENTS_FORMAT if measured else FORMAT
    if not isinstance(raw, dict) or raw.get("format") != form:
        raise FileRefused(path, f"is not of the format {form}")
    files = raw.get("files")
    if not isinstance(files, dict):
        raise FileRefused(path, "lists no files")
    try:
        return {name: FileRecord(r["sha256"], r["size_bytes"]) for name, r in files.items()}
    except (KeyError, TypeError) as error:
        raise FileRefused(path, "lists files without their hashes") from error


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a folder by its relative name, a folder before what is in it.

    Links are not followed.
    """
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            yield path.relative_to(folder).as_posix(), path
            if path.is_dir() and not path.is_symlink():
                waiting.append(path)


def _differs(name: str, path: Path, files: dict[str, FileRecord]) -> str | None:
    """Why something in a folder is not of the package; None if it is."""
    if path.is_symlink():
        return f"'{path}' is a link, which nasc does not make"
    if path.is_dir():
        known = any(other.startswith(f"{name}/") for other in files)
        return None if known else f"nasc did not write the folder '{path}'"
    if name in (*manifest_files(files), SUMS, SIGNATURE):
        return None
    if name not in files:
        return f"nasc did not write '{path}'"
    has_size = path.stat().st_size == files[name].size_bytes
    if has_size and sha256_of(path) == files[name].sha256:
        return None
    return f"'{path}' was changed since nasc wrote it"


def _sums_differ(folder: Path, files: dict[str, FileRecord]) -> str | None:
    if not (folder / SUMS).exists():
        return None
    own = manifest_files(files)
    expected = sums_text(files, {name: record_file(folder / name) for name in own}).encode()
    if read_bytes(folder / SUMS, MANIFEST_BYTES) != expected:
        names = " or ".join(f"'{folder / name}'" for name in (*own, SUMS))
        return f"{names} was changed: they disagree"
    return None


def remove_package(folder: Path) -> None:
    """Remove the files of a package, SHA256SUMS first, and the folder if nothing else is in it.

    Args:
        folder: Of which `why_kept` has just found nothing.

    Raises:
        OSError: If a file cannot be removed, or others have come.
        FileRefused: If the manifest is gone or another.
    """
    files = _listed(folder)
    entries = list(_entries(folder))
    (folder / SUMS).unlink(missing_ok=True)  # by which `_is_whole` tells that it has begun
    for name, path in entries:
        if name in files:
            path.unlink()
    for name, path in reversed(entries):
        if path.is_dir() and any(other.startswith(f"{name}/") for other in files):
            path.rmdir()
    (folder / SIGNATURE).unlink(missing_ok=True)
    for name in reversed(manifest_files(files)):  # the manifest last, which tells what this was
        (folder / name).unlink()
    folder.rmdir()


def move_in(part: Path, out: Path, say: Say | None = None) -> None:
    """Rename a finished folder to its name; what was there is a package, or comes back.

    Args:
        part: The new package, on the same file system.
        out: Its place.
        say: Told of what is left of the old package: a file that came into it meanwhile.

    Raises:
        PackageError: If what lies there is no package as nasc wrote it; it stays.
        OSError: If renaming fails; what was there comes back.
    """
    if not os.path.lexists(out) or _is_empty(out):
        part.rename(out)  # over an empty folder too; one that has been filled refuses
        return
    spare = spare_of(out)
    out.rename(spare)
    try:
        reason = why_kept(spare)
        if reason is not None:
            raise PackageError(
                f"'{out}' was changed while the new package was made: "
                f"{reason.replace(str(spare), str(out))}. It is as it was. {NEXT_STEP}; what was "
                "trained and measured is kept"
            )
        part.rename(out)
    except BaseException:
        spare.rename(out)
        raise
    try:
        remove_package(spare)
    except (OSError, FileRefused) as error:
        if say is not None:
            say(
                f"not all of the package that was replaced could be removed ({error}): what is "
                f"left lies in '{spare}'. Move your own files out of it, and remove it"
            )


NEXT_STEP = (
    "Name another folder: --output DIR; or, if nothing in it is needed, remove it and run the same "
    "command"
)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def spare_of(out: Path) -> Path:
    """Where the old package lies while a new one takes its place."""
    return out.with_name(f".{out.name}.replaced")


def restore(out: Path) -> None:
    """Tidy up after a run that was killed between the two renames of `move_in`.

    Raises:
        PackageError: If what it left is no package as nasc wrote it.
        OSError: If it cannot be moved or removed.
    """
    spare = spare_of(out)
    if not os.path.lexists(spare):
        return
    reason = why_kept(spare)
    if not os.path.lexists(out) and _is_whole(spare):
        spare.rename(out)
        return
    if reason is None:
        try:
            remove_package(spare)
            return
        except FileRefused as error:
            reason = str(error)
    if _is_empty(spare):
        spare.rmdir()
        return
    raise PackageError(
        f"'{spare}' lies where the package that is replaced is moved to, and {reason}. Move it "
        "away, or name another folder: --output DIR"
    )
