"""onnxruntime: networks of any kind, in what it computes in everywhere."""

from __future__ import annotations

from nasc.architecture.space import Geometry
from nasc.lowering.limits.base import LoweringLimits

_PRECISIONS = ("fp32", "int8", "int8-emb4")


def _why_not(precision: str, geometry: Geometry, head: str) -> str | None:
    if precision == "int8-emb4" and geometry.row_size % 2:
        return (
            f"4 bits are stored in pairs, and the word embedding's rows are of {geometry.row_size} "
            "values"
        )
    return None


LIMITS = LoweringLimits(precisions=_PRECISIONS, on_any_processor=_PRECISIONS, why_not=_why_not)
