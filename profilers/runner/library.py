"""ONNX Runtime's shared library for a device: out of the wheel that PyPI has for its system."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from device_profiles.temporary import temporary_folder
from profilers.errors import RunnerUnavailable, RuntimeMissing
from profilers.runner.targets import Target, get_target, runner_folder, this_machine
from profilers.runtimes import installed

_PACKAGE = "onnxruntime"
_LIBRARY = "capi/libonnxruntime.so"
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014")
_MAX_BYTES = 1 << 30  # those of 1.32 hold 27 MB; chosen, 2026
_DOWNLOAD_TIMEOUT_S = 1800.0


def runtime_library(target: str, cache: Path | None = None) -> Path:
    """Finds ONNX Runtime's shared library for a target, of the version that is installed here.

    On a machine of that kind it is the installed one. Else it is taken out of the wheel for that
    system, which is fetched once, by pip, from where this machine's packages come from.

    Args:
        target: One of `profilers.runner.targets.TARGETS`.
        cache: The cache folder; None takes the user's.

    Returns:
        The library.

    Raises:
        RuntimeMissing: ONNX Runtime is not installed here.
        RunnerUnavailable: There is no such library, or it cannot be fetched.
    """
    system = get_target(target)
    _, version = installed(_PACKAGE)
    if version is None:
        raise RuntimeMissing(
            f"the runtime {_PACKAGE!r} is not installed, whose version the native worker is to "
            f"run. Install it: python -m pip install {_PACKAGE}"
        )
    here = _installed_library() if _is_here(system) else None
    if here is not None:
        return here
    folder = runner_folder(cache) / f"{_PACKAGE}-{version}-{system.name}"
    kept = _only(folder)
    if kept is None:
        try:
            _fetch(system, version, folder)
        except OSError as error:
            raise RunnerUnavailable(
                f"cannot keep the library of {_PACKAGE} in '{folder}': {error.strerror or error}. "
                "Make room there, or name another cache folder: set NASC_CACHE"
            ) from error
        kept = _only(folder)
    assert kept is not None
    return kept


def _is_here(target: Target) -> bool:
    try:
        return target == this_machine()
    except RunnerUnavailable:
        return False


def _only(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("libonnxruntime.so*"))), None)


def _installed_library() -> Path | None:
    """The library of the installed package; releases before 1.29 have none apart from Python's."""
    found = importlib.util.find_spec(_PACKAGE)
    for place in (found.submodule_search_locations or []) if found is not None else []:
        library = _only(Path(place) / "capi")
        if library is not None:
            return library
    return None


def _fetch(target: Target, version: str, folder: Path) -> None:
    """Puts the library into a folder of its own, which is there when all of it is."""
    with temporary_folder(folder.parent, folder.name) as temporary:
        wheels = temporary / "wheels"
        made = temporary / "made"
        made.mkdir()
        wheel = _downloaded(target, version, wheels)
        take_library(wheel, made)
        if not folder.exists():  # else another process was faster
            os.replace(made, folder)


def _downloaded(target: Target, version: str, folder: Path) -> Path:
    tags = [f"--platform={platform}_{target.machine}" for platform in _PLATFORMS]
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", f"{_PACKAGE}=={version}", "--no-deps"),
        *("--only-binary=:all:", "--implementation=cp", *tags),
        f"--python-version={sys.version_info.major}.{sys.version_info.minor}",
        *("--disable-pip-version-check", "--no-input", "--quiet", f"--dest={folder}"),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(target, version, command, "it took too long") from None
    wheel = next(iter(sorted(folder.glob("*.whl"))), None)
    if done.returncode != 0 or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (lines or done.stderr.splitlines() or ["pip said nothing"])[-1]
        raise _not_fetched(target, version, command, said.removeprefix("ERROR: ")[:300])
    return wheel


def _not_fetched(
    target: Target, version: str, command: list[str], reason: str
) -> RunnerUnavailable:
    return RunnerUnavailable(
        f"the library of {_PACKAGE} {version} for {target.name!r} could not be fetched: {reason}. "
        f"It is fetched once, over the network. Try the command by itself: {shlex.join(command)}"
    )


def take_library(wheel: Path, folder: Path) -> Path:
    """Takes ONNX Runtime's shared library out of a wheel, checked against the wheel's own record.

    Args:
        wheel: The file.
        folder: Where the library goes, under its own name.

    Returns:
        The library.

    Raises:
        RunnerUnavailable: The wheel is damaged, or holds no such library.
        OSError: It cannot be read, or the library not written.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = _library_entry(archive, wheel)
            wanted = _recorded_hash(archive, entry.filename, wheel)
            path = folder / Path(entry.filename).name
            with archive.open(entry) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise _damaged(wheel, str(error) or type(error).__name__) from error
    if _hash(path) != wanted:
        path.unlink()
        raise _damaged(wheel, f"{entry.filename} is not what its RECORD says")
    return path


def _library_entry(archive: zipfile.ZipFile, wheel: Path) -> zipfile.ZipInfo:
    found = [one for one in archive.infolist() if one.filename.startswith(f"{_PACKAGE}/{_LIBRARY}")]
    if not found:
        raise RunnerUnavailable(
            f"the wheel {wheel.name!r} holds no {_LIBRARY}: the native worker needs a newer "
            f"{_PACKAGE}. Install it: python -m pip install --upgrade {_PACKAGE}"
        )
    if found[0].file_size > _MAX_BYTES:
        raise ValueError(f"{found[0].filename} has {found[0].file_size:,} bytes")
    return found[0]


def _recorded_hash(archive: zipfile.ZipFile, name: str, wheel: Path) -> str:
    (record,) = (one for one in archive.infolist() if one.filename.endswith(".dist-info/RECORD"))
    if record.file_size > 1 << 24:
        raise ValueError(f"{record.filename} has {record.file_size:,} bytes")
    rows = csv.reader(io.StringIO(archive.read(record).decode("utf-8")))
    hashes = [row[1] for row in rows if len(row) == 3 and row[0] == name]
    if len(hashes) != 1:
        raise ValueError(f"its RECORD has no line for {name}")
    return hashes[0]


def _hash(path: Path) -> str:
    """As RECORD writes it."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _damaged(wheel: Path, reason: str) -> RunnerUnavailable:
    return RunnerUnavailable(
        f"the wheel {wheel.name!r} is damaged: {reason}. Fetch it anew: python -m pip cache remove "
        f"{_PACKAGE}, then run the command again"
    )
