"""`profilers.worker` as one file that a machine's own Python runs, without nasc installed there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import platformdirs

import device_profiles
import profilers

_PACKAGES = (profilers, device_profiles, platformdirs)
"""What the worker imports besides numpy and its runtime."""

_MAIN = """from profilers.worker import WorkerProcess, serve

serve(WorkerProcess())
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def worker_archive(folder: Path) -> Path:
    """Writes the worker into one file, the same bytes every time.

    Args:
        folder: Where it is made.

    Returns:
        A zip file that Python 3.11 or newer runs, where numpy and the runtime are installed.
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
