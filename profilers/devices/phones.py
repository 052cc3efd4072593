"""Phones that adb sees, and which of them a device file means.

Serial numbers are handed to adb as they are, as a word of its own: no shell reads them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles import DeviceProfile
from device_profiles.reading import shown
from profilers.errors import DeviceUnreachable

PROGRAM = "adb"
"""The client, looked for in PATH."""

SERIAL_VARIABLE = "ANDROID_SERIAL"
"""Environment variable by which adb itself is told one of several phones."""

READY = "device"
"""What adb calls the state of a phone that takes commands."""

LIST_TIMEOUT_S = 20.0
"""adb may take so long to tell what is attached; its server starts within a second (2026)."""

SEND_TIMEOUT_S = 3600.0
"""Sending one file may take so long; chosen, 2026: as over SSH."""

ASK_TIMEOUT_S = 300.0
"""Running a short script may take so long; the slowest hashes a model. Chosen, 2026."""

_INSTALL = (
    "Install it (Debian, Ubuntu: apt install adb; elsewhere Android's SDK Platform-Tools, their "
    "folder in PATH)"
)

_STATES = {
    "unauthorized": (
        "it does not know this computer: unlock its screen, accept 'Allow USB debugging?' there, "
        "and run the same again"
    ),
    "offline": (
        "it does not answer: unplug it, plug it in again, and if that does not help: "
        "adb kill-server"
    ),
    "no permissions": (
        "you may not use its USB port: install udev's rules for phones (Debian, Ubuntu: apt "
        "install android-sdk-platform-tools-common), and plug it in again"
    ),
}
_STATES["authorizing"] = _STATES["unauthorized"]
_STATES["connecting"] = _STATES["offline"]
"""What states of a phone mean that takes no commands, and what to do."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone, or what looks like one, as adb lists it.

    Attributes:
        serial: Its serial number, or where it is on the network.
        state: In adb's words; `READY` where it takes commands.
        product: Its property ro.product.device; None where it does not tell, as while it is not
            ready.
        model: Its name, for people, as far as adb passes that on; None where it does not tell.
    """

    serial: str
    state: str
    product: str | None = None
    model: str | None = None

    def __str__(self) -> str:
        """For a list of what is attached."""
        told = [shown(text) for text in (self.product,) if text is not None]
        told += [] if self.state == READY else [self.state]
        return f"{shown(self.serial)} ({', '.join(told) or 'no product told'})"


def run_adb(
    words: Sequence[str], timeout_s: float = ASK_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Runs adb once, with nothing to read.

    Args:
        words: Its arguments.
        timeout_s: It is ended after so many seconds.

    Raises:
        DeviceUnreachable: It is not installed, or did not end in time.
    """
    try:
        return subprocess.run(
            [PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceUnreachable(
            f"adb did not answer within {timeout_s:g} s. Start it anew: adb kill-server; then try "
            "by itself: adb devices -l"
        ) from error
    except OSError as error:
        raise DeviceUnreachable(
            f"phones are reached by adb, which cannot be run here: {error.strerror or error}. "
            f"{_INSTALL}, then try: adb devices -l",
            "adb is not installed",
        ) from error


def attached() -> tuple[Phone, ...]:
    """What adb sees, in its order.

    Raises:
        DeviceUnreachable: adb is not installed, or does not work.
    """
    listed = [run_adb(words, LIST_TIMEOUT_S) for words in (["devices"], ["devices", "-l"])]
    for done in listed:
        if done.returncode != 0:
            raise DeviceUnreachable(
                f"adb cannot tell which phones are attached: {last_line(done)}. Try by itself: "
                "adb devices -l"
            )
    return parse_listed(listed[0].stdout, listed[1].stdout)


def parse_listed(short: str, long: str) -> tuple[Phone, ...]:
    """What `adb devices` and `adb devices -l` print, put together.

    The first tells serial numbers from states for certain, the second tells what each is.

    Args:
        short: Of the first.
        long: Of the second.
    """
    phones = []
    lines = long.splitlines()
    for line in short.splitlines():
        serial, tab, state = line.rpartition("\t")
        if not tab:
            continue
        start = f"{serial:<22} {state}"
        about = next((one[len(start) :] for one in lines if one.startswith(start)), "")
        told = dict(word.partition(":")[::2] for word in about.split() if ":" in word)
        for known in _STATES:  # adb explains some behind their names
            if state.startswith(known):
                state = known
        phones.append(Phone(serial, state, told.get("device"), told.get("model")))
    return tuple(phones)


def fits(profile: DeviceProfile, phone: Phone) -> bool:
    """Whether a phone takes commands and is one that a device file means."""
    connection = profile.connection
    return (
        connection.kind == "adb"
        and phone.state == READY
        and connection.product in (None, phone.product)
        and connection.serial in (None, phone.serial)
    )


def find_phone(profile: DeviceProfile) -> Phone:
    """The attached phone that a device file means.

    Args:
        profile: Of a connection of the kind "adb".

    Raises:
        DeviceUnreachable: There is none, there are several, or it takes no commands; says what
            was looked for, what is attached, and what to do.
    """
    serial = _asked_serial(profile)
    try:
        phones = attached()
    except DeviceUnreachable as error:
        raise DeviceUnreachable(
            f"device {profile.name!r} cannot be reached: {error}", error.reason
        ) from error
    return choose(profile, serial, phones)


def _asked_serial(profile: DeviceProfile) -> str | None:
    """The serial number that the user or the device file names."""
    asked, own = os.environ.get(SERIAL_VARIABLE) or None, profile.connection.serial
    if asked is not None and own is not None and asked != own:
        raise DeviceUnreachable(
            f"device {profile.name!r} is the phone with the serial number {shown(own)}, by its "
            f"file {str(profile.path)!r}; --serial (or {SERIAL_VARIABLE}) asks for {shown(asked)}. "
            "Leave that out, or name a device whose file has no connection.serial"
        )
    return asked or own


def choose(profile: DeviceProfile, serial: str | None, phones: Sequence[Phone]) -> Phone:
    """The only one of some phones that a device file means.

    Args:
        profile: See `find_phone`.
        serial: The serial number asked for; None takes any.
        phones: What is attached.

    Raises:
        DeviceUnreachable: See `find_phone`.
    """
    product = profile.connection.product
    fitting = [
        phone
        for phone in phones
        if serial in (None, phone.serial) and (product is None or phone.product in (None, product))
    ]
    ready = [p for p in fitting if p.state == READY and product in (None, p.product)]
    if len(ready) == 1:
        return ready[0]
    wanted = "a phone" if product is None else f"a phone whose ro.product.device is {product!r}"
    wanted += "" if serial is None else f" and whose serial number is {shown(serial)}"
    seen = f"adb sees {', '.join(map(str, phones)) or 'none'}"
    start = f"device {profile.name!r} cannot be reached: looked for {wanted}; {seen}. "
    if ready:
        raise DeviceUnreachable(
            f"{start}Say which is meant: --serial {shlex.quote(ready[0].serial)}, or "
            "connection.serial in a device file",
            f"{len(ready)} such phones are attached: --serial says which is meant",
        )
    if fitting:
        state, name = fitting[0].state, shlex.quote(fitting[0].serial)
        meaning = _STATES.get(
            state, f"its state is {shown(state)}: let it start Android, adb -s {name} reboot"
        )
        raise DeviceUnreachable(
            f"{start}Of {shown(fitting[0].serial)}: {meaning}", f"a phone is attached, but {state}"
        )
    if phones:
        other = next((p for p in phones if p.serial == serial), phones[0])
        raise DeviceUnreachable(
            f"{start}Attach the one that is meant, or make a device of what is there: nasc devices "
            f"add NAME --serial {shlex.quote(other.serial)}",
            "no such phone is attached",
        )
    raise DeviceUnreachable(
        f"{start}Attach the phone by a cable that carries data, unlock it, turn on USB debugging "
        "(Settings, System, Developer options), accept this computer on its screen, and see "
        "whether adb lists it: adb devices -l. Measure on this machine: --device host",
        "no phone is attached",
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What adb said of a failure, on one line: some of it comes by its stdout."""
    lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    said = [line for line in lines if "error" in line.lower()] or lines
    return said[-1].strip()[:300] if said else f"exit status {done.returncode}"


def check_located(profile: DeviceProfile) -> None:
    """Raises where the phone that a device file means is not attached.

    Raises:
        DeviceUnreachable: See `find_phone`.
    """
    find_phone(profile)
