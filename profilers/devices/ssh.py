"""A machine reached by OpenSSH's client, with the user's own configuration, keys and known hosts.

Nothing is asked of the user: a host whose key is unknown or that wants a password is refused, with
what to do.
"""

from __future__ import annotations

import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from device_profiles import Connection, DeviceProfile
from profilers.devices.native_remote import open_native_worker, runs_native
from profilers.devices.python_worker import open_python_worker
from profilers.devices.remote import Files, RemoteWorker
from profilers.errors import DeviceUnreachable, ProfilerError
from profilers.jobs import RuntimeOptions, WorkerLimits

OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
)
"""Given to ssh and sftp: ask nothing, notice within a minute that the other end is gone, and leave
no connection open that others share."""

SEND_TIMEOUT_S = 3600.0
"""Sending one model's files, or running a short script, may take so long; chosen, 2026: 1 GB at
300 kB/s."""

_CONNECTION_FAILED = 255  # ssh(1), EXIT STATUS

_REASONS = (
    ("Could not resolve hostname", "no machine of that name is known. Try by itself: ssh {host}"),
    (
        "Host key verification failed",
        "its host key is not known here, or has changed. Look at it and accept it: ssh {host}",
    ),
    (
        "Permission denied",
        "it accepts no key of yours, and passwords are not asked for. Try: ssh-copy-id {host}",
    ),
    ("Connection refused", "no SSH server answers there. Start one, or give the right port"),
    ("timed out", "it does not answer. Is it on, and on this network? Try: ssh {host}"),
    ("No route to host", "it cannot be reached from this network. Try: ssh {host}"),
)
"""What ssh and sftp say where they do not get in, and what that means."""

_REASONS_THERE = (
    (": Failure", "a file could not be written. Is its storage full? Look: ssh {host} df"),
    (
        "Permission denied",
        "you may not write there. Name another folder: connection.folder in a device file",
    ),
)
"""What is said once they are in."""


class SshTransport:
    """See `profilers.devices.remote.Transport`."""

    def __init__(self, connection: Connection) -> None:
        """Does not connect yet.

        Args:
            connection: Of the kind "ssh".
        """
        assert connection.host is not None
        self._host = connection.host
        self.name = self._host
        self._port = []
        if connection.port is not None:
            self.name += f":{connection.port}"
            self._port = ["-o", f"Port={connection.port}"]

    def command(self, words: Sequence[str]) -> list[str]:
        """See `Transport`."""
        # Not exec: the shell there tells by its exit status which signal ended the program.
        return self._ssh(f"{shlex.join(words)}; exit $?")

    def _ssh(self, script: str) -> list[str]:
        """The user's shell there may be any: it is told to start sh, and nothing else."""
        line = f"sh -c {shlex.quote(script)}"
        return ["ssh", "-T", *OPTIONS, *self._port, "--", self._host, line]

    def ask(self, script: str) -> str:
        """See `Transport`."""
        done = self._run(self._ssh(script), None)
        if done.returncode != 0:
            raise self._failed(done.returncode, done.stderr, "run a command")
        return done.stdout

    def send(self, files: Sequence[tuple[Path, str]], folder: str) -> None:
        """See `Transport`."""
        part = f"{folder.rpartition('/')[0]}/part-{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory(prefix="nasc-") as staged:
            lines = [f"mkdir {_quoted(part)}"]
            within = {str(folder) for _, name in files for folder in PurePosixPath(name).parents}
            lines += [f"mkdir {_quoted(f'{part}/{one}')}" for one in sorted(within - {"."})]
            for i, (path, name) in enumerate(files):  # sftp takes names here for patterns
                (Path(staged) / f"{i}").symlink_to(path.absolute())
                lines.append(f"put -f {i} {_quoted(f'{part}/{name}')}")
            lines.append(f"rename {_quoted(part)} {_quoted(folder)}")
            command = ["sftp", "-q", "-b", "-", *OPTIONS, *self._port, "--", self._host]
            done = self._run(command, "\n".join(lines) + "\n", staged)
        if done.returncode == 0:
            return
        # Another process may have sent the same; what a login prints tells nothing.
        there = self.ask(f"rm -rf {shlex.quote(part)}; ls -d {shlex.quote(folder)} || true")
        if folder in there.splitlines():
            return
        if done.returncode == _CONNECTION_FAILED:  # but the shell could be asked
            raise DeviceUnreachable(
                f"cannot send files to device {self._host!r}: ssh gets in, sftp does not: "
                f"{(done.stderr.strip().splitlines() or ['it says nothing'])[-1][:300]}. It must "
                "have an SFTP server (of OpenSSH: openssh-sftp-server), and its shell must print "
                f"nothing at the start. Try: sftp {shlex.quote(self._host)}"
            )
        raise self._failed(done.returncode, done.stderr, "send files")

    def failure(self, status: int, said: str) -> ProfilerError | None:
        """See `Transport`."""
        if status == _CONNECTION_FAILED:
            return self._failed(status, said, "run a worker")
        return None

    def _run(
        self, command: list[str], text: str | None, folder: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=folder,
                timeout=SEND_TIMEOUT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceUnreachable(
                f"device {self._host!r} did not finish within {SEND_TIMEOUT_S:g} s: "
                f"{command[0]}. Try by itself: ssh {shlex.quote(self._host)}"
            ) from error
        except OSError as error:
            raise DeviceUnreachable(
                f"device {self._host!r} cannot be reached: {command[0]!r} cannot be run here: "
                f"{error.strerror}. Install OpenSSH's client"
            ) from error

    def _failed(self, status: int, said: str, what: str) -> DeviceUnreachable:
        lines = said.strip().splitlines() or [f"exit status {status}"]
        reasons = _REASONS if status == _CONNECTION_FAILED else _REASONS_THERE
        for sign, meaning in reasons:
            found = [line for line in lines if sign in line]
            if found:
                advice = meaning.format(host=shlex.quote(self._host))
                return DeviceUnreachable(
                    f"cannot {what} on device {self._host!r}: {advice}. ssh said: {found[-1][:300]}"
                )
        lost = status == _CONNECTION_FAILED
        kept = " What was measured is kept: run the same again" if lost else ""
        return DeviceUnreachable(
            f"cannot {what} on device {self._host!r}: {lines[-1][:300]}.{kept}"
        )


def _quoted(path: str) -> str:
    """A path as sftp reads it: no `"` or backslash is in it."""
    return f'"{path}"'


def open_ssh_worker(
    connection: Connection,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> RemoteWorker:
    """Starts a worker on a machine: the native one where it can be, see `runs_native`.

    Args:
        connection: Of the kind "ssh".
        options: How its runtime is set up.
        limits: What the worker may take; None takes the defaults.
        cache: The cache folder, for the native worker; None takes the user's.

    Raises:
        DeviceUnreachable: It cannot be reached, or has no Python where that is needed.
        RunnerUnavailable: The native worker is to run and cannot be had here, or not run there.
        RuntimeMissing, InvalidSetting, WorkerDied: Its worker did not start.
    """
    transport = SshTransport(connection)
    files = Files(transport, connection.folder)
    if runs_native(connection.worker, options, files.system):
        return open_native_worker(transport, files, options, limits, cache)
    return open_python_worker(transport, files, connection.python, options, limits)


def open_device(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> RemoteWorker:
    """See `open_ssh_worker`."""
    return open_ssh_worker(profile.connection, options, limits, cache)
