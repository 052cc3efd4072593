"""A worker on another machine: files are sent there by their content, then its program starts.

A way to reach a machine is a `Transport`: one file of this folder.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from device_profiles.reading import sha256_of
from profilers.devices.client import REQUEST_TIMEOUT_S, WorkerClient
from profilers.errors import ModelRejected, ProfilerError
from profilers.jobs import RuntimeOptions, WorkerLimits, model_files

KEPT_DAYS = 30
"""Files on a device that nobody has used for so long are removed when a worker starts, and sent
again when they are used. Chosen, 2026."""

NOT_A_PROGRAM = (126, 127)
"""Exit status of a shell where a program cannot be run (POSIX, Shell Command Language, 2.8.2)."""

_SENDABLE = re.compile(r"[^/\\\"\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""Names of files that are sent: what any file system takes, and what sftp can quote."""


class Transport(Protocol):
    """How another machine is reached.

    Attributes:
        name: What people call the machine, for messages; another for each machine.
    """

    name: str

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
            files: Each with its name there, perhaps with folders (`a/b`), which are made. A program
                stays one that can be run.
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


@dataclass(frozen=True, slots=True)
class System:
    """What a machine says of itself; empty where it does not tell.

    Attributes:
        name: As `uname -s` has it, for example "Linux".
        machine: As `uname -m` has it, for example "aarch64".
        libc: Its C library and that one's version, for example "glibc 2.36".
    """

    name: str
    machine: str
    libc: str


class Files:
    """Files on a device, in folders that are named by their content.

    What lay there before is used once its content was looked at; one process looks once, while
    sizes and times of change stay as they were.

    Attributes:
        system: What the device is.
    """

    def __init__(self, transport: Transport, folder: str) -> None:
        """Looks at what lies there, and removes what nobody has used for `KEPT_DAYS`.

        Args:
            transport: How the device is reached.
            folder: Where they lie there.

        Raises:
            DeviceUnreachable: It cannot be reached.
        """
        self._transport = transport
        self._folder = f"{folder}/files"
        self._looked_at = _LOOKED_AT.setdefault((transport.name, self._folder), {})
        quoted = shlex.quote(self._folder)
        used = f"touch -c . {' '.join(self._looked_at)}"
        old = f"find . -mindepth 1 -maxdepth 1 -mtime +{KEPT_DAYS} -exec rm -rf {{}} +"
        part = "find . -mindepth 1 -maxdepth 1 -name 'part-*' -mtime +0 -exec rm -rf {} +"
        there = f"mkdir -p {quoted} && cd {quoted} && {used} && {old} && {part}"
        told = transport.ask(f"umask 077; {there} && {{ ls; {_listed('.')}; {_ASKED}; }}")
        lines = told.splitlines()  # with what a login prints among them
        self._states = _states(lines)
        for digest, state in self._looked_at.items():
            if state is None and digest in self._states:
                self._looked_at[digest] = self._states[digest]
        self.system = System(
            *(
                next((line[len(word) :] for line in lines if line.startswith(word)), "").strip()
                for word in _SYSTEM_WORDS
            )
        )

    def place(self, files: Sequence[tuple[Path, str]]) -> str:
        """Sends files that are not there yet, or not as they should be.

        Args:
            files: Each with its name there, the first being the one that is opened.

        Returns:
            The first file's path there.

        Raises:
            DeviceUnreachable: They could not be sent.
            ModelRejected: They changed meanwhile.
            FileRefused, OSError: One cannot be read.
        """
        hashes = _hashes(files)
        digest = _digest(hashes)
        folder = f"{self._folder}/{digest}"
        if not self._is_there(digest, hashes):
            self._transport.send(files, folder)
            if _hashes(files) != hashes:
                self._transport.ask(f"rm -rf {shlex.quote(folder)}")
                raise ModelRejected(
                    f"{str(files[0][0])!r} changed while it was sent. Wait until whatever writes "
                    "it is done, and run the same again."
                )
            self._looked_at[digest] = None
            self._states[digest] = ()
        return f"{folder}/{files[0][1]}"

    def _is_there(self, digest: str, hashes: Mapping[str, str]) -> bool:
        """Whether a folder is there and holds what it should; else it is removed."""
        if digest not in self._states:
            return False
        looked_at = self._looked_at.get(digest, ())
        if looked_at is None or looked_at == self._states[digest] != ():
            return True
        names = " ".join(shlex.quote(f"./{name}") for name in hashes)
        looked = f"{_listed(digest)}; cd {digest} && touch . && sha256sum {names}"
        told = self._transport.ask(
            f"cd {shlex.quote(self._folder)} && {{ {looked}; }} 2>/dev/null; true"
        ).splitlines()
        if all(f"{content}  ./{name}" in told for name, content in hashes.items()):
            self._looked_at[digest] = self._states[digest] = _states(told).get(digest, ())
            return True
        self._transport.ask(f"rm -rf {shlex.quote(f'{self._folder}/{digest}')}")
        del self._states[digest]
        self._looked_at.pop(digest, None)
        return False


_State = tuple[str, ...]
"""Names, sizes and times of change of a folder's files; empty where they are not told."""

_LOOKED_AT: dict[tuple[str, str], dict[str, _State | None]] = {}
"""By machine and folder there, what this process has sent or looked at: the state in which the
content was as it should be, or None where it was sent and its state not yet read."""

_FILE = re.compile(r"nasc-file (?:\./)?([0-9a-f]{32})/(.+)")
_FOLDER = re.compile(r"[0-9a-f]{32}")

_SYSTEM_WORDS = ("nasc-system ", "nasc-machine ", "nasc-libc ")
_ASKED = (
    'echo "nasc-system $(uname -s)"; echo "nasc-machine $(uname -m)"; '
    'echo "nasc-libc $( (getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1) '
    '| head -n 1)"'
)


def _listed(where: str) -> str:
    """A script that tells the states of the folders below."""
    return f"find {where} -type f -exec stat -c 'nasc-file %n|%s|%z|%i' {{}} + 2>/dev/null"


def _states(lines: Sequence[str]) -> dict[str, _State]:
    """The state of each folder that was listed."""
    found: dict[str, list[str]] = {line: [] for line in lines if _FOLDER.fullmatch(line)}
    for line in lines:
        if match := _FILE.fullmatch(line):
            found.setdefault(match[1], []).append(match[2])
    return {digest: tuple(sorted(files)) for digest, files in found.items()}


def _hashes(files: Sequence[tuple[Path, str]]) -> dict[str, str]:
    """The sha256 of each file's content, by its name there."""
    return {name: sha256_of(path) for path, name in files}


def _digest(hashes: Mapping[str, str]) -> str:
    """Identifies names and contents: 32 hexadecimal digits of a sha256."""
    text = "".join(f"{content}  {name}\n" for name, content in hashes.items())
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
    named = [(path, path.relative_to(model.parent).as_posix()) for path in weights]
    for _, name in named:
        if not all(_SENDABLE.fullmatch(part) for part in name.split("/")):
            raise ModelRejected(
                f"the weights {name!r} of {str(model)!r} cannot be sent to a device: their "
                "name holds a quote, a backslash or what cannot be printed. Save the model with "
                "weights under another name."
            )
    called = "model.onnx"
    while called in {name.split("/")[0] for _, name in named}:
        called = f"_{called}"
    return [(model, called), *named]


Ended = Callable[[int, str], ProfilerError | None]
"""What the end of a worker's program means, by its exit status and the end of its stderr; None
where that says no more than that it ended."""


class RemoteWorker(WorkerClient):
    """A worker on another machine; files of models are sent there when they are loaded."""

    def __init__(
        self,
        transport: Transport,
        files: Files,
        words: Sequence[str],
        options: RuntimeOptions,
        *,
        ended: Ended,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Starts the worker.

        Args:
            transport: How the machine is reached.
            files: Of that machine.
            words: The program there, and its arguments, that is the worker.
            options: How its runtime is set up.
            ended: Asked about its end where the connection is not to blame.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.

        Raises:
            DeviceUnreachable, RuntimeMissing, InvalidSetting, WorkerDied: It could not start.
        """
        self._transport = transport
        self._files = files
        self._ended = ended
        super().__init__(
            transport.command(words), options, limits=limits, request_timeout_s=request_timeout_s
        )

    def path_there(self, path: Path) -> str:
        """Sends a model's files; see `WorkerClient.path_there`."""
        return self._files.place(sent_names(model_files(path)))

    def end(self, status: int, said: str) -> ProfilerError | None:
        """See `WorkerClient.end`."""
        return self._transport.failure(status, said) or self._ended(status, said)
