"""What a worker answers, checked: whoever wrote its program, and whatever its clock did meanwhile.

What is wrong raises ValueError, KeyError or another error of Python, as `profilers.plain` does;
`WorkerClient` makes one of its own of that.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from profilers import plain
from profilers.messages import decode_array
from profilers.samples import MAX_RUNS, Step, Visit, checked_visit
from profilers.telemetry import read_state

TOLD_OF_A_DEVICE = ("fingerprint", "runtime", "runtime_version", "time_utc")
"""Text in the context of every worker, by which measurements are kept."""

CLOCK_SHARE, CLOCK_S = 0.05, 1.0
"""By so much of the time that the caller waited, and so many seconds, a device's clock may be ahead
of the caller's: one that is further has jumped (chosen, 2026)."""

MAX_DESCRIBED_AXES = 64
"""Axes of an input or output that a worker describes; numpy's arrays have no more."""

ROUNDING_S = 2e-6
"""Beginning and end of a visit are rounded to a microsecond, each by itself."""


def read_start(answer: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The context and the base memory of "start"; see `WorkerClient`."""
    context = dict(plain.record(answer["context"], "context"))
    for name in TOLD_OF_A_DEVICE:
        plain.text(context[name], f"context.{name}")
    return context, _bytes(answer["base_bytes"], "base_bytes")


def read_visits(answer: Mapping[str, Any], steps: Sequence[Step], waited_s: float) -> list[Visit]:
    """The visits of "visit".

    Args:
        answer: What came.
        steps: What was asked for.
        waited_s: Seconds of the caller's clock that it took.
    """
    wanted = [step for step in steps if step.runs]
    listed = plain.items(answer["visits"], "visits", len(wanted), len(wanted))
    visits = [_visit(told, step) for told, step in zip(listed, wanted, strict=True)]
    for before, after in itertools.pairwise(visits):
        if after.start_s < before.end_s - ROUNDING_S:
            raise ValueError(
                f"a visit of {after.name!r} began at {after.start_s} s, before the one of "
                f"{before.name!r} ended, at {before.end_s} s"
            )
    # One after the other, so that all together took no longer than from the first to the last.
    ahead_s = visits[-1].end_s - visits[0].start_s - waited_s if visits else 0.0
    if ahead_s > CLOCK_SHARE * waited_s + CLOCK_S:
        raise ValueError(
            f"by the device's clock the runs took {ahead_s:.1f} s more than it was waited for them"
        )
    return visits


def _visit(told: Any, step: Step) -> Visit:
    told = plain.record(told, "a visit")
    if told["name"] != step.name:
        raise ValueError(f"a visit is of {str(told['name'])[:80]!r}, asked for was {step.name!r}")
    plain.items(told["wall_ns"], f"wall_ns of {step.name!r}", step.runs, step.runs)
    return checked_visit(
        step.name,
        round(plain.number(told["start_s"], "start_s"), 6),
        round(plain.number(told["end_s"], "end_s"), 6),
        _milliseconds(told["wall_ns"], "wall_ns"),
        _milliseconds(told["own_ns"], "own_ns"),
        told["preempted"],
        read_state(told.get("state")),
    )


def _milliseconds(nanoseconds: Any, name: str) -> tuple[float, ...]:
    values = plain.items(nanoseconds, name, MAX_RUNS)
    return tuple(round(plain.number(value, name, above=0) * 1e-6, 6) for value in values)


def read_axes(
    answer: Mapping[str, Any], what: str
) -> dict[str, tuple[str, list[int | str | None]]]:
    """The inputs or outputs of a model, as `Worker.describe` gives them.

    Their types are any text: of models whose inputs cannot be drawn, too (``string``).
    """
    found = {}
    for name, told in plain.record(answer[what], what).items():
        where = f"{what}.{name}"
        dtype, axes = plain.items(told, where, 2, 2)
        found[name] = (
            plain.text(dtype, where),
            [
                _axis(axis, where)
                for axis in plain.items(axes, f"axes of {where}", MAX_DESCRIBED_AXES)
            ],
        )
    return found


def _axis(axis: Any, where: str) -> int | str | None:
    """The size of an axis, the name of its symbol, which may be any text, or neither."""
    return axis if axis is None or isinstance(axis, str) else plain.whole(axis, f"axis of {where}")


def read_model(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What "open" tells of a model, as `ModelRunner.open` gives it."""
    for what in ("inputs", "outputs"):
        read_axes(answer, what)
    plain.record(answer["metadata"], "metadata")
    return {what: answer[what] for what in ("inputs", "outputs", "metadata")}


def read_outputs(answer: Mapping[str, Any]) -> list[Any]:
    """The arrays of "run"."""
    return [decode_array(value) for value in answer["outputs"]]


def read_peak(answer: Mapping[str, Any]) -> int | None:
    """The bytes of "memory"; see `Worker.peak_bytes`."""
    return _bytes(answer["peak_bytes"], "peak_bytes")


def _bytes(value: Any, name: str) -> int | None:
    return None if value is None else plain.whole(value, name)
