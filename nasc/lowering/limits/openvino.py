"""OpenVINO: networks of any kind; halves where the processor has them."""

from __future__ import annotations

from nasc.lowering.limits.base import LoweringLimits

LIMITS = LoweringLimits(
    precisions=("fp32", "bf16", "fp16", "int8"),
    on_any_processor=("fp32", "int8"),
)
