"""Which phone is meant: what adb lists, and what is said where there is not exactly one."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest

from device_profiles import Connection, DeviceProfile, find
from profilers import DeviceUnreachable, check_device, reachable
from profilers.devices.adb import AdbTransport
from profilers.devices.phones import Phone, attached, choose, find_phone, parse_listed
from profilers.errors import DeviceLost

PIXEL6 = find("pixel6")
READY = Phone("1A2B", "device", "oriole", "Pixel_6")
OTHER = Phone("9Z", "device", "redfin", "Pixel_5")

SHORT = (
    "List of devices attached\n1A2B\tdevice\nmy phone device 5\tdevice\n127.0.0.1:5555\toffline\n"
    "9Z\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://d.android]"
    "\n7Y\tunauthorized\n\n"
)
LONG = """List of devices attached
1A2B                   device usb:1-2 product:oriole_x model:Pixel_6 device:oriole transport_id:1
my phone device 5      device product:x model:X device:redfin transport_id:2
127.0.0.1:5555         offline transport_id:3
9Z                     no permissions (user in plugdev group; are your udev rules wrong?); see [http://d.android] usb:1-3 transport_id:4
7Y                     unauthorized usb:1-4 transport_id:5

"""  # noqa: E501


def with_connection(**changes: str | None) -> DeviceProfile:
    return dataclasses.replace(
        PIXEL6,
        connection=dataclasses.replace(PIXEL6.connection, **changes),  # type: ignore[arg-type]
    )


def test_what_adb_lists_is_read_whatever_serial_numbers_hold() -> None:
    assert parse_listed(SHORT, LONG) == (
        Phone("1A2B", "device", "oriole", "Pixel_6"),
        Phone("my phone device 5", "device", "redfin", "X"),
        Phone("127.0.0.1:5555", "offline"),
        Phone("9Z", "no permissions"),
        Phone("7Y", "unauthorized"),
    )
    assert parse_listed("List of devices attached\n\n", "List of devices attached\n\n") == ()
    assert parse_listed("* daemon started\nList of devices attached\n", "") == ()


def test_the_only_phone_that_fits_is_taken() -> None:
    assert choose(PIXEL6, None, [OTHER, READY]) == READY
    waiting = Phone("7Y", "unauthorized")
    assert choose(PIXEL6, None, [waiting, READY]) == READY
    twin = dataclasses.replace(READY, serial="3C")
    assert choose(PIXEL6, "3C", [READY, twin]) == twin
    assert choose(with_connection(product=None), None, [OTHER]) == OTHER


@pytest.mark.parametrize(
    ("serial", "phones", "message"),
    [
        (
            None,
            [],
            r"looked for a phone whose ro\.product\.device is 'oriole'; adb sees none\. A",
        ),
        (
            None,
            [OTHER],
            r"adb sees '9Z' \('redfin'\)\. Attach .* devices add NAME --serial 9Z",
        ),
        (None, [READY, dataclasses.replace(READY, serial="3 C")], r"meant: --serial 1A2B, or conn"),
        (None, [Phone("7Y", "unauthorized")], r"Of '7Y': .*unlock its screen, accept 'Allow USB d"),
        (None, [Phone("7Y", "authorizing")], r"Of '7Y': .*unlock its screen, accept 'Allow USB d"),
        (None, [Phone("7Y", "offline", "oriole")], r"unplug it, plug it in again.*kill-server"),
        (None, [Phone("7Y", "no permissions")], r"you may not use its USB port: install udev's"),
        (None, [Phone("7Y", "recovery")], r"its state is 'recovery': .*adb -s 7Y reboot"),
        ("3C", [READY], r"whose serial number is '3C'; adb sees '1A2B' \('oriole'\)\. Attach"),
        ("9Z", [READY, OTHER], r"whose serial number is '9Z'.*nasc devices add NAME --serial 9Z"),
        (None, [Phone("$(x) 'y", "device", "z")], r"add NAME --serial '\$\(x\) '\"'\"'y'"),
    ],
)
def test_where_not_one_phone_fits_it_says_what_to_do(
    serial: str | None, phones: list[Phone], message: str
) -> None:
    with pytest.raises(DeviceUnreachable, match=message) as caught:
        choose(PIXEL6, serial, phones)
    assert str(caught.value).startswith("device 'pixel6' cannot be reached: looked for a phone")
    assert len(caught.value.reason) < 80


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adb that prints a file, and keeps what it is given."""
    program = tmp_path / "adb"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >>{tmp_path}/given\ncat "{tmp_path}/$#" || exit 5\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("profilers.devices.phones.PROGRAM", str(program))
    (tmp_path / "1").write_text(SHORT)
    (tmp_path / "2").write_text(LONG)
    return tmp_path


def test_a_phone_is_found_by_its_product_or_by_its_serial_number(
    listing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_phone(PIXEL6).serial == "1A2B"
    assert reachable(PIXEL6) == (True, "over adb")
    any_phone = with_connection(product=None)
    monkeypatch.setenv("ANDROID_SERIAL", "my phone device 5")
    assert find_phone(any_phone).product == "redfin"
    with pytest.raises(DeviceUnreachable, match=r"by its file .*Leave that out"):
        find_phone(with_connection(serial="1A2B"))
    monkeypatch.delenv("ANDROID_SERIAL")
    assert find_phone(with_connection(serial="1A2B")) == READY
    assert reachable(with_connection(serial="7Y")) == (
        False,
        "a phone is attached, but unauthorized",
    )
    given = (listing / "given").read_text()
    assert set(given.split("devices|")) <= {"", "-l|"}  # nothing else is asked


def test_an_adb_that_does_not_work_says_so(listing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listing / "2").unlink()
    with pytest.raises(DeviceUnreachable, match=r"cannot tell which phones.*adb devices -l"):
        attached()
    (listing / "adb").write_text("#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr("profilers.devices.phones.LIST_TIMEOUT_S", 0.1)
    with pytest.raises(DeviceUnreachable, match=r"'pixel6' .*not answer within 0\.1 s.*kill-serv"):
        check_device(PIXEL6)


def test_without_adb_it_says_how_to_get_it() -> None:
    with pytest.raises(
        DeviceUnreachable, match=r"'pixel6' cannot be reached: phones are reached by adb.*apt inst"
    ):
        check_device(PIXEL6)
    assert reachable(PIXEL6) == (False, "adb is not installed")
    assert Connection("adb").product is None
    assert "ANDROID_SERIAL" not in os.environ


def test_a_phone_is_lost_where_adb_cannot_even_tell_what_is_attached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> tuple[Phone, ...]:
        raise DeviceUnreachable("adb's server has ended")

    monkeypatch.setattr("profilers.devices.adb.attached", broken)
    done = subprocess.CompletedProcess(["adb"], 1, "", "no answer")
    error = AdbTransport("pixel6", "1A2B")._failed(done, "run a command")
    assert isinstance(error, DeviceLost)
