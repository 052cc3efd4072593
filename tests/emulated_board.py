"""An arm64 board that is emulated: Debian's own kernel and sshd under qemu-system-aarch64.

Its packages come from where this machine's do. By itself it boots one until Ctrl-C:

    python tests/emulated_board.py FOLDER

Needs qemu-system-aarch64 (Debian: qemu-system-arm), apt and OpenSSH's client.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

NAME = "emulated"
"""What ssh calls the board, with the configuration that lies beside it."""

PACKAGES = ("openssh-server", "busybox-static", "libstdc++6")
KERNEL = "linux-image-cloud-arm64"
MODULES = ("virtio_ring", "virtio", "virtio_mmio", "failover", "net_failover", "virtio_net")
"""What the network needs of the kernel, in the order in which it is loaded."""

PROGRAMS = ("qemu-system-aarch64", "apt-get", "apt-cache", "dpkg-deb", "ssh", "ssh-keygen")
NOT_NEEDED = ("perl", "linux-image")
"""Packages that others depend on and nothing here runs; the kernel is unpacked by itself."""

BOOT_S = 240.0

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run/sshd /tmp /root /bin
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
for module in /modules/*.ko; do insmod $module; done
for second in 1 2 3 4 5 6 7 8 9 10; do [ -e /sys/class/net/eth0 ] && break; sleep 1; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
chmod 700 /root /root/.ssh
chmod 600 /etc/ssh/host
exec /usr/sbin/sshd -D -e -r
"""
"""With -r sshd does not start itself anew for each connection, which takes half a second there."""

SSHD = """HostKey /etc/ssh/host
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
Subsystem sftp internal-sftp
"""


def missing() -> str | None:
    """What this machine lacks for a board, in words; None where it has all."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"there is no {', '.join(absent)} (Debian: qemu-system-arm)" if absent else None


class NotBuilt(Exception):
    """The packages of a board cannot be had."""


@dataclass(frozen=True)
class EmulatedBoard:
    """A board that runs.

    Attributes:
        folder: Holds what it was made of, and its console's output.
        config: Configuration of ssh that knows it as `NAME`.
        process: The emulator.
    """

    folder: Path
    config: Path
    process: subprocess.Popen[bytes]

    def programs(self) -> Path:
        """A folder with ssh and sftp that know the board, for the front of PATH."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("ssh", "sftp"):
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {self.config} "$@"\n')
            path.chmod(0o755)
        return folder


def _apt(folder: Path) -> list[str]:
    """Options by which apt knows arm64 alone, and nothing of what is installed here."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise NotBuilt(f"{words[0]} failed: {last}")
    return done.stdout


def fetch(folder: Path) -> list[Path]:
    """Gets the packages of a board.

    Raises:
        NotBuilt: They cannot be had.
    """
    options = _apt(folder)
    archives = folder / "cache" / "archives"
    _run(["apt-get", *options, "update", "-qq"], folder)
    _run(["apt-get", *options, "install", "-y", "-qq", "--download-only", *PACKAGES], folder)
    told = _run(["apt-cache", *options, "depends", KERNEL], folder).split()
    kernels = [word for word in told if word.startswith("linux-image-") and word != KERNEL]
    if not kernels:
        raise NotBuilt(f"apt knows no {KERNEL}")
    _run(["apt-get", *options, "download", "-qq", kernels[0]], archives)
    return sorted(archives.glob("*.deb"))


def build(folder: Path, there: Mapping[str, Path]) -> tuple[Path, Path]:
    """Makes what a board boots: its kernel, and its files as an initial RAM disk.

    Args:
        folder: Where it is made.
        there: Files of this machine, by their path on the board.

    Raises:
        NotBuilt: The packages cannot be had.
    """
    root, kernel = folder / "root", folder / "kernel"
    root.mkdir()
    for package in fetch(folder / "apt"):
        where = kernel if package.name.startswith("linux-image") else root
        if where == kernel or not package.name.startswith(NOT_NEEDED):
            _run(["dpkg-deb", "-x", str(package), str(where)], folder)
    for name in ("usr/share", "var"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "modules").mkdir()
    for i, name in enumerate(MODULES):
        (found,) = kernel.rglob(f"{name}.ko")
        shutil.copy(found, root / "modules" / f"{i}-{name}.ko")
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        _run(key, folder)
    (root / "etc" / "ssh").mkdir(parents=True, exist_ok=True)
    (root / "root" / ".ssh").mkdir(parents=True)
    shutil.copy(folder / "host", root / "etc" / "ssh" / "host")
    shutil.copy(folder / "user.pub", root / "root" / ".ssh" / "authorized_keys")
    (root / "etc" / "ssh" / "sshd_config").write_text(SSHD)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for name, path in there.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / name)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    with open(folder / "initrd", "wb") as out:  # to unpack it there takes longer than to read it
        _write_cpio(root, out)
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    return image, folder / "initrd"


def _write_cpio(root: Path, out: IO[bytes]) -> None:
    """Writes a folder in the format of initial RAM disks (cpio, newc), all of it root's."""
    count = 0

    def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        nonlocal count
        count += 1
        named = name.encode() + b"\0"
        fields = (count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(named), 0)
        head = b"070701" + b"".join(b"%08x" % value for value in fields) + named
        out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            data = os.readlink(path).encode()
        else:
            data = b"" if path.is_dir() else path.read_bytes()
        entry(str(path.relative_to(root)), mode, data)
    entry("dev", stat.S_IFDIR | 0o755)
    entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    entry("TRAILER!!!", 0)


@contextmanager
def booted(folder: Path, there: Mapping[str, Path] | None = None) -> Iterator[EmulatedBoard]:
    """A board that answers, made in a folder and ended with the block.

    Args:
        folder: Exists and is empty.
        there: Files of this machine that lie on it, by their path there: it takes a minute and
            a half to send 30 MB.

    Raises:
        NotBuilt: Its packages cannot be had, or it does not come up.
    """
    kernel, initrd = build(folder, there or {})
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    host = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    (folder / "config").write_text(
        f"Host {NAME}\nHostName 127.0.0.1\nPort {port}\nUser root\n"
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
        "KexAlgorithms curve25519-sha256\n"  # the default takes twice as long under emulation
    )
    words = [
        *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a76", "-smp", "2"),
        *("-m", "1536", "-nographic", "-no-reboot", "-kernel", str(kernel)),
        *("-initrd", str(initrd), "-append", "console=ttyAMA0 quiet panic=-1"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-device,netdev=net"),
    ]
    with open(folder / "console.txt", "wb") as console:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
        try:
            board = EmulatedBoard(folder, folder / "config", process)
            _wait(board)
            yield board
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(board: EmulatedBoard) -> None:
    words = ["ssh", "-F", str(board.config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline and board.process.poll() is None:
        done = subprocess.run([*words, NAME, "true"], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(1.0)
    said = (board.folder / "console.txt").read_text(errors="replace")[-500:]
    raise NotBuilt(f"the emulated board did not come up: {said}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True)
    with booted(place.absolute()) as running:
        print(f"ssh -F {running.config} {NAME}")
        running.process.wait()
