"""Which networks are made for which runtime. Arithmetic only: no runtime is imported.

What differs between runtimes is in one file each: `LIMITS`, a
`nasc.lowering.limits.base.LoweringLimits`.
"""

from __future__ import annotations

from collections.abc import Collection

from nasc.architecture.space import Geometry, SearchSpace, computed_in
from nasc.errors import UsageError
from nasc.lowering.limits import onnxruntime, openvino, torch, tvm
from nasc.lowering.limits.base import LoweringLimits

LIMITS = {
    "onnxruntime": onnxruntime.LIMITS,
    "openvino": openvino.LIMITS,
    "tvm": tvm.LIMITS,
    "torch": torch.LIMITS,
    "onnxruntime-web": onnxruntime.LIMITS,
}
"""By name of a runtime."""

PRECISIONS = {runtime: limits.precisions for runtime, limits in LIMITS.items()}
"""By name of a runtime, the number formats that networks are lowered in for it."""


def limits_of(runtime: str) -> LoweringLimits:
    """Which networks are made for a runtime.

    Args:
        runtime: Its name, as in `profilers.RuntimeOptions`.

    Raises:
        UsageError: If networks are not lowered for it.
    """
    if runtime not in LIMITS:
        raise UsageError(
            f"networks cannot be made for the runtime {runtime!r}; known: {', '.join(LIMITS)}"
        )
    return LIMITS[runtime]


def why_unsupported(runtime: str, precision: str, space: SearchSpace, head: str) -> str | None:
    """Why networks of a space are not made in a precision that a runtime has; None where they are.

    Args:
        runtime: Its name.
        precision: Out of `PRECISIONS`.
        space: Whose sizes are looked at.
        head: Of the networks that are made.
    """
    geometry = space.geometry
    hidden = {*space.hidden_sizes, geometry.hidden}
    sizes = {*hidden, geometry.head_size, *map(geometry.inner, hidden)}
    return why_unsupported_sizes(
        runtime, precision, geometry, head, sizes, f"search space {space.name!r}"
    )


def why_unsupported_sizes(
    runtime: str, precision: str, geometry: Geometry, head: str, sizes: Collection[int], whose: str
) -> str | None:
    """Why a network is not made in a precision that a runtime has; None where it is.

    Args:
        runtime: Its name.
        precision: Out of `PRECISIONS`.
        geometry: Of the teacher.
        head: Of the network.
        sizes: Hidden and inner sizes, and the head size where there is attention.
        whose: They are, in words.
    """
    limits = LIMITS[runtime]
    if (reason := limits.why_not(precision, geometry, head)) is not None:
        return reason
    multiple = limits.multiples.get(precision, 1)
    wrong = sorted(size for size in sizes if size % multiple)
    if not wrong:
        return None
    return (
        f"{runtime} makes {precision} of hidden, inner and head sizes that are multiples of "
        f"{multiple}; {whose} has {wrong[0]}"
    )


def supported_precisions(runtime: str, computes: Collection[str]) -> tuple[str, ...]:
    """The precisions that networks are lowered in where a runtime computes in some.

    Args:
        runtime: Its name.
        computes: What it computes in on the device, as it tells.

    Returns:
        Out of `PRECISIONS`, in that order.
    """
    return tuple(p for p in LIMITS[runtime].precisions if computed_in(p) in computes)


def check_precision(runtime: str, precision: str) -> None:
    """Refuse what a lowering does not make.

    Raises:
        UsageError: If networks are not lowered in a precision for a runtime.
    """
    possible = LIMITS[runtime].precisions
    if precision not in possible:
        raise UsageError(
            f"networks are not made in {precision!r} for the runtime {runtime}; "
            f"known: {', '.join(possible)}"
        )
