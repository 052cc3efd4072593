"""Where a command writes: looked at before the work, held during it, and no file of a user's lost.

A file is replaced only where it was named and ``--force`` was given. In a folder only those files
are replaced that a record of ours lists, as they were written.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from device_profiles.reading import FileRefused, read_json, sha256_of
from device_profiles.temporary import acquire, temporary_folder
from nasc.errors import NascError, OutputBusy, UsageError
from nasc.utils.files import check_path, check_writable, write_atomically

FILES = "nasc_files.json"
"""In a folder that was filled: which files are ours, with their hashes."""

_FORMAT = "nasc.files"


def full_path(output: Path) -> Path:
    """An output's absolute path; ``~`` is the home folder, and ``..`` is followed."""
    path = Path(os.path.expanduser(output)).absolute()
    return path.resolve() if ".." in path.parts else path


def check_place(
    output: Path, option: str, error: type[NascError] = NascError, what: str | None = None
) -> None:
    """Raise unless something new can be written under a path; folders above it are made.

    Args:
        output: The path.
        option: That names another one, for the message.
        error: What is raised.
        what: Cannot be written, for the message; None names the folder above.

    Raises:
        UsageError: If it is not UTF-8, or below /dev or /proc.
        NascError: Or `error`.
    """
    check_path(output, option)
    path = full_path(output)
    try:
        _check_outside_the_system(output, option)
        check_writable(path.parent)
        if path.name:  # a name may be too long, or hold what the file system does not take
            with temporary_folder(path.parent, path.name):
                pass
    except (OSError, ValueError) as why:
        reason = (why.strerror if isinstance(why, OSError) else None) or why
        raise error(
            f"cannot write {what or 'to the folder'} '{path.parent if what is None else output}': "
            f"{reason}. Name another: {option}"
        ) from why


_SYSTEM = tuple(Path(name) for name in ("/dev", "/proc", "/sys"))
_SHARED_MEMORY = Path("/dev/shm")
"""A folder for files like any other."""


def _check_outside_the_system(output: Path, option: str) -> None:
    """Raise where something would be put beside devices, or into what /dev/fd leads to."""
    folder = Path(os.path.realpath(full_path(output).parent))
    if folder.is_relative_to(_SHARED_MEMORY) or not any(map(folder.is_relative_to, _SYSTEM)):
        return
    raise UsageError(
        f"'{output}' lies among the devices and processes of the system, where no file is put. "
        f"Name another: {option}; a result for a pipe: --json"
    )


def check_file(
    output: Path,
    option: str = "--output FILE",
    *,
    force: bool = False,
    error: type[NascError] = NascError,
) -> None:
    """Raise unless a file may and can be written, before work goes into it.

    Args:
        output: The file.
        option: That names another one, for the message.
        force: Whether a file that lies there may be replaced.
        error: What is raised if it cannot be written.

    Raises:
        UsageError: If it may not.
        NascError: If it cannot.
    """
    kind = _kind(output, option, error)
    if kind is not None:
        if stat.S_ISDIR(kind):
            raise UsageError(f"'{output}' is a folder. Name a file: {option}")
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise UsageError(f"'{output}' is no file but a device or a pipe. Name a file: {option}")
        if not force and stat.S_ISLNK(kind):
            raise UsageError(
                f"'{output}' is a link. Replace the link, not what it leads to: --force; or name "
                f"another: {option}"
            )
        if not force:
            raise UsageError(f"'{output}' exists. Replace it: --force; or name another: {option}")
    check_place(output, option, error)


def check_folder(output: Path, *, force: bool = False) -> None:
    """Raise unless a folder may and can be filled, before work goes into it: see `filling`.

    Args:
        output: The folder.
        force: Whether files of ours that lie there may be replaced.

    Raises:
        UsageError: If something else lies there.
        NascError: If it cannot be written.
    """
    option = "--output DIR"
    kind = _kind(output, option, NascError)
    if kind is None:
        check_place(output, option)
        return
    if not full_path(output).is_dir():
        raise UsageError(f"'{output}' is a file. Name a folder: {option}")
    folder = full_path(output)
    try:
        is_empty = not any(folder.iterdir())
        if not is_empty and not force:
            raise UsageError(
                f"'{output}' is not empty. Replace: --force; or name another: {option}"
            )
        if not is_empty:
            changed = _changed(folder, recorded_files(folder))
            if changed is not None:
                raise UsageError(f"'{folder / changed}' was changed since nasc wrote it{_MINE}")
        check_writable(folder)
    except OSError as error:
        raise NascError(
            f"cannot write to the folder '{output}': {error.strerror or error}. Name another: "
            f"{option}"
        ) from error


_MINE = (
    ": what nasc did not write is never replaced. Name another folder: --output DIR; or move that "
    "file away"
)


def _kind(output: Path, option: str, error: type[NascError]) -> int | None:
    """The mode of what lies at a path, a link itself; None where nothing lies.

    A link to a device counts as the device, so that nothing is put in its place.
    """
    path = Path(os.path.expanduser(output))
    try:
        _check_outside_the_system(output, option)
        with contextlib.suppress(FileNotFoundError):
            target = path.stat().st_mode
            if not stat.S_ISREG(target):
                return target
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as why:
        reason = (why.strerror if isinstance(why, OSError) else None) or why
        raise error(f"cannot write '{output}': {reason}. Name another: {option}") from why


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Hold an output for a whole run: a second one that would write there hears of it at once.

    The lock lies beside the output, so that runs with other caches meet it too; the system gives
    it up when the process ends, however it ends.

    Args:
        output: File or folder; `check_place` was asked.

    Raises:
        OutputBusy: If another run holds it.
    """
    path = full_path(output)
    lock = path.with_name(f".{path.name}.nasc-lock") if path.name else path / ".nasc-lock"
    try:
        handle = acquire(lock)
    except OSError:  # no locks on this file system: what is written is still whole or not there
        yield
        return
    if handle is None:
        raise OutputBusy(
            f"another nasc is at work on '{output}'. Wait for it to end, or name another place: "
            "--output"
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(handle)


def recorded_files(folder: Path) -> dict[str, set[str]]:
    """The files of a folder that nasc wrote: SHA-256 by name, two where a run broke off.

    Raises:
        UsageError: If there is no record of them, or it cannot be read.
    """
    try:
        data = read_json(folder / FILES, 1 << 20)
    except FileNotFoundError:
        raise UsageError(f"'{folder}' holds files, and no {FILES} that lists them{_MINE}") from None
    except (OSError, FileRefused) as error:
        raise UsageError(f"cannot read the record of what nasc wrote: {error}{_MINE}") from error
    found: dict[str, set[str]] = {}
    parts = [data.get(part) for part in ("files", "coming")] if isinstance(data, dict) else []
    if not parts or data.get("format") != _FORMAT:
        raise UsageError(f"'{folder / FILES}' is no record of nasc{_MINE}")
    for part in parts:
        if not isinstance(part, dict):
            raise UsageError(f"'{folder / FILES}' is no record of nasc{_MINE}")
        for name, digest in part.items():
            found.setdefault(name, set()).add(str(digest))
    return found


def _changed(folder: Path, files: Mapping[str, set[str]]) -> str | None:
    """The first of our files in a folder that is not as we wrote it; missing ones count as ours."""
    for name in sorted(files):
        path = folder / name
        if Path(name).name != name or name == FILES:
            return name
        if os.path.lexists(path) and (path.is_symlink() or _sha256(path) not in files[name]):
            return name
    return None


def _sha256(path: Path) -> str | None:
    """Of a file; None of what is no file."""
    try:
        return sha256_of(path)
    except FileRefused:
        return None


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """An empty folder: its files move into the folder if the block ends well, else they go.

    What nasc did not write there stays: a file of the same name is never replaced. Files of an
    earlier filling go. A process that is killed leaves its temporary folder, which the next one
    that fills the same folder removes.

    Args:
        folder: Made when missing.

    Raises:
        UsageError: If a file that nasc did not write has the name of a new one, or was changed
            since; nothing is replaced then.
        OSError: If the files cannot be moved.
    """
    folder = full_path(folder)
    # In a folder that is there already: beside it may lie another file system.
    beside = (folder, "nasc") if folder.is_dir() else (folder.parent, folder.name)
    beside[0].mkdir(parents=True, exist_ok=True)
    with temporary_folder(*beside) as temporary:
        yield temporary
        folder.mkdir(exist_ok=True)
        coming = {path.name: _sha256(path) or "" for path in temporary.iterdir()}
        ours = recorded_files(folder) if os.path.lexists(folder / FILES) else {}
        changed = _changed(folder, ours)
        taken = [n for n in sorted(coming) if n not in ours and os.path.lexists(folder / n)]
        if changed is not None:
            raise UsageError(f"'{folder / changed}' was changed since nasc wrote it{_MINE}")
        if taken:
            raise UsageError(f"'{folder / taken[0]}' lies where a new file is to go{_MINE}")
        before = {name: _sha256(folder / name) for name in ours if (folder / name).exists()}
        _write_record(folder, {name: digest for name, digest in before.items() if digest}, coming)
        for name in sorted(coming):
            (temporary / name).replace(folder / name)
        for name in before.keys() - coming.keys():
            (folder / name).unlink()
        _write_record(folder, coming, {})


def _write_record(folder: Path, files: Mapping[str, str], coming: Mapping[str, str]) -> None:
    record = {"format": _FORMAT, "files": dict(files), "coming": dict(coming)}
    write_atomically(folder / FILES, (json.dumps(record, indent=1) + "\n").encode())
