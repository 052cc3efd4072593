"""What a runtime's limits are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nasc.architecture.space import Geometry

WhyNot = Callable[[str, Geometry, str], str | None]
"""Why no networks of a precision, a teacher's geometry and a head are made; None where they are."""


def no_reason(precision: str, geometry: Geometry, head: str) -> None:
    """See `LoweringLimits.why_not`: networks of any kind are made."""


@dataclass(frozen=True, slots=True)
class LoweringLimits:
    """Which networks are made for a runtime, and of what kind their files are.

    Attributes:
        precisions: Number formats that networks are lowered in for it, the truest first.
        on_any_processor: Of these, those that it computes in on any processor; of others the device
            is asked.
        is_compiled: Whether its files are code for what computes on the device.
        by_length: Whether its files hold code for each length: what is measured of one length is
            made for it alone, which is the same code in a fraction of the time.
        tuned: Precisions whose kernels are compiled by tuning records, where there are any.
        multiples: By precision, what hidden, inner and head sizes are multiples of; any size where
            nothing is said.
        why_not: What else is not made.
    """

    precisions: tuple[str, ...]
    on_any_processor: tuple[str, ...]
    is_compiled: bool = False
    by_length: bool = False
    tuned: tuple[str, ...] = ()
    multiples: Mapping[str, int] = field(default_factory=dict)
    why_not: WhyNot = no_reason


def of_original_blocks_alone(runtime: str, geometry: Geometry) -> str | None:
    """Why a runtime that has the blocks of the first BERT alone makes no networks; None if it does.

    Args:
        runtime: Its name.
        geometry: Of the teacher.
    """
    if geometry.rotary or geometry.pre_norm or geometry.gated:
        return (
            f"{runtime} makes no networks with rotary positions, gates or normalisation before "
            "layers"
        )
    return None
