"""TVM: code for one processor and each length; in reduced precisions of plain networks alone.

Those pool by the mean, and have the exact GELU, an embedding as wide as the layers and no token
types.
"""

from __future__ import annotations

from nasc.architecture.heads import MEAN, gives_vector, pooling_of, scores_tokens
from nasc.architecture.space import GELU, Geometry
from nasc.lowering.limits.base import LoweringLimits, of_original_blocks_alone
from nasc.lowering.tuned_kernels import TUNED

_NAME = "tvm"

HANDWRITTEN = ("bf16", "int8")
"""Precisions by kernels that are not searched for, see `nasc.lowering.handwritten`."""


def _why_not(precision: str, geometry: Geometry, head: str) -> str | None:
    if (reason := of_original_blocks_alone(_NAME, geometry)) is not None:
        return reason
    if precision not in HANDWRITTEN:
        return None
    made = f"{_NAME} makes {precision}"
    if scores_tokens(head):
        return f"{made} of vectors and states, not of {head!r}"
    if geometry.separator is not None:
        return f"{made} without token types, which tell two texts apart"
    if geometry.buckets is not None:
        return f"{made} without relative positions in attention"
    if gives_vector(head) and pooling_of(head).mode != MEAN.mode:
        return f"{made} with the mean over tokens, not with {head!r}"
    if gives_vector(head) and not pooling_of(head).plain:
        return f"{made} of pooled vectors as they are, not of {head!r}"
    if geometry.activation != GELU:
        return f"{made} with GELU, not with {geometry.activation!r}"
    if geometry.embedding is not None:
        return f"{made} without an embedding of its own size"
    return None


LIMITS = LoweringLimits(
    precisions=("fp32", *HANDWRITTEN),
    on_any_processor=("fp32",),
    is_compiled=True,
    by_length=True,
    tuned=TUNED,
    multiples=dict.fromkeys(HANDWRITTEN, 32),
    why_not=_why_not,
)
