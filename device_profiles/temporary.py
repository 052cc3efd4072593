"""Temporary folders that go with their process, however it ends.

A process that is killed cannot tidy up. So each temporary folder holds a lock file that its process
has locked; the system gives the lock up when the process ends. Whoever makes the next temporary
folder in the same place removes those whose lock nobody holds. Neither a process number that was
given out again nor a process on another machine is taken for the one that is gone.

It lies in the lowest of the three packages, so that all of them can use it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOCK = "nasc.lock"
"""The lock file in a temporary folder; a folder without one is not ours."""

CONTENT = "content"


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, name: str | None = None) -> Iterator[Path]:
    """An empty folder that goes when the block ends, or when the process was killed, with the next.

    Args:
        parent: Where it lies; None takes the system's folder for temporary files.
        name: Of what is made in it, by which leftovers are found: ``PARENT/.NAME.*.part``. None
            makes ``PARENT/nasc-*``.

    Yields:
        The folder.

    Raises:
        OSError: If it cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    prefix, suffix = ("nasc-", "") if name is None else (f".{name}.", ".part")
    remove_leftovers(parent, f"{glob.escape(prefix)}*{suffix}")
    outer, handle = _made(parent, prefix, suffix)
    try:
        content = outer / CONTENT
        content.mkdir()
        yield content
    finally:
        _remove(outer)
        if handle is not None:
            os.close(handle)


def remove_leftovers(parent: Path, pattern: str) -> None:
    """Remove temporary folders whose processes have ended.

    Args:
        parent: Where they lie.
        pattern: Of their names, as of `glob`. What matches and was not made by `temporary_folder`
            stays, and so does what another user made.
    """
    for folder in parent.glob(pattern):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            handle = acquire(folder / LOCK, make=False)
            if handle is not None:
                try:
                    _remove(folder)
                finally:
                    os.close(handle)


def acquire(path: Path, *, make: bool = True) -> int | None:
    """Lock a lock file; its content is never touched.

    Args:
        path: The file.
        make: Make it where there is none.

    Returns:
        The open file that holds the lock until it is closed; None if somebody else holds it.

    Raises:
        OSError: If it cannot be opened, or the file system knows no locks.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if make else 0)
    while True:
        handle = os.open(path, flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _lies_at(handle, path):
                return handle
            os.close(handle)  # whoever held it has removed it meanwhile
            if not make:
                return None
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise


def _lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _made(parent: Path, prefix: str, suffix: str) -> tuple[Path, int | None]:
    """A new folder and the handle that holds its lock; None where there are no locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=parent))
        try:
            handle = acquire(folder / LOCK)
        except FileNotFoundError:
            continue  # removed as a leftover before it was locked
        except OSError:
            if (folder / LOCK).exists():
                return folder, None  # no locks here: it is never taken for a leftover
            _remove(folder)
            raise
        if handle is not None:
            return folder, handle


def _remove(folder: Path) -> None:
    """Remove a temporary folder, the lock file last; what was not made here stays."""
    content = folder / CONTENT
    with contextlib.suppress(OSError):
        if content.exists():
            shutil.rmtree(content)
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
