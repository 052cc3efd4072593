"""Partial paths through a chain, and the steps that lengthen, bound and thin them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasc.solver.blocks import Floats, Ints, Mask
from nasc.solver.chain import BlockOptions, Chain, CompletionBounds
from nasc.solver.dominance import skyband


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """m paths that stand at one hidden size after the same number of positions.

    Attributes:
        values: (m, C) columns so far.
        live: (m,) largest live activation so far, bytes.
        rank: (m,) order among equals of one sweep; see `ranked_anew` for those of several.
        trail: (m, positions so far) candidates picked.
    """

    values: Floats
    live: Floats
    rank: Ints
    trail: Ints

    def __len__(self) -> int:
        return len(self.rank)

    def take(self, chosen: Ints | Mask) -> Paths:
        """Some of the paths."""
        return Paths(self.values[chosen], self.live[chosen], self.rank[chosen], self.trail[chosen])


def start(chain: Chain) -> dict[int, Paths]:
    """The path that has chosen nothing yet, by size."""
    one = Paths(
        chain.start_values[None, :].copy(),
        np.array([chain.start_live]),
        np.zeros(1, np.int64),
        np.zeros((1, 0), np.int64),
    )
    return {chain.start_size: one}


def joined(parts: list[Paths]) -> Paths:
    """Paths at the same size, from several lots."""
    if len(parts) == 1:
        return parts[0]
    return Paths(
        np.concatenate([p.values for p in parts]),
        np.concatenate([p.live for p in parts]),
        np.concatenate([p.rank for p in parts]),
        np.concatenate([p.trail for p in parts]),
    )


def extended(
    chain: Chain,
    position: int,
    paths: Paths,
    options: BlockOptions,
    sizes: tuple[int, int],
    pairs: tuple[Ints, Ints],
    room: Slack,
) -> Paths:
    """Paths lengthened by options across a border, as far as there is room for them.

    Args:
        chain: What paths run through.
        position: Whose options they are lengthened by.
        paths: Paths at the first size.
        options: Options at the second size.
        sizes: Indices of the two hidden sizes.
        pairs: Which path with which option.
        room: What completions leave.
    """
    left, right = pairs
    values = (paths.values + chain.border_values[sizes])[left]
    values += options.values[right]
    live = np.maximum(paths.live[left], options.live[right])
    np.maximum(live, chain.border_live[sizes], out=live)
    fits = room.fits(values, live)
    left, right = left[fits], right[fits]
    ranks = int(chain.options[position].rank.max()) + 1
    return Paths(
        values[fits],
        live[fits],
        paths.rank[left] * ranks + options.rank[right],
        np.column_stack([paths.trail[left], options.index[right]]),
    )


def renumbered(paths: dict[int, Paths]) -> dict[int, Paths]:
    """The same paths with ranks 0, 1, 2, ... over all sizes, so that they stay small."""
    every = np.concatenate([p.rank for p in paths.values()])
    order = np.argsort(every, kind="stable")
    dense = np.empty(len(every), np.int64)
    dense[order] = np.arange(len(every))
    found, begin = {}, 0
    for size, p in paths.items():
        found[size] = Paths(p.values, p.live, dense[begin : begin + len(p)], p.trail)
        begin += len(p)
    return found


def ranked_anew(chain: Chain, paths: Paths) -> Paths:
    """The same complete paths with ranks by the options that they pick.

    A sweep numbers the ranks of its own paths, so those of several sweeps do not compare.
    """
    picked = []
    for options, trail in zip(chain.options, paths.trail.T, strict=True):
        rank_of = np.zeros(int(options.index.max()) + 1, np.int64)
        rank_of[options.index] = options.rank
        picked.append(rank_of[trail])
    rank = np.empty(len(paths), np.int64)
    rank[np.lexsort(picked[::-1])] = np.arange(len(paths))
    return Paths(paths.values, paths.live, rank, paths.trail)


@dataclass(frozen=True, slots=True, eq=False)
class Slack:
    """What paths at one place may have cost so far, if the cheapest completions follow.

    Attributes:
        most: (C,) largest value per column that leaves room.
        peak: Largest weights so far plus largest live activation; inf where not limited.
        peak_column: Column of the weights.
        least_live: A completion's least live activation.
        surely: (C,) below this every completion fits.
        columns: Limited columns, the weights' included where the peak is limited.
    """

    most: Floats
    peak: float
    peak_column: int
    least_live: float
    surely: Floats
    columns: Ints

    def fits(self, values: Floats, live: Floats) -> Mask:
        """(m,) whether paths leave room in every limit."""
        fits = np.ones(len(values), np.bool_)
        for c in np.flatnonzero(np.isfinite(self.most)):
            fits &= values[:, c] <= self.most[c]
        if np.isfinite(self.peak):
            fits &= values[:, self.peak_column] + np.maximum(live, self.least_live) <= self.peak
        return fits

    def dimensions(self, paths: Paths, extra: tuple[int, ...] = ()) -> Floats:
        """(m, dimensions) what one path must not exceed to dominate another.

        Differences that no completion can turn into a broken limit are levelled out.

        Args:
            paths: At the place that this is about.
            extra: Columns that count in full, limited or not.
        """
        dimensions = [paths.values[:, c] for c in extra]
        for c in self.columns:
            if c in extra:
                continue
            level = np.maximum(paths.values[:, c], self.surely[c])
            if level.size and level.max() > level.min():
                dimensions.append(level)
        if np.isfinite(self.peak):
            level = np.maximum(paths.live, self.least_live)
            if level.size and level.max() > level.min():
                dimensions.append(level)
        return np.column_stack(dimensions) if dimensions else np.zeros((len(paths), 0))


def slack_left(
    chain: Chain, ahead: CompletionBounds, position: int, size: int, most_objective: float
) -> Slack:
    """Slack of paths that have chosen `position` options and stand at a size.

    Args:
        chain: What paths run through.
        ahead: Its completions.
        position: Options chosen so far.
        size: Index of the hidden size.
        most_objective: Largest column 0 that a complete path may have.
    """
    limits = chain.limits.copy()
    limits[0] = most_objective
    least, most = ahead.least[position, size], ahead.most[position, size]
    peak, surely = np.inf, chain.limits - most
    columns = set(chain.limited.tolist())
    if chain.has_peak:
        c = chain.peak_column
        columns.add(c)
        peak = chain.peak_limit - least[c]
        widest = max(
            float(ahead.most_live[position, size]),
            max(float(o.live.max()) for o in chain.best_per_stratum),
            float(chain.border_live.max()),
            chain.start_live,
        )
        surely[c] = min(surely[c], chain.peak_limit - most[c] - widest)
    return Slack(
        most=limits - least,
        peak=float(peak),
        peak_column=chain.peak_column,
        least_live=float(ahead.least_live[position, size]),
        surely=surely,
        columns=np.array(sorted(columns), dtype=np.int64),
    )


def thinned(paths: Paths, place: Slack, k: int, extra: tuple[int, ...] = ()) -> Paths:
    """Paths without those that k others at the same place make superfluous.

    Args:
        paths: At one place.
        place: Their room.
        k: How many complete paths are looked for.
        extra: Columns that count as costs, limited or not.
    """
    if len(paths) <= k:
        return paths
    dimensions = place.dimensions(paths, extra)
    return paths.take(skyband(paths.values[:, 0], paths.rank, dimensions, k))


def thinned_options(
    chain: Chain, options: BlockOptions, k: int, extra: tuple[int, ...] = ()
) -> BlockOptions:
    """Options of one size without those that k others of that size make superfluous.

    Args:
        chain: Whose limits count.
        options: Of one position and size.
        k: How many complete paths are looked for.
        extra: Columns that count as costs, limited or not.
    """
    if len(options.rank) <= k:
        return options
    columns = set(extra).union(chain.limited.tolist())
    if chain.has_peak:
        columns.add(chain.peak_column)
    costs = options.values[:, sorted(columns)]
    if chain.has_peak:
        costs = np.column_stack([costs, options.live])
    return options.take(skyband(options.values[:, 0], options.rank, costs, k))
