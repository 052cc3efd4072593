"""`profilers.worker` as one file that a machine's own Python runs, without nasc installed there."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import platformdirs

import device_profiles
import profilers
from profilers.devices.client import thread_variables
from profilers.devices.remote import NOT_A_PROGRAM, Files, RemoteWorker, Transport
from profilers.errors import DeviceUnreachable, ProfilerError, RuntimeMissing
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.runtimes import pip_arguments

_PACKAGES = (profilers, device_profiles, platformdirs)
"""What the worker imports besides numpy, its runtime, and what that opens files with."""

_MAIN = """from profilers.worker import WorkerProcess, serve

serve(WorkerProcess())
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def worker_archive(folder: Path) -> Path:
    """Writes the worker into one file, the same bytes every time.

    Args:
        folder: Where it is made.

    Returns:
        A zip file that Python 3.11 or newer runs, where numpy and the runtime are installed, and
        what that opens files with: see `profilers.runtimes.pip_arguments`.
    """
    path = folder / "worker.pyz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in _PACKAGES:
            root = Path(str(package.__file__)).parent
            for source in sorted(root.rglob("*.py")):
                name = f"{package.__name__}/{source.relative_to(root).as_posix()}"
                _add(archive, name, source.read_bytes())
        _add(archive, "__main__.py", _MAIN.encode())
    return path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)


def open_python_worker(
    transport: Transport,
    files: Files,
    python: str,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
) -> RemoteWorker:
    """Starts a Python worker on a machine.

    Args:
        transport: How the machine is reached.
        files: Of that machine.
        python: The program there that runs it.
        options: How its runtime is set up.
        limits: What it may take; None takes the defaults.

    Raises:
        DeviceUnreachable: The machine cannot be reached, or has no such Python.
        RuntimeMissing, InvalidSetting, WorkerDied: The worker did not start.
    """
    with tempfile.TemporaryDirectory(prefix="nasc-") as folder:
        archive = files.place([(worker_archive(Path(folder)), "worker.pyz")])

    def ended(status: int, said: str) -> ProfilerError | None:
        return _meant(transport.name, python, options.runtime, status, said)

    held = [f"{name}={value}" for name, value in thread_variables(options.threads).items()]
    words = ["env", *held, python, archive]
    return RemoteWorker(transport, files, words, options, ended=ended, limits=limits)


def _meant(device: str, python: str, runtime: str, status: int, said: str) -> ProfilerError | None:
    """What the end of a worker means that has not answered; None where it does not tell."""
    last = (said.splitlines() or [""])[-1]
    if status in NOT_A_PROGRAM:
        return DeviceUnreachable(
            f"device {device!r} has no program {python!r} to run the worker: "
            f"{last[:300]}. Name its Python: connection.python in a device file"
        )
    if last.startswith(("ModuleNotFoundError", "SyntaxError")):
        return RuntimeMissing(
            f"the Python {python!r} on device {device!r} cannot run the worker: "
            f"{last[:300]}. It must be 3.11 or newer, with numpy and the runtime: "
            f"{python} -m pip install {pip_arguments(runtime)}"
        )
    return None
