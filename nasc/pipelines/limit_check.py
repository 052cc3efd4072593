"""Whether limits hold as measured, and how far those that do not are tightened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nasc.solver.problem import Limits


@dataclass(frozen=True, slots=True)
class MeasuredLimit:
    """What is held to a limit.

    Attributes:
        value: As measured; None if it was not told.
        expected: What the search held to the limit for it; None: the limit it searched under.
        repetition: What another measurement may come to; None: the same.
    """

    value: float | None
    expected: float | None = None
    repetition: float | None = None


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """Limits against what was measured.

    Attributes:
        tighter: By name, what to search under instead, of limits that do not hold or leave no room
            for a repetition.
        over: Whether a limit does not hold.
        note: What does not hold or leaves no room, in words; empty if all hold with room.
    """

    tighter: Mapping[str, float]
    over: bool
    note: str


def check_limits(limits: Limits, searched: Limits, held: Mapping[str, MeasuredLimit]) -> LimitCheck:
    """Hold a measured network against its limits.

    Args:
        limits: What must hold.
        searched: What the search that found it held, as tight at least.
        held: By name of a limit.
    """
    notes, tighter, over = [], {}, False
    for name, limit in limits.given().items():
        one = held[name]
        if one.value is None:
            continue
        repetition = one.repetition or one.value
        if max(one.value, repetition) <= limit:
            continue
        wanted = limit * min(1.0, one.value / repetition)
        present = searched.given()[name]
        tighter[name] = min(0.995 * present, wanted * (one.expected or present) / one.value)
        over = over or one.value > limit
        room = repetition / one.value - 1
        short = "is over" if one.value > limit else f"leaves less than {room:.1%} to"
        notes.append(f"{name} {one.value:.4g} {short} {limit:.4g}")
    return LimitCheck(tighter, over, "; ".join(notes))
