"""Files that are complete or not there, and where NASC keeps what it need not do twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from nasc.errors import CacheBusy, NascError

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
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise NascError(
            f"cannot write to the cache folder '{path}': {error.strerror or error}. "
            f"Name another one: --cache DIR, or set {CACHE_VARIABLE}"
        ) from error
    return path


def content_key(values: Mapping[str, Any]) -> str:
    """Short name of everything that a cached thing depends on: 16 hexadecimal digits."""
    text = json.dumps(dict(values), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete under its name or not at all.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder of the cache; a second run waits for the first and finds its result.

    Raises:
        CacheBusy: If another run holds it for `LOCK_TIMEOUT_S`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "lock", timeout=LOCK_TIMEOUT_S):
            yield
    except filelock.Timeout as error:
        raise CacheBusy(
            f"another nasc has been making {what} in '{folder}' for {LOCK_TIMEOUT_S / 60:.0f} "
            "minutes. Wait for it, or use another cache: --cache DIR"
        ) from error
