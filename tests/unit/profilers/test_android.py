"""What a phone tells of itself and its state."""

from __future__ import annotations

from profilers.devices.android import STATE_SCRIPT, parse_state, split_parts

TOLD = """nasc-part properties
[ro.product.model]: [Pixel 6]
[ro.product.device]: [oriole]
[ro.build.version.release]: [14]
[odd]: [a]: [b]
[ro.soc.model]: []
nasc-part battery
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 3
  level: 84
  temperature: -15
nasc-part power
  mWakefulness=Awake
nasc-part thermal
Thermal Status: 2
nasc-part governors
cpu0/cpufreq/scaling_governor sched_pixel
cpu7/cpufreq/scaling_governor performance
"""


def test_a_phone_tells_its_state() -> None:
    state = parse_state(TOLD)
    assert state == {
        "model": "Pixel 6",
        "product": "oriole",
        "android": "14",
        "build": None,
        "soc": None,
        "abi": None,
        "screen": "Awake",
        "battery_percent": 84,
        "battery_c": -1.5,
        "charging": False,
        "thermal_status": 2,
        "governors": {"0": "sched_pixel", "7": "performance"},
    }


def test_what_it_does_not_tell_is_not_made_up() -> None:
    for text in ("", "rubbish", STATE_SCRIPT, "nasc-part battery\n  level: many\nstatus:\n"):
        state = parse_state(text)
        assert set(state.values()) == {None}
        assert state.keys() == parse_state(TOLD).keys()
    assert split_parts("a banner\nnasc-part x\n1\n2\nnasc-part y\n") == {"x": "1\n2", "y": ""}
