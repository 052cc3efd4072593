"""Where the buffers of a network lie in one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: what kernels count on, and a line of every cache."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer, and when it is needed.

    Attributes:
        size_bytes: Of it.
        first: Step that writes it.
        last: Last step that reads it, not before `first`.
    """

    size_bytes: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at one time."""
        return self.first <= other.last and other.first <= self.last


def place(buffers: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Gives each buffer its place; those that are needed at one time never overlap.

    Greedy by size, each into the tightest gap (Pisarchyk and Lee, "Efficient Memory Management for
    Deep Neural Net Inference", 2020, section 5.2).

    Args:
        buffers: In any order; equal ones keep it.

    Returns:
        Where each begins, in bytes, multiples of `ALIGNMENT`; and the bytes of the block.
    """
    places = [0] * len(buffers)
    done: list[int] = []
    total = 0
    for index in sorted(range(len(buffers)), key=lambda i: (-buffers[i].size_bytes, i)):
        buffer = buffers[index]
        size = aligned(buffer.size_bytes)
        taken = sorted(
            (places[i], places[i] + aligned(buffers[i].size_bytes))
            for i in done
            if buffers[i].meets(buffer)
        )
        places[index] = _tightest_gap(taken, size)
        total = max(total, places[index] + size)
        done.append(index)
    return places, total


def _tightest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The smallest gap that holds so many bytes; what follows everything, where none does."""
    best, smallest, end = None, None, 0
    for first, after in taken:
        gap = first - end
        if gap >= size and (smallest is None or gap < smallest):
            best, smallest = end, gap
        end = max(end, after)
    return end if best is None else best


def aligned(size_bytes: int) -> int:
    """So many bytes in whole multiples of `ALIGNMENT`."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT
