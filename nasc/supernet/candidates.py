"""The sub-architectures that a block may be: what each costs, and the bins they lie in.

Bins are of parameters and latency at once (NAS-BERT, Section 4.1.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.layers import Layer, layer_params
from nasc.architecture.space import Block, SearchSpace
from nasc.errors import UsageError
from nasc.solver.blocks import block_codes
from nasc.solver.costs import kind_layers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

NO_BIN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The sub-architectures that every block may be, and what each costs.

    Attributes:
        blocks: n distinct blocks.
        params: (n,) parameters of a block's operations.
        latency_ms: (n,) their latency from a device's table; NaN with one bin and no table.
        bins: How many bins there are.
        bin: (n,) which one each lies in, from 0; `NO_BIN` for kept and skipped blocks and for
            those that fit no bin.

    Raises:
        UsageError: If no block is trained, or none of them fits a bin.
    """

    blocks: tuple[Block, ...]
    params: Ints
    latency_ms: Floats
    bins: int
    bin: NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        trained = np.array([is_trained(block) for block in self.blocks])
        if not trained.any():
            raise UsageError("shrinking: the search space holds no block that is trained")
        found = np.full(len(self.blocks), NO_BIN, np.int8)
        found[trained] = assign_bins(self.params[trained], self.latency_ms[trained], self.bins)
        if (found == NO_BIN).all():
            raise UsageError(self._all_empty(trained))
        object.__setattr__(self, "bin", found)

    def _all_empty(self, trained: Mask) -> str:
        params, latency_ms, fewer = self.params[trained], self.latency_ms[trained], self.bins // 2
        while (assign_bins(params, latency_ms, fewer) == NO_BIN).all():  # never so with one bin
            fewer //= 2
        return (
            f"shrinking: all {self.bins} bins of every block position are empty: each of the "
            f"{trained.sum()} sub-architectures lies in another bin by latency than by "
            f"parameters. Take fewer: nasc train --shrink --bins {fewer}"
        )

    def count(self, chosen: Ints) -> Ints:
        """(bins,) how many of some candidates lie in each bin."""
        bins = self.bin[chosen]
        return np.bincount(bins[bins != NO_BIN], minlength=self.bins)

    @property
    def fixed(self) -> Mask:
        """(n,) kept and skipped blocks."""
        return np.array([not is_trained(block) for block in self.blocks])


def is_trained(block: Block) -> bool:
    """Whether a block is one that training changes: neither kept nor skipped."""
    return not block.kept and bool(block.operations)


def assign_bins(params: Ints, latency_ms: Floats, bins: int) -> NDArray[np.int8]:
    """Bin of every sub-architecture: p_{b-1} < params <= p_b and l_{b-1} < latency <= l_b.

    The edges are p_b = b/B of the most parameters, l_b = b/B of the highest latency. What lies
    in another bin by latency than by parameters is in none (Section 4.1.1).

    Args:
        params: (n,).
        latency_ms: (n,).
        bins: B.

    Returns:
        (n,) bins from 0, `NO_BIN` for those in none.
    """
    shares = np.arange(1, bins) / bins
    by_params = np.searchsorted(shares * params.max(), params, side="left")
    by_latency = np.searchsorted(shares * latency_ms.max(), latency_ms, side="left")
    return np.where(by_params == by_latency, by_params, NO_BIN).astype(np.int8)


def candidates_of(
    space: SearchSpace, latency_ms: Callable[[Layer], float] | None, bins: int
) -> Candidates:
    """The sub-architectures of a space, priced by their operations, borders left aside.

    Args:
        space: All blocks of it.
        latency_ms: Of an operation, from a device's table (LT_lat of the paper); None with one bin.
        bins: B.

    Raises:
        UsageError: If none of them is trained, or fits a bin.
        LookupMiss: From the table.
    """
    blocks = tuple(space.blocks())
    codes = block_codes(blocks)
    params = np.zeros(len(codes.kind_hidden), np.int64)
    latency = np.full(len(codes.kind_hidden), np.nan if latency_ms is None else 0.0)
    for of_kinds, counts, layer in kind_layers(codes):
        params[of_kinds] += counts * layer_params(layer, space.geometry)
        if latency_ms is not None:
            latency[of_kinds] += counts * latency_ms(layer)
    return Candidates(blocks, params[codes.kind], latency[codes.kind], bins)
