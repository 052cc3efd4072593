"""A worker on another machine: files are sent there by their content, then its program starts.

A way to reach a machine is a `Transport`: one file of this folder.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from device_profiles.reading import opened
from profilers.devices.client import REQUEST_TIMEOUT_S, WorkerClient
from profilers.errors import ModelRejected, ProfilerError
from profilers.jobs import RuntimeOptions, WorkerLimits, model_files

KEPT_DAYS = 30
"""Files that lie on a device longer are removed when a worker starts, and sent again when they are
used. Chosen, 2026."""

_SENDABLE = re.compile(r"[^/\\\"\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""Names of files that are sent: what any file system takes, and what sftp can quote."""


class Transport(Protocol):
    """How another machine is reached."""

    def command(self, words: Sequence[str]) -> list[str]:
        """Returns the program here that runs one there and passes its stdin and stdout on."""

    def ask(self, script: str) -> str:
        """Runs a script of the POSIX shell there.

        Args:
            script: Written here; what comes from elsewhere is quoted in it.

        Returns:
            What it wrote to stdout.

        Raises:
            DeviceUnreachable: It could not be run, or failed.
        """

    def send(self, files: Sequence[tuple[Path, str]], folder: str) -> None:
        """Copies files into a folder there, which is made, whole or not at all.

        Args:
            files: Each with its name there.
            folder: Its parent exists there. One that is there already is left as it is.

        Raises:
            DeviceUnreachable: They could not be copied.
        """

    def failure(self, status: int, said: str) -> ProfilerError | None:
        """What the program of `command` says of its end.

        Args:
            status: Its exit status.
            said: The end of its stderr.

        Returns:
            The error where the connection is to blame; None where the worker is.
        """


class Files:
    """Files on a device, in folders that are named by their content."""

    def __init__(self, transport: Transport, folder: str) -> None:
        """Looks at what lies there, and removes what has lain there for `KEPT_DAYS`.

        Args:
            transport: How the device is reached.
            folder: Where they lie there.

        Raises:
            DeviceUnreachable: It cannot be reached.
        """
        self._transport = transport
        self._folder = f"{folder}/files"
        quoted = shlex.quote(self._folder)
        old = f"find {quoted} -mindepth 1 -maxdepth 1 -mtime +{KEPT_DAYS}"
        part = f"find {quoted} -mindepth 1 -maxdepth 1 -name 'part-*' -mtime +0"
        removed = f"{old} -exec rm -rf {{}} + && {part} -exec rm -rf {{}} +"
        listed = transport.ask(f"umask 077; mkdir -p {quoted} && {removed} && ls {quoted}")
        self._there = set(listed.split())

    def place(self, files: Sequence[tuple[Path, str]]) -> str:
        """Sends files that are not there yet.

        Args:
            files: Each with its name there, the first being the one that is opened.

        Returns:
            The first file's path there.

        Raises:
            DeviceUnreachable: They could not be sent.
            ModelRejected: They changed meanwhile.
            FileRefused, OSError: One cannot be read.
        """
        digest = _digest(files)
        folder = f"{self._folder}/{digest}"
        if digest not in self._there:
            self._transport.send(files, folder)
            if _digest(files) != digest:
                self._transport.ask(f"rm -rf {shlex.quote(folder)}")
                raise ModelRejected(
                    f"{str(files[0][0])!r} changed while it was sent. Wait until whatever writes "
                    "it is done, and run the same again."
                )
            self._there.add(digest)
        return f"{folder}/{files[0][1]}"


def _digest(files: Sequence[tuple[Path, str]]) -> str:
    """Identifies names and contents: 32 hexadecimal digits of a sha256."""
    digest = hashlib.sha256()
    for path, name in files:
        one = hashlib.sha256(name.encode())
        with opened(path) as file:
            while chunk := file.read(1 << 20):
                one.update(chunk)
        digest.update(one.digest())
    return digest.hexdigest()[:32]


def sent_names(files: Sequence[Path]) -> list[tuple[Path, str]]:
    """What files of a model are called on a device.

    A model is told to its runtime by its path, and names its weights by theirs: those keep their
    names, the model gets one that any shell and file system take.

    Args:
        files: See `profilers.jobs.model_files`.

    Raises:
        ModelRejected: A file of weights has a name that cannot be sent.
    """
    model, *weights = files
    suffix = model.suffix.lower()
    if suffix == ".xml":  # weights of an IR are found by its name
        return [(model, "model.xml"), *((path, "model.bin") for path in weights)]
    for path in weights:
        if not _SENDABLE.fullmatch(path.name):
            raise ModelRejected(
                f"the weights {path.name!r} of {str(model)!r} cannot be sent to a device: their "
                "name holds a quote, a backslash or what cannot be printed. Save the model with "
                "weights under another name."
            )
    return [(model, "model.onnx"), *((path, path.name) for path in weights)]


class RemoteWorker(WorkerClient):
    """A worker on another machine; files of models are sent there when they are loaded."""

    def __init__(
        self,
        transport: Transport,
        files: Files,
        words: Sequence[str],
        options: RuntimeOptions,
        *,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Starts the worker.

        Args:
            transport: How the machine is reached.
            files: Of that machine.
            words: The program there, and its arguments, that is the worker.
            options: How its runtime is set up.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.

        Raises:
            DeviceUnreachable, RuntimeMissing, InvalidSetting, WorkerDied: It could not start.
        """
        self._transport = transport
        self._files = files
        super().__init__(
            transport.command(words), options, limits=limits, request_timeout_s=request_timeout_s
        )

    def path_there(self, path: Path) -> str:
        """Sends a model's files; see `WorkerClient.path_there`."""
        return self._files.place(sent_names(model_files(path)))

    def end(self, status: int, said: str) -> ProfilerError | None:
        """See `WorkerClient.end`."""
        return self._transport.failure(status, said)
