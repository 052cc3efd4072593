"""A device that is kept under load before it is measured: what it gives when it has heated up.

The load is the reference network, run without a pause by the worker that measures, so on the cores
and threads that are measured. Nothing rests afterwards: the rounds are themselves load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from device_profiles.sustained import MAX_SUSTAINED, MIN_SUSTAINED, load_words
from profilers.devices.base import HeatReader, Worker
from profilers.jobs import RuntimeOptions
from profilers.samples import Step, Visit
from profilers.telemetry import VisitState

BATCH_S = 0.5
"""Seconds of load that a worker is asked for at once: an interruption waits for no longer."""

MAX_BATCH_RUNS = 100_000
"""Runs of the reference that a worker is asked for at once."""

SHORT_PAUSE_S = 5.0
"""A pause of so many seconds, as for a fresh worker, is no rest (chosen, 2026)."""

AGAIN = 3.0
"""A device that rested is kept under load so many times as long as it did, at most as long as from
cold. Warming and cooling as exponentials of one time constant, with x what is left of the heat
after the rest, 1 - x^3 + x^4 of it is there again, 0.895 at least (at x = 3/4)."""


class Heat:
    """What is known of a device's load across the measurements that are taken on it."""

    def __init__(self) -> None:
        """Nothing was loaded yet."""
        self._until: dict[RuntimeOptions, float] = {}

    def loaded(self, options: RuntimeOptions, now_s: float) -> None:
        """Notes that the device was under load until now.

        Args:
            options: Under which it was.
            now_s: Seconds of any clock, always the same.
        """
        self._until[options] = now_s

    def missing_s(self, options: RuntimeOptions, now_s: float) -> float:
        """Seconds of load that the device lacks before it is measured.

        Args:
            options: Under which it is measured.
            now_s: See `loaded`.
        """
        whole = 60.0 * (options.sustained_minutes or 0.0)
        if options not in self._until:
            return whole
        rested = now_s - self._until[options]
        return 0.0 if rested <= SHORT_PAUSE_S else min(whole, AGAIN * rested)


class SustainedLoad:
    """The load of one measurement, and how warm the device was."""

    def __init__(self, options: RuntimeOptions, heat: Heat | None = None) -> None:
        """Nothing happens yet.

        Args:
            options: With their `sustained_minutes`.
            heat: Of the device; None knows of no load before.
        """
        self._options = options
        self._heat = heat or Heat()
        self._read: dict[str, dict[str, Any]] = {}
        self._seconds = 0.0

    def heat_up(
        self,
        worker: Worker,
        reference: str,
        clock: Callable[[], float],
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Keeps a device under load until it may be measured.

        Args:
            worker: On the device.
            reference: The name of the reference network, which it has loaded.
            clock: Seconds.
            progress: Called with (seconds done, seconds in all, message).

        Raises:
            ProfilerError: The device is lost, or its worker ended.
        """
        wanted = self._heat.missing_s(self._options, clock())
        if wanted <= 0:
            return
        begin, first_s, done, warmup = clock(), None, 0.0, 0
        while done < wanted:
            since = clock()
            [visit] = worker.visit([Step(reference, warmup, 1)])
            first_s = visit.start_s if first_s is None else first_s
            # The device's clock, or this machine's where that one stands still.
            done = max(visit.end_s - first_s, clock() - begin)
            self._keep_first("cold", worker, visit)
            run_s = max(1e-6, (clock() - since) / (warmup + 1), visit.end_s - visit.start_s)
            warmup = max(0, min(MAX_BATCH_RUNS, int(BATCH_S / run_s)) - 1)
            if progress is not None:
                told = f"keeping the device under load: {min(done, wanted):.0f} of {wanted:.0f} s"
                progress(int(min(done, wanted)), max(1, int(wanted)), told)
        self._seconds += done
        self._heat.loaded(self._options, clock())
        self._keep_first("begin", worker, visit)

    def measured(self, worker: Worker, last: Visit, now_s: float) -> None:
        """Notes that a worker's last visit was just now.

        Args:
            worker: That made it; asked how warm its device is.
            last: The visit.
            now_s: By the clock of `heat_up`.
        """
        self._heat.loaded(self._options, now_s)
        self._keep_first("begin", worker, last)
        self._read["end"] = _reading(worker, last.state)

    def to_dict(self) -> dict[str, Any]:
        """Returns what the context of a measurement keeps, as plain JSON data.

        "minutes" asked for; "load_s", the seconds that were spent on it in this measurement; and
        "cold" (before the load, where there was any), "begin" and "end" of the measurement, each
        with "temperature_c", "clock_khz", "thermal_status" and "skin_c", None where the device does
        not tell.
        """
        return {
            "minutes": self._options.sustained_minutes,
            "load_s": round(self._seconds, 1),
            **self._read,
        }

    def _keep_first(self, name: str, worker: Worker, visit: Visit) -> None:
        if name not in self._read:
            self._read[name] = _reading(worker, visit.state)


def sustained_load(options: RuntimeOptions, heat: Heat | None = None) -> SustainedLoad | None:
    """The load that some options ask for; None where they ask for none."""
    return None if options.sustained_minutes is None else SustainedLoad(options, heat)


def _reading(worker: Worker, state: VisitState | None) -> dict[str, Any]:
    """How warm a device is, and how fast its clock."""
    state = state or VisitState()
    heat = worker.read_heat() if isinstance(worker, HeatReader) else {}
    return {
        "temperature_c": None if state.warmest_mc is None else state.warmest_mc / 1000,
        "clock_khz": state.clock_khz,
        "thermal_status": heat.get("thermal_status"),
        "skin_c": heat.get("skin_c"),
    }


def told_of_load(told: Any) -> list[str]:
    """What the context of a measurement says of the load before it, in words.

    Args:
        told: What it has as "sustained" (`SustainedLoad.to_dict`); it may be anybody's.

    Returns:
        One text; none where it says nothing.
    """
    minutes = _number(told, "minutes")
    if minutes is None or not MIN_SUSTAINED <= minutes <= MAX_SUSTAINED:
        return []
    text = str(load_words(minutes))
    readings = {name: told.get(name) for name in ("cold", "begin", "end")}
    for where, name in (("", "temperature_c"), ("its skin ", "skin_c")):
        known = {at: c for at, one in readings.items() if (c := _number(one, name)) is not None}
        if known:
            return [
                f"{text}: {where}{', '.join(f'{c:.1f} C {_AT[at]}' for at, c in known.items())}"
                f"{_slowed(readings)}"
            ]
    return [f"{text}; its temperatures are not known{_slowed(readings)}"]


_AT = {"cold": "before it", "begin": "when measuring began", "end": "when it ended"}


def _slowed(readings: Mapping[str, Any]) -> str:
    """Whether the device itself says that it slows down, as a phone does."""
    status = _number(readings["end"], "thermal_status")
    return "" if not status else f"; its thermal status was {status:g} then"


def _number(told: Any, name: str) -> float | None:
    value = told.get(name) if isinstance(told, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
