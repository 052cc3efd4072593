"""What a worker reads around a visit beside the time: changes of core, clocks, temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilers import plain
from profilers.nvidia import THROTTLES

SLOWED = 0.9
"""A clock below this share of the highest one that was seen is slowed: a governor's steps and a
processor's turbo lie within (chosen, 2026)."""

OFTEN = 0.1
"""Share of visits that changed their core, or ran at a slowed clock, above which it is told."""

MAX_SENSORS = 4096
"""Cores and zones of temperature that are read of a visit."""

MAX_KHZ = 1e9
MIN_MC, MAX_MC = -100_000, 300_000
"""What a clock (kHz) and a temperature (thousandths of a degree Celsius) can be; sensors that tell
something else are broken, and left out."""


@dataclass(frozen=True, slots=True)
class VisitState:
    """What was read around one visit; None where the device does not tell.

    Attributes:
        migrations: How often the measuring thread changed its core.
        clock_khz: The fastest clock, just after the last run, of the cores that it may run on.
        warmest_mc: The warmest zone just after the last run, in thousandths of a degree Celsius.
        throttled: Why a GPU's clock was held back just after the last run, out of
            `profilers.nvidia.THROTTLES`.
    """

    migrations: int | None = None
    clock_khz: int | None = None
    warmest_mc: int | None = None
    throttled: tuple[str, ...] | None = None

    def to_list(self) -> list[Any]:
        """Returns the fields as plain JSON data, in their order; the last where it is told."""
        told = [self.migrations, self.clock_khz, self.warmest_mc]
        return told if self.throttled is None else [*told, list(self.throttled)]

    @classmethod
    def from_list(cls, data: Any) -> VisitState:
        """Reads what `to_list` wrote.

        Raises:
            ValueError: A field is missing or wrong.
        """
        bounds = {
            "migrations": (0, plain.MAX_COUNT),
            "clock_khz": (0, int(MAX_KHZ)),
            "warmest_mc": (MIN_MC, MAX_MC),
        }
        listed = plain.items(data, "the state of a visit", len(bounds) + 1, len(bounds))
        numbers = [
            None if value is None else plain.whole(value, name, *ends)
            for value, (name, ends) in zip(listed, bounds.items(), strict=False)
        ]
        throttled = None
        if len(listed) > len(bounds):
            throttled = _reasons(plain.items(listed[-1], "throttled", len(THROTTLES)))
            if throttled is None or len(throttled) < len(listed[-1]):
                raise ValueError(f"throttled names what is none of {', '.join(THROTTLES.values())}")
        return cls(numbers[0], numbers[1], numbers[2], throttled)


def read_state(data: Any) -> VisitState | None:
    """What a worker sent as the `state` of a visit (docs/worker-protocol.md).

    Args:
        data: As it was sent; anything. What is no reading is left out.

    Returns:
        None where nothing was read.
    """
    if not isinstance(data, Mapping):
        return None
    counted = _within([data.get("migrations")], 0, plain.MAX_COUNT)
    clocks = _within(_values(data.get("frequency_khz")), 1, MAX_KHZ)
    zones = _within(_values(data.get("temperature_mc")), MIN_MC, MAX_MC)
    found = VisitState(
        counted[0] if counted else None,
        max(clocks, default=None),
        max(zones, default=None),
        _reasons(data.get("throttled")),
    )
    return None if found == VisitState() else found


def _values(data: Any) -> list[Any]:
    return list(data.values())[:MAX_SENSORS] if isinstance(data, Mapping) else []


def _reasons(data: Any) -> tuple[str, ...] | None:
    """Those of `THROTTLES` that a list names; None where it is no list."""
    if not isinstance(data, list):
        return None
    return tuple(name for name in THROTTLES.values() if name in data)


def _within(values: Sequence[Any], least: float, most: float) -> list[int]:
    """Those that are whole numbers within bounds."""
    return [
        value
        for value in values
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    ]


def summary(states: Sequence[VisitState | None]) -> dict[str, Any] | None:
    """What the visits of a measurement tell together, as its context keeps it.

    Args:
        states: Of all visits, in their order.

    Returns:
        "visits" that told anything; "migrated_share" of those that told their changes of core;
        "slowed_share" of those that told a clock (see `SLOWED`), with "clock_khz", the highest;
        "temperature_c", the first, the last and the highest, in degrees Celsius. What none told is
        None; None in all where no visit told anything. "throttled_share", where GPUs told it: by
        reason, the share of visits after which a clock was held back.
    """
    told = [one for one in states if one is not None]
    if not told:
        return None
    moved = [one.migrations > 0 for one in told if one.migrations is not None]
    clocks = [one.clock_khz for one in told if one.clock_khz is not None]
    warm = [one.warmest_mc / 1000 for one in told if one.warmest_mc is not None]
    highest = max(clocks, default=None)
    found: dict[str, Any] = {
        "visits": len(told),
        "migrated_share": sum(moved) / len(moved) if moved else None,
        "slowed_share": None
        if highest is None
        else sum(clock < SLOWED * highest for clock in clocks) / len(clocks),
        "clock_khz": highest,
        "temperature_c": [warm[0], warm[-1], max(warm)] if warm else None,
    }
    held = [one.throttled for one in told if one.throttled is not None]
    if held:
        shares = {name: sum(name in one for one in held) / len(held) for name in THROTTLES.values()}
        found["throttled_share"] = {name: share for name, share in shares.items() if share}
    return found


def disturbances(told: Any, above: float = OFTEN) -> list[str]:
    """What of a `summary` speaks against a quiet device, in words.

    Args:
        told: What a context has as "telemetry"; it may be anybody's.
        above: Shares above it are told; below 0 all are.
    """
    if not isinstance(told, Mapping):
        return []
    words = {
        "migrated_share": "the measuring thread changed its core in {:.0%} of visits",
        "slowed_share": "the clock was slowed in {:.0%} of visits",
    }
    shares = [(text, told.get(name)) for name, text in words.items()]
    held = told.get("throttled_share")
    if isinstance(held, Mapping):
        shares += [
            (f"the GPU was held back ({name}) in {{:.0%}} of visits", held.get(name))
            for name in THROTTLES.values()
        ]
    return [
        text.format(share)
        for text, share in shares
        if isinstance(share, int | float)
        and not isinstance(share, bool)
        and above < share
        and 0 <= share <= 1
    ]
