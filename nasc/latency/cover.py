"""Networks of a plan in which everything occurs that occurs in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import Architecture, Geometry


def cover(
    architectures: Sequence[Architecture], geometry: Geometry, head: str
) -> list[Architecture]:
    """Few networks that hold every layer beside every neighbour that it has in any of them.

    A runtime that fuses what follows one another joins a layer with its neighbours, no further:
    these networks have all of its kernels.

    Args:
        architectures: The first is always taken.
        geometry: Of the teacher.
        head: See `nasc.architecture.heads`.

    Returns:
        In the order in which they were chosen: whichever adds most, the first of equals.
    """
    left = {a: _neighbours(a, geometry, head) for a in architectures}
    chosen: list[Architecture] = []
    best = architectures[0] if architectures else None
    while best is not None and left[best]:
        chosen.append(best)
        seen = left.pop(best)
        left = {a: pairs - seen for a, pairs in left.items()}
        best = max(left, key=lambda a: len(left[a]), default=None)
    return chosen


def _neighbours(
    architecture: Architecture, geometry: Geometry, head: str
) -> set[tuple[Layer, Layer]]:
    return set(pairwise(layers(architecture, geometry, head)))
