"""What a phone tells of itself and its state."""

from __future__ import annotations

from profilers.devices.android import (
    DESCRIPTION_SCRIPT,
    STATE_SCRIPT,
    CoreCluster,
    parse_description,
    parse_heat,
    parse_state,
    split_parts,
    why_rest,
)

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
Cached temperatures:
\tTemperature{mValue=99.0, mType=3, mName=SKIN, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=44.0, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=31.5, mType=3, mName=SKIN, mStatus=0}
\tTemperature{mValue=1.2.3, mType=3, mName=ODD, mStatus=0}
Current cooling devices from HAL:
\tTemperature{mValue=98.0, mType=3, mName=SKIN, mStatus=0}
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
        "skin_c": 31.5,
        "governors": {"0": "sched_pixel", "7": "performance"},
    }


def test_what_it_does_not_tell_is_not_made_up() -> None:
    for text in ("", "rubbish", STATE_SCRIPT, "nasc-part battery\n  level: many\nstatus:\n"):
        state = parse_state(text)
        assert set(state.values()) == {None}
        assert state.keys() == parse_state(TOLD).keys()
    assert split_parts("a banner\nnasc-part x\n1\n2\nnasc-part y\n") == {"x": "1\n2", "y": ""}


def core(number: int, part: str, implementer: str = "0x41") -> str:
    return f"processor\t: {number}\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n\n"


def test_a_phone_tells_its_cores() -> None:
    cores = [core(i, "0xd05") for i in range(4)] + [core(4, "0xd44"), core(5, "0x802", "0x51")]
    clocks = [f"cpu{i}/cpufreq/cpuinfo_max_freq {1803000 if i < 4 else 2802000}" for i in range(6)]
    told = parse_description(
        "nasc-part properties\n[ro.product.model]: [X]\n"
        f"nasc-part cores\n{''.join(cores)}processor : 9999999999\n\nrubbish: 1\n\n"
        "nasc-part memory\nMemTotal:        7812345 kB\nnasc-part clocks\n" + "\n".join(clocks)
    )
    assert told.clusters == (
        CoreCluster("part 0x802", (5,), 2802000),
        CoreCluster("Cortex-X1", (4,), 2802000),
        CoreCluster("Cortex-A55", (0, 1, 2, 3), 1803000),
    )
    assert told.memory_bytes == 7812345 * 1024
    assert told.properties == {"ro.product.model": "X"}


def test_a_phone_that_tells_nothing_has_no_cores() -> None:
    for text in ("", DESCRIPTION_SCRIPT, "nasc-part cores\nprocessor: x\n"):
        told = parse_description(text)
        assert (told.clusters, told.memory_bytes, dict(told.properties)) == ((), None, {})
    (cluster,) = parse_description(f"nasc-part cores\n{core(0, '$(x)')}").clusters
    assert cluster == CoreCluster("part not told", (0,), None)


def test_a_phone_rests_until_it_is_as_cool_as_at_first() -> None:
    assert parse_heat(TOLD) == {"thermal_status": 2, "skin_c": 31.5}
    first = {"thermal_status": 0, "skin_c": 30.0}
    assert why_rest(first, first) is None
    assert why_rest(first, {"thermal_status": 0, "skin_c": 33.0}) is None
    assert why_rest(first, {"thermal_status": 1, "skin_c": 30.0}) == (
        "its thermal status is 1, at first it was 0"
    )
    assert why_rest(first, {"thermal_status": 0, "skin_c": 33.1}) == (
        "its skin is at 33.1 C, at first it was at 30.0 C"
    )
    untold = {"thermal_status": None, "skin_c": None}
    assert why_rest(untold, first) is why_rest(first, untold) is None
