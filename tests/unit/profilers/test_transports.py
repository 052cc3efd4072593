"""Ways to reach a device: each kind that a file may name is registered, with all that is needed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from device_profiles import CONNECTIONS, find, names
from profilers.devices.transports import TRANSPORTS, is_host


def test_what_a_file_may_name_is_registered() -> None:
    assert set(TRANSPORTS) == set(CONNECTIONS)


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_its_modules_have_what_is_asked_of_them(kind: str) -> None:
    transport = TRANSPORTS[kind]
    module = importlib.import_module(f"profilers.devices.{transport.opens}")
    assert list(inspect.signature(module.open_device).parameters) == [
        *("profile", "options", "limits", "cache")
    ]
    if transport.checks is not None:
        checks = importlib.import_module(f"profilers.devices.{transport.checks}")
        assert list(inspect.signature(checks.check_located).parameters) == ["profile"]


def test_one_of_them_is_this_machine() -> None:
    assert [kind for kind, transport in TRANSPORTS.items() if transport.is_host] == ["local"]
    assert [name for name in names() if is_host(find(name))] == ["cuda", "host"]


def test_to_say_what_is_reachable_loads_no_numpy() -> None:
    code = (
        "import sys, device_profiles, profilers.devices as d\n"
        "for name in ('pixel6', 'raspberrypi5', 'host', 'chromium'):\n"
        "    d.reachable(device_profiles.find(name))\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
