"""Devices on the command line: what is not there, and what only makes up its time."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from synthetic_device import make_table

import device_profiles
import profilers
from nasc.errors import DeviceEmulated
from nasc.latency.basis import Basis
from nasc.latency.costs import TableCosts
from nasc.latency.transfer import prior_of
from profilers import RuntimeOptions, open_worker
from profilers.devices.android import CoreCluster, PhoneDescription
from profilers.devices.phones import Phone
from profilers.testing import SyntheticMachine

EMULATED = (
    'name = "made-up"\ndescription = "x"\ndetect = true\nemulated = true\n'
    'connection.kind = "local"\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n'
)


COMMANDS = {
    "profile": (),
    "bench": ("model.onnx",),
    "compile": ("--latency-ms", "20"),
    "search": (),
    "audit": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_phone_that_is_not_there_is_one_message(
    command: str, nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.devices.phones.attached", lambda: ())
    result = nasc(command, *COMMANDS[command], "--device", "pixel6")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    for part in ("'pixel6' cannot be reached", "ro.product.device is 'oriole'", "adb devices -l"):
        assert part in result.stderr


def test_it_is_said_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom nasc.cli import main\n"
        "try: main(['profile', '--device', 'pixel6'])\nexcept SystemExit as e: print(e.code)\n"
        "print(sorted({'torch', 'numpy', 'onnx', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": str(tmp_path)},  # without adb
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n[]\n"
    assert "apt install adb" in done.stderr


def test_a_serial_number_is_for_one_command(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.devices.phones.attached", lambda: ())
    hostile = "$(touch x) 'y"
    result = nasc("profile", "--device", "pixel6", "--serial", hostile)
    assert 'whose serial number is "$(touch x) \'y"' in result.stderr
    assert "ANDROID_SERIAL" not in os.environ
    monkeypatch.setenv("ANDROID_SERIAL", "kept")
    nasc("profile", "--serial", hostile, "--device", "pixel6")
    assert os.environ["ANDROID_SERIAL"] == "kept"
    assert "whose serial number is 'kept'" in nasc("profile", "--device", "pixel6").stderr


def test_models_are_held_to_a_cluster(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...] | None] = []

    def check(device: device_profiles.DeviceProfile) -> None:
        asked.append(device.default_cores)
        raise profilers.DeviceUnreachable("not now")

    monkeypatch.setattr("profilers.check_device", check)
    for words in (["--cluster", "big", "--device", "pixel6"], ["--cluster", "0x3"], []):
        assert nasc("profile", *words).exit_code == 1
    assert asked == [(6, 7), (0, 1), None]
    for wrong in ("huge", "6,7", "0x", "0xg", "$(x)", "big:big"):
        result = nasc("profile", "--cluster", wrong)
        assert result.exit_code == 2
        assert "write big, mid, little, or a mask" in " ".join(result.stderr.split())
    assert "has no cluster 'big'" in nasc("profile", "--cluster", "big").stderr


@pytest.fixture
def emulated(tmp_path: Path) -> Path:
    """A device file: this machine, said to be emulated."""
    path = tmp_path / "made-up.toml"
    path.write_text(EMULATED, encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"profile"}))
def test_no_latency_is_promised_of_an_emulated_device(
    command: str, nasc: Callable[..., Result], emulated: Path
) -> None:
    result = nasc(command, *COMMANDS[command], "--device", emulated)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "device 'made-up' (by its file" in result.stderr
    assert "is emulated" in result.stderr
    assert "nasc devices" in result.stderr


@pytest.mark.slow
def test_a_supernet_is_not_shrunk_by_an_emulated_device(
    nasc: Callable[..., Result], emulated: Path
) -> None:
    result = nasc("train", "--shrink", "--device", emulated)
    assert result.exit_code == 1
    assert "is emulated" in result.stderr


def test_what_an_emulated_device_measures_is_its_own(
    emulated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its fingerprint no table, baseline, journal or package of it is taken for another's."""
    worker = SyntheticMachine({}).open()
    monkeypatch.setattr("profilers.devices.local.LocalWorker", lambda *_, **__: worker)
    there = open_worker(device_profiles.find(emulated), RuntimeOptions())
    assert there.context["fingerprint"] == "emulated-synthetic"
    assert there.context["emulated"] is True


def test_prices_never_come_from_an_emulated_table() -> None:
    table = make_table()
    context = {**table.context, "emulated": True}
    made_up = dataclasses.replace(table, context=context)
    assert not table.emulated
    assert made_up.foreign is not None
    assert "emulated" in made_up.foreign
    with pytest.raises(DeviceEmulated, match=r"latency table of device 'host' .* is emulated"):
        TableCosts.of([made_up])
    with pytest.raises(DeviceEmulated, match=r"--from-table: the latency table .* is emulated"):
        prior_of(made_up, Basis(made_up.space, 32, 1, "embed"))


# Devices of one's own

HOSTILE = 'a "name" \\ of $(touch interpreted) #'
TOLD = PhoneDescription(
    {
        "ro.product.manufacturer": "Maker",
        "ro.product.model": HOSTILE,
        "ro.product.device": 'dev"ice',
        "ro.soc.model": "two\nlines",
        "ro.build.version.release": "14",
    },
    (CoreCluster("Cortex-X1", (6, 7), 2802000), CoreCluster("part 0x802", (0,), None)),
    8 << 30,
)


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A phone is attached, of which no device is known; the user's folder of devices."""
    folder = tmp_path / "devices"
    serial = "1A 2B'\""
    phone = Phone(serial, "device", 'dev"ice', "X")
    monkeypatch.setattr("device_profiles.user_folder", lambda: folder)
    monkeypatch.setattr("profilers.devices.phones.attached", lambda: (phone,))
    monkeypatch.setattr("nasc.pipelines.devices.attached", lambda: (phone,))
    monkeypatch.setattr("nasc.pipelines.add_device.describe_phone", lambda profile: (serial, TOLD))
    return folder


def test_a_phone_becomes_a_device(nasc: Callable[..., Result], attached: Path) -> None:
    listed = nasc("devices")
    assert "no device: '1A 2B\\'\"' ('dev\"ice'). Make it one: nasc devices add" in listed.stderr
    result = nasc("devices", "add", "my-phone", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["path"] == str(attached / "my-phone.toml")
    found = device_profiles.find("my-phone")
    assert found.description == f"Maker {HOSTILE}"
    assert (found.connection.product, found.connection.serial) == ('dev"ice', "1A 2B'\"")
    assert found.clusters == (
        device_profiles.Cluster("Cortex-X1", 2, (6, 7)),
        device_profiles.Cluster("part 0x802", 1, (0,)),
    )
    facts = {spec.name: spec.value for spec in found.specs}
    clock = "max_khz of cores [6, 7]"
    assert facts == {"android": "14", "memory_bytes": 8 << 30, clock: 2802000}
    listed = nasc("devices", "--json")
    assert "no device:" not in listed.stderr
    by_name = {row["name"]: row for row in json.loads(listed.stdout)}
    assert by_name["my-phone"]["attached"] == ["1A 2B'\""]
    assert by_name["my-phone"]["reachable"]
    assert "attached: 1A 2B" in nasc("devices").stdout


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "$(x)", "a b", "", ".x", "a" * 65, "x'", "\n", "x.toml"]
)
def test_a_device_has_a_plain_name(name: str, nasc: Callable[..., Result], attached: Path) -> None:
    result = nasc("devices", "add", name)
    assert result.exit_code == 2
    assert "no device can be named" in result.stderr
    assert not attached.exists()


def test_a_device_is_not_replaced_unasked(nasc: Callable[..., Result], attached: Path) -> None:
    assert "there is a device 'pixel6' already" in nasc("devices", "add", "pixel6").stderr
    assert nasc("devices", "add", "mine").exit_code == 0
    assert nasc("devices", "add", "mine").exit_code == 2
    result = nasc("devices", "add", "mine", "--force")
    assert result.exit_code == 0
    assert "nasc profile --device mine" in result.stdout
    broken = attached / "own.toml"  # no device, and somebody's file
    broken.write_text("name = ")
    assert nasc("devices", "add", "own").exit_code == 2
    assert broken.read_text() == "name = "
