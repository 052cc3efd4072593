"""torch: code for one processor or GPU, of networks that give one array.

Scores of tokens are several. Relative positions in attention go by a table that is made for a
length, which these networks leave free; rotary ones by tensors, whose values torch.export does not
look at.
"""

from __future__ import annotations

from nasc.architecture.heads import scores_tokens
from nasc.architecture.space import Geometry
from nasc.lowering.limits.base import LoweringLimits, of_original_blocks_alone

_NAME = "torch"


def _why_not(precision: str, geometry: Geometry, head: str) -> str | None:
    if (reason := of_original_blocks_alone(_NAME, geometry)) is not None:
        return reason
    if scores_tokens(head):
        return f"{_NAME} makes networks of vectors and states, not of {head!r}"
    if geometry.buckets is not None:
        return f"{_NAME} makes networks without relative positions in attention"
    return None


LIMITS = LoweringLimits(
    precisions=("fp32", "tf32", "bf16", "fp16"),
    on_any_processor=("fp32",),
    is_compiled=True,
    why_not=_why_not,
)
