"""How far measurements on a device lie apart: what its bounds are made of beside what was seen."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_profiles.reading import shown

MOST = 0.25
"""No relative value is above: six times what was found on shared servers, so that a bound still
says something (chosen, 2026)."""

MOST_MS = 0.9
"""No value in milliseconds is above (chosen, 2026)."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Constants of a device that one measurement on it cannot show.

    The defaults are those of servers with x86 processors, most of them shared. Those of another
    device are measured there: `benchmarks/latency/noise.py`, docs/measuring.md.

    Attributes:
        process_spread: Relative standard deviation between worker processes that measure the same
            file: memory is laid out anew in each (two virtual cores of an AMD EPYC, 2026-11).
        busy_spread: Relative standard deviation that a latency has on top where the machine was
            not quiet often enough: what shares a core slows fp32 networks by less than the
            reference, int8 networks by more (6% and 4% on two virtual cores with AMX, 2026-11).
        baseline_spread: Relative standard deviation of the reference's quiet time between half
            minutes that is assumed before the device has shown its own (chosen, 2026: a device
            whose clock is fixed shows 0.5%, shared servers 2 to 15%).
        shift: Relative standard deviation by which whole measurements of the same networks shift
            against each other, which networks held out of one measurement cannot show (0.0 to 0.7%
            between two measurements, up to 1.7% between a table and a later one, by
            benchmarks/latency/table_accuracy.py, 2026-11).
        jitter_ms: Standard deviation in milliseconds between a table and a later measurement's
            bound where next to nothing runs (13 measurements of `skip | skip | skip` on machine C
            gave 0.059 to 0.077 ms with bounds of 0.061 to 0.082, where the table had 0.063, by
            benchmarks/latency/promise.py, 2026-11).
        peak_room: What another process may hold over the most memory that some processes held,
            relative (eight processes with one network of 16 million parameters in int8 held 91.3
            to 93.6 MB on an x86 server, 2026-11).

    Raises:
        ValueError: A value that is no number from 0 to `MOST`, or `MOST_MS`.
    """

    process_spread: float = 0.01
    busy_spread: float = 0.04
    baseline_spread: float = 0.02
    shift: float = 0.01
    jitter_ms: float = 0.012
    peak_room: float = 0.03

    def __post_init__(self) -> None:
        for name in NOISE_NAMES:
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and 0 <= value <= most_of(name)):
                raise ValueError(
                    f"{name} = {shown(value)}; it must be a number from 0 to {most_of(name):g}"
                )

    def larger(self, other: Noise) -> Noise:
        """Of each constant the larger of two devices' or records'."""
        return Noise(**{name: max(pair) for name, pair in self._pairs(other).items()})

    def smaller(self, other: Noise) -> Noise:
        """Of each constant the smaller of two devices' or records'."""
        return Noise(**{name: min(pair) for name, pair in self._pairs(other).items()})

    def _pairs(self, other: Noise) -> dict[str, tuple[float, float]]:
        return {name: (getattr(self, name), getattr(other, name)) for name in NOISE_NAMES}

    def to_dict(self) -> dict[str, float]:
        """All constants by name, as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Noise:
        """Reads some or all constants; those that are left out have their defaults.

        Raises:
            ValueError: An unknown name, or a value out of its range.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"{shown(data)}; it must be a table of {', '.join(NOISE_NAMES)}")
        for name in data:
            if name not in NOISE_NAMES:
                close = difflib.get_close_matches(str(name)[:100], NOISE_NAMES, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"{shown(name)} is unknown.{hint} Allowed: {', '.join(NOISE_NAMES)}"
                )
        return cls(**data)


NOISE_NAMES = tuple(field.name for field in dataclasses.fields(Noise))
"""The constants by name."""


def most_of(name: str) -> float:
    """The largest value that a constant may have."""
    return MOST_MS if name.endswith("_ms") else MOST


UNSTATED = Noise(
    process_spread=0.01,
    busy_spread=0.04,
    baseline_spread=0.02,
    shift=0.01,
    jitter_ms=0.012,
    peak_room=0.03,
)
"""What a saved measurement that states none was computed with. It does not follow the defaults: the
bounds in such files are fixed."""
