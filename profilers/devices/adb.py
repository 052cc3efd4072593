"""Phones reached by adb, the client of Android's platform tools.

A phone is found by what its device file says of it (`profilers.devices.phones`), and spoken to by
its serial number. Its worker is the native one (`profilers.runner`). Names and paths that the
phone's shell reads are quoted.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from device_profiles.reading import shown
from profilers.devices.android import (
    DESCRIPTION_SCRIPT,
    HEAT_SCRIPT,
    STATE_SCRIPT,
    PhoneDescription,
    parse_description,
    parse_heat,
    parse_state,
    why_rest,
)
from profilers.devices.phones import (
    PROGRAM,
    READY,
    SEND_TIMEOUT_S,
    attached,
    find_phone,
    last_line,
    run_adb,
)
from profilers.devices.remote import NOT_A_PROGRAM, Files, RemoteWorker
from profilers.errors import (
    DeviceLost,
    DeviceUnreachable,
    ProfilerError,
    RunnerUnavailable,
    RuntimeMissing,
)
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.runner.build import build_runner
from profilers.runner.glibc import glibc_files
from profilers.runner.library import runtime_library
from profilers.runner.targets import TARGETS

FOLDER = "/data/local/tmp/nasc"
"""Where files lie on a phone: what its shell may write to and run programs from."""

ABI = "arm64-v8a"
"""What the native worker is built for, as Android calls it."""

_DONE = "nasc: done"
"""The last line of a script that ran to its end: adb 29 tells a lost phone by no exit status."""


class AdbTransport:
    """See `profilers.devices.remote.Transport`."""

    def __init__(self, name: str, serial: str) -> None:
        """Does not connect yet.

        Args:
            name: Of the device, for messages.
            serial: The phone's serial number.
        """
        self.name = f"{name} ({serial})"
        self._serial = serial

    def command(self, words: Sequence[str]) -> list[str]:
        """See `Transport`."""
        # Not exec: the shell there tells by its exit status which signal ended the program.
        return self._shell(f"{shlex.join(words)}; exit $?")

    def _shell(self, script: str) -> list[str]:
        return [PROGRAM, "-s", self._serial, "shell", "-T", script]

    def ask(self, script: str) -> str:
        """See `Transport`."""
        done = run_adb(self._shell(f"({script}\n) && echo && echo {shlex.quote(_DONE)}")[1:])
        said, whole, _ = done.stdout.rpartition(f"\n{_DONE}\n")
        if done.returncode == 0 and whole:
            return said
        raise self._failed(done, "run a command")

    def send(self, files: Sequence[tuple[Path, str]], folder: str) -> None:
        """See `Transport`."""
        part = f"{folder.rpartition('/')[0]}/part-{secrets.token_hex(8)}"
        there, place = shlex.quote(part), shlex.quote(folder)
        self.ask(f"mkdir {there}")
        for path, name in files:
            words = ["-s", self._serial, "push", str(path.absolute()), f"{part}/{name}"]
            done = run_adb(words, SEND_TIMEOUT_S)
            if done.returncode != 0:
                error = self._failed(done, f"send {str(path)!r}")
                with contextlib.suppress(DeviceUnreachable):  # removed when it is next reached
                    self.ask(f"rm -rf {there}")
                raise error
        # Another process may have sent the same.
        self.ask(f"if [ -e {place} ]; then rm -rf {there}; else mv {there} {place}; fi")

    def check(self) -> None:
        """Looks whether the native worker can run there.

        Raises:
            DeviceUnreachable: The phone is lost, or its Android too old.
            RunnerUnavailable: It has another processor.
        """
        features = run_adb(["-s", self._serial, "features"])
        if features.returncode != 0:
            raise self._failed(features, "ask for the features")
        if "shell_v2" not in features.stdout.split():
            raise DeviceUnreachable(
                f"device {self.name!r} cannot be used: its adb tells no exit status (feature "
                "shell_v2), which Android has since version 7. Use a phone with a newer Android"
            )
        told = self.ask("getprop ro.product.cpu.abilist").strip()
        if ABI not in told.split(","):
            raise RunnerUnavailable(
                f"the native worker does not run on device {self.name!r}: the phone runs programs "
                f"for {shown(told)}, the worker is built for {ABI}. Use a phone whose Android is "
                "a 64-bit one for ARM"
            )

    def failure(self, status: int, said: str) -> ProfilerError | None:
        """See `Transport`."""
        lines = said.strip().splitlines() or [""]
        # A worker ends with 0 when its stdin does: here the phone was lost, or adb's server ended.
        if status == 0 or lines[-1].startswith(("error: ", "adb: ")):
            return self._lost("run a worker", lines[-1])
        return None

    def ended(self, status: int, said: str) -> ProfilerError | None:
        """What the end of a native worker means where the connection is not to blame."""
        last = (said.strip().splitlines() or [f"exit status {status}"])[-1][:300]
        again = self._advice(f"shell rm -rf {FOLDER}")
        if "error while loading shared libraries" in said or "version `" in said:
            return RuntimeMissing(
                f"a library of the native worker cannot be loaded on device {self.name!r}: {last}. "
                f"Have what was sent removed, and run the same again: {again}"
            )
        if status in NOT_A_PROGRAM:
            return RunnerUnavailable(
                f"the native worker cannot be run on device {self.name!r}: {last}. It is built for "
                f"{ABI}. Have what was sent removed, and run the same again: {again}"
            )
        return None

    def _advice(self, words: str) -> str:
        return f"adb -s {shlex.quote(self._serial)} {words}"

    def _lost(self, what: str, said: str) -> DeviceLost:
        reason = f": {said[:300]}" if said else ""
        return DeviceLost(
            f"cannot {what} on device {self.name!r}: the phone is not there any more{reason}. What "
            "was measured is kept: attach it again, see that adb lists it (adb devices -l), and "
            "run the same again"
        )

    def _failed(self, done: subprocess.CompletedProcess[str], what: str) -> DeviceUnreachable:
        said = last_line(done)
        try:
            there = {phone.serial for phone in attached() if phone.state == READY}
        except DeviceUnreachable:  # adb's server has ended, or starts anew
            there = set()
        if done.returncode == 0 or said.startswith("error: ") or self._serial not in there:
            return self._lost(what, said if done.returncode else "")
        if "No space left" in said:
            return DeviceUnreachable(
                f"cannot {what} on device {self.name!r}: its storage is full ({said}). Make room: "
                f"what nasc keeps there goes by {self._advice(f'shell rm -rf {FOLDER}')}; look: "
                f"{self._advice('shell df /data')}"
            )
        return DeviceUnreachable(
            f"cannot {what} on device {self.name!r}: {said}. Try by itself: "
            f"{self._advice('shell id')}"
        )


_REACHED: set[str] = set()
"""Devices whose phone this process has found once: where it is not any more, it is lost."""

_FIRST_STATES: dict[str, Mapping[str, Any]] = {}
"""How phones were when this process first reached them, by serial number."""


class PhoneWorker(RemoteWorker):
    """A worker on a phone; see `Heating` and `HeatReader` of `profilers.devices.base`."""

    def __init__(
        self,
        transport: AdbTransport,
        files: Files,
        words: Sequence[str],
        options: RuntimeOptions,
        *,
        first: Mapping[str, Any],
        limits: WorkerLimits | None = None,
    ) -> None:
        """Starts the worker.

        Args:
            transport: How the phone is reached.
            files: Of the phone.
            words: The program there, and its arguments, that is the worker.
            options: How its runtime is set up.
            first: The phone's state when it was first reached.
            limits: What it may take; None takes the defaults.

        Raises:
            DeviceUnreachable, RuntimeMissing, InvalidSetting, WorkerDied: It could not start.
        """
        self._phone = transport
        self._first = first
        super().__init__(transport, files, words, options, ended=transport.ended, limits=limits)

    def why_rest(self) -> str | None:
        """See `Heating`."""
        return why_rest(self._first, self.read_heat())

    def read_heat(self) -> dict[str, Any]:
        """See `HeatReader`."""
        return parse_heat(self._phone.ask(HEAT_SCRIPT))


def open_device(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> PhoneWorker:
    """Starts a native worker on the phone that a device file means.

    The worker comes with a C library of its own: Android's is another.

    Args:
        profile: Of a connection of the kind "adb".
        options: How its runtime is set up.
        limits: What it may take; None takes the defaults.
        cache: The cache folder; None takes the user's.

    Raises:
        DeviceUnreachable: There is no such phone, or it cannot be reached; see `find_phone`.
        RunnerUnavailable: The worker cannot be made for it, or its library cannot be had.
        RuntimeMissing, InvalidSetting, WorkerDied: The worker did not start with these options.
    """
    try:
        serial = find_phone(profile).serial
    except DeviceUnreachable as error:
        if profile.name in _REACHED:
            raise DeviceLost(str(error), error.reason) from error
        raise
    _REACHED.add(profile.name)
    transport = AdbTransport(profile.name, serial)
    transport.check()
    target = TARGETS["aarch64-linux"]
    library = runtime_library(target.name, cache)
    bundle = [
        *glibc_files(target),
        (build_runner(target.name, cache), "nasc-runner"),
        (library, library.name),
    ]
    files = Files(transport, FOLDER)
    loader = files.place(bundle)
    folder = loader.rpartition("/")[0]
    words = [loader, "--library-path", folder, f"{folder}/nasc-runner", f"{folder}/{library.name}"]
    state = parse_state(transport.ask(STATE_SCRIPT))
    first = _FIRST_STATES.setdefault(serial, state)
    worker = PhoneWorker(transport, files, words, options, first=first, limits=limits)
    worker.context["phone"] = state
    worker.context["phone_id"] = hashlib.sha256(serial.encode()).hexdigest()[:16]
    return worker


def describe_phone(profile: DeviceProfile) -> tuple[str, PhoneDescription]:
    """The serial number of the phone that a device file means, and what it is.

    Args:
        profile: Of a connection of the kind "adb".

    Raises:
        DeviceUnreachable: There is no such phone, or it cannot be reached; see `find_phone`.
    """
    serial = find_phone(profile).serial
    text = AdbTransport(profile.name, serial).ask(DESCRIPTION_SCRIPT)
    return serial, parse_description(text)
