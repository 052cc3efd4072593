"""Files that are complete or not there, and where NASC keeps what it need not do twice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from device_profiles.reading import FileRefused, read_json, sha256_of
from device_profiles.temporary import temporary_folder
from nasc.errors import CacheBusy, NascError, UsageError

CACHE_VARIABLE = "NASC_CACHE"
"""Environment variable that names another cache folder."""

LOCK_TIMEOUT_S = 3600.0
"""How long a run waits for another one that makes the same thing."""


def cache_folder(given: Path | None = None) -> Path:
    """The cache: as given, else from the environment, else the user's cache folder.

    Raises:
        NascError: If it cannot be made or written to.
    """
    path = given or Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("nasc"))
    path = Path(os.path.expanduser(path)).absolute()
    check_path(path, f"--cache DIR, or set {CACHE_VARIABLE}")
    try:
        check_writable(path)
    except OSError as error:
        raise NascError(
            f"cannot write to the cache folder '{path}': {error.strerror or error}. "
            f"Name another one: --cache DIR, or set {CACHE_VARIABLE}"
        ) from error
    return path


def check_path(path: Path, option: str) -> None:
    """Raise unless the whole path of a file or folder is text in UTF-8.

    Linux takes any bytes as a name; onnxruntime, tokenizers and JSON take text.

    Args:
        path: The path; a relative one counts from the current folder.
        option: How to name another one, for the message.

    Raises:
        UsageError: If it is not.
    """
    whole = os.fsencode(Path(os.path.expanduser(path)).absolute())
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the path '{whole.decode('utf-8', 'backslashreplace')}' is not UTF-8 (byte "
            f"0x{whole[error.start]:02x}): onnxruntime and tokenizers cannot open it. Rename the "
            f"folder, or name another one: {option}"
        ) from error


def check_writable(folder: Path) -> None:
    """Make a folder where there is none and try whether files can be made in it.

    Raises:
        OSError: If not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


RECORD = "files.json"
"""Beside files of the cache: the sha256 of each, written last."""

_RECORD_SCHEMA = {"type": "object", "additionalProperties": {"type": "string"}}


def record_files(folder: Path) -> None:
    """Write down the checksums of a folder's files, for `changed_file`.

    Raises:
        OSError: If they cannot be read, or the record not written.
    """
    found = {p.name: sha256_of(p) for p in folder.iterdir() if p.is_file() and p.name != RECORD}
    write_atomically(folder / RECORD, json.dumps(found, sort_keys=True).encode())


def changed_file(folder: Path) -> str | None:
    """Name of a file that is not as `record_files` found it; None if all are.

    A folder of a release that wrote no record counts as whole, and gets its record now: what
    changes from here on is found.

    Raises:
        OSError: If a record cannot be written.
    """
    path = folder / RECORD
    if not path.exists():
        record_files(folder)
        return None
    try:
        wanted = read_json(path, 1 << 20, _RECORD_SCHEMA)
    except (OSError, FileRefused):
        return RECORD
    for name, sha256 in wanted.items():
        one = folder / name
        if one.parent != folder or not one.is_file() or sha256_of(one) != sha256:
            return str(name)
    return None


def drop_changed(folder: Path, say: Callable[[str], None]) -> None:
    """Remove a folder of the cache if one of its files was changed since it was written.

    Args:
        folder: Complete; or not there, which is fine.
        say: Told that it is made anew.

    Raises:
        OSError: If it cannot be removed.
    """
    if folder.is_dir() and (name := changed_file(folder)) is not None:
        say(f"'{folder}' in the cache is damaged ({name} is not as it was written): made anew")
        shutil.rmtree(folder)


def content_key(values: Mapping[str, Any]) -> str:
    """Short name of everything that a cached thing depends on: 16 hexadecimal digits."""
    text = json.dumps(dict(values), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete under its name or not at all.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, *, new: bool = False) -> Iterator[Path]:
    """A temporary file beside a file: it becomes that file if the block ends well, else it goes.

    Args:
        path: The file.
        new: Never replace what lies there, nor what comes to lie there while the block runs.

    Raises:
        FileExistsError: If something lies there and it must be new.
        OSError: If the file cannot be replaced.
    """
    with temporary_folder(path.parent, path.name) as folder:
        temporary = folder / path.name
        yield temporary
        if not new:
            temporary.replace(path)
            return
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "File exists", str(path)) from error
            temporary.rename(path)


@contextmanager
def locked(folder: Path, what: str, say: Callable[[str], None] | None = None) -> Iterator[Path]:
    """Hold a folder of the cache; a second run waits for the first and finds its result.

    Args:
        folder: Made when missing; given to the block.
        what: Is made in it, in words.
        say: Told when another run has to be waited for.

    Raises:
        CacheBusy: If another run holds it for `LOCK_TIMEOUT_S`.
        NascError: If the folder cannot be made or written to.
    """
    lock = filelock.FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if say is not None:
                say(f"waiting for another nasc that is making {what}")
            lock.acquire(timeout=LOCK_TIMEOUT_S)
    except filelock.Timeout as error:
        raise CacheBusy(
            f"another nasc has been making {what} in '{folder}' for {LOCK_TIMEOUT_S / 60:.0f} "
            "minutes. Wait for it to end, or stop it"
        ) from error
    except OSError as error:
        raise NascError(
            f"cannot write to '{folder}' in the cache: {error.strerror or error}. Free some space "
            "or name another cache: --cache DIR"
        ) from error
    try:
        yield folder
    finally:
        lock.release()
