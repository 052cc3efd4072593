"""Python for 64-bit ARM with wheels of PyPI, run by qemu, program by program.

Debian's packages come from where this machine's do, wheels from where its pip takes them. Needs
qemu-aarch64-static (Debian: qemu-user-static), apt and dpkg-deb. What runs there computes what a
board computes; its times say nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from emulated_board import NotBuilt, _apt, _run
from emulated_phone import CORES, FEATURES

PYTHON = (3, 11)
PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "zlib1g")
PROGRAMS = ("qemu-aarch64-static", "apt-get", "dpkg-deb")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux2014")


def missing() -> str | None:
    """What this machine lacks, in words; None where it has all."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"there is no {', '.join(absent)} (Debian: qemu-user-static)" if absent else None


def build(folder: Path, requirements: Sequence[str]) -> list[str]:
    """Puts a Python together.

    Args:
        folder: Exists and is empty.
        requirements: Wheels, each with its release; what they depend on is not looked for.

    Returns:
        The words of a command that runs it; a program's follow.

    Raises:
        NotBuilt: Something cannot be had.
    """
    root, apt, wheels = (folder / name for name in ("root", "apt", "wheels"))
    for path in (root, apt):
        path.mkdir()
    options = _apt(apt)
    _run(["apt-get", *options, "update", "-qq"], apt)
    _run(["apt-get", *options, "install", "-y", "-qq", "--download-only", *PACKAGES], apt)
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)], apt)
    tags = [f"--platform={name}_aarch64" for name in PLATFORMS]
    version = ".".join(map(str, PYTHON))
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}", *tags),
        *("--platform=any", "--abi=cp311", "--abi=abi3", "--abi=none", *requirements),
    ]
    _run(command, folder)
    site = root / "site"
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(_cpuinfo())
    words = [
        *(str(shutil.which("qemu-aarch64-static")), "-L", str(root)),
        *("-E", f"PYTHONPATH={site}", "-E", "PYTHONHOME=/usr"),
        str(root / "usr" / "bin" / "python3.11"),
    ]
    done = subprocess.run([*words, "-c", ""], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuilt(f"Python does not run by qemu: {done.stderr.strip()[-300:]}")
    return words


def _cpuinfo() -> str:
    """Of the phone that is made up."""
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 49.15\nFeatures\t: {FEATURES}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
        f"CPU part\t: 0x{part:03x}\nCPU revision\t: 0\n\n"
        for number, (part, _, _) in enumerate(CORES)
    )
