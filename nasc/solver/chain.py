"""The search in bare numbers: a chain of choices, each of which ends at a hidden size.

A path picks one option at every position. What it costs is additive over its options, the
borders between their sizes, a start and an end; its largest live activation is a maximum
over the same parts. Column 0 of all `values` is what is minimised.

All values are multiples of a power of two small enough for every sum to be exact in
float64 (`nasc.solver.costs`), so that sums do not depend on their order and ties are ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasc.solver.blocks import Floats, Ints, Mask


@dataclass(frozen=True, slots=True, eq=False)
class BlockOptions:
    """n options of one position.

    Attributes:
        size: (n,) index of the hidden size.
        values: (n, columns) additive values.
        live: (n,) largest live activation, bytes.
        rank: (n,) order among equals; not consecutive where options were left out.
        index: (n,) which candidate of the position it is.
        kind: (n,) options of one kind differ in column 0 and rank only.
    """

    size: Ints
    values: Floats
    live: Floats
    rank: Ints
    index: Ints
    kind: Ints

    def take(self, chosen: Ints | Mask) -> BlockOptions:
        """Some of the options."""
        return BlockOptions(
            self.size[chosen],
            self.values[chosen],
            self.live[chosen],
            self.rank[chosen],
            self.index[chosen],
            self.kind[chosen],
        )

    def best_of_strata(self) -> BlockOptions:
        """Of each kind the option that comes first by (column 0, rank)."""
        objective, kinds = self.values[:, 0], int(self.kind.max()) + 1
        least = np.full(kinds, np.inf)
        np.minimum.at(least, self.kind, objective)
        best = np.flatnonzero(objective == least[self.kind])
        first = np.full(kinds, np.iinfo(np.int64).max)
        np.minimum.at(first, self.kind[best], self.rank[best])
        return self.take(best[self.rank[best] == first[self.kind[best]]])


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Options of all positions and what connects them; S sizes, C columns.

    Attributes:
        options: Per position.
        start_size: Index of the teacher's hidden size, where every path starts.
        start_values: (C,); start_live: bytes.
        border_values: (S, S, C) from size to size; border_live: (S, S).
        end_values: (S, C); end_live: (S,).
        limits: (C,) largest total allowed per column, inf where none.
        peak_limit: Largest total allowed of column `peak_column` plus live activation.
        peak_column: Column of the weights; only read where `peak_limit` is finite.
        best_per_stratum: Per position the best of each kind; found when empty.
    """

    options: tuple[BlockOptions, ...]
    start_size: int
    start_values: Floats
    start_live: float
    border_values: Floats
    border_live: Floats
    end_values: Floats
    end_live: Floats
    limits: Floats
    peak_limit: float
    peak_column: int
    best_per_stratum: tuple[BlockOptions, ...] = ()

    def __post_init__(self) -> None:
        if not self.best_per_stratum:
            object.__setattr__(
                self, "best_per_stratum", tuple(o.best_of_strata() for o in self.options)
            )

    @property
    def positions(self) -> int:
        """How many options a path picks."""
        return len(self.options)

    @property
    def limited(self) -> Ints:
        """Columns with a limit."""
        return np.flatnonzero(np.isfinite(self.limits))

    @property
    def has_peak(self) -> bool:
        """Whether the sum of weights and largest activation is limited."""
        return bool(np.isfinite(self.peak_limit))


@dataclass(frozen=True, slots=True, eq=False)
class CompletionBounds:
    """Extremes over all completions, limits left aside; P positions.

    Row p holds what is still to come for a path that has chosen p options and stands at a
    size; row P is the end alone. Each column's extreme is its own: together they need not
    belong to one completion. Without meaning at sizes where no path stands.

    Attributes:
        least: (P + 1, S, C); most: (P + 1, S, C).
        least_live: (P + 1, S); most_live: (P + 1, S).
    """

    least: Floats
    most: Floats
    least_live: Floats
    most_live: Floats


def completion_bounds(chain: Chain) -> CompletionBounds:
    """Bounds on what completions add, by dynamic programming backwards."""
    n, (sizes, columns) = chain.positions, chain.end_values.shape
    least = np.full((n + 1, sizes, columns), np.inf)
    most = np.full((n + 1, sizes, columns), -np.inf)
    least_live = np.full((n + 1, sizes), np.inf)
    most_live = np.full((n + 1, sizes), -np.inf)
    least[n], most[n] = chain.end_values, chain.end_values
    least_live[n], most_live[n] = chain.end_live, chain.end_live
    for p in range(n - 1, -1, -1):
        best, every = chain.best_per_stratum[p], chain.options[p]
        worst = np.full(sizes, -np.inf)
        np.maximum.at(worst, every.size, every.values[:, 0])
        for h in np.unique(best.size):
            of_h = best.size == h
            values, live = best.values[of_h], best.live[of_h]
            low = values.min(axis=0) + least[p + 1, h]
            high = values.max(axis=0)
            high[0] = worst[h]
            high = high + most[p + 1, h]
            low_live = max(live.min(), least_live[p + 1, h])
            high_live = max(live.max(), most_live[p + 1, h])
            least[p] = np.minimum(least[p], chain.border_values[:, h] + low)
            most[p] = np.maximum(most[p], chain.border_values[:, h] + high)
            border_live = chain.border_live[:, h]
            least_live[p] = np.minimum(least_live[p], np.maximum(border_live, low_live))
            most_live[p] = np.maximum(most_live[p], np.maximum(border_live, high_live))
    return CompletionBounds(least, most, least_live, most_live)
