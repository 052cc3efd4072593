"""What a network may be run as: the axis that is chosen together with the architecture."""

from __future__ import annotations

from dataclasses import dataclass

from nasc.architecture.space import PRECISIONS, SMALLER
from nasc.errors import UsageError

LOSSLESS = ("fp32", "tf32", "bf16", "fp16")
"""Precisions whose vectors have a cosine of 0.999 or more to those of fp32 (bf16, and fp16 in
OpenVINO: docs/openvino.md; tf32, and fp16 on GPUs, are taken for such, not measured): of such a
network the fastest variant is taken."""


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """A runtime and the precision in which it computes a network.

    Attributes:
        runtime: Name of the runtime, ``onnxruntime`` for example.
        precision: Out of `nasc.architecture.space.PRECISIONS`.

    Raises:
        UsageError: On an unknown precision.
    """

    runtime: str
    precision: str

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}"
            )

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


def truer_of(variant: Variant) -> Variant | None:
    """The variant that one differs from in being smaller alone, and less true; None where none."""
    precision = SMALLER.get(variant.precision)
    return None if precision is None else Variant(variant.runtime, precision)
