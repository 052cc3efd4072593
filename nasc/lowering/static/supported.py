"""Which networks there is no C library of. TVM is not needed to say so."""

from __future__ import annotations

from nasc.architecture.space import GELU, Geometry


def why_no_library(geometry: Geometry) -> str | None:
    """Why no C library is made of networks of a geometry; None where one is."""
    made = "C libraries are made of networks"
    if geometry.activation != GELU:
        return f"{made} with the activation {GELU!r}, not {geometry.activation!r}"
    if geometry.embedding is not None:
        return f"{made} with an embedding of the hidden size, without a map behind it"
    if geometry.buckets is not None:
        return f"{made} without relative positions in attention"
    if geometry.separator is not None:
        return f"{made} without token types, which tell two texts apart"
    if geometry.rotary or geometry.pre_norm or geometry.gated:
        return f"{made} without rotary positions, gates or normalisation before layers"
    return None
