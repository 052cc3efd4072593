"""One sweep over a chain: all paths within the limits up to a Lagrangian value.

Every path within the limits is at least as bad as its Lagrangian value (`nasc.solver.lagrangian`),
and that value is additive. So all paths within the limits whose objective is at most T are
among those whose Lagrangian value is at most T, and these are found without looking at
others: an option is followed only where the best completion stays under T. On the way, paths
go that cannot meet a limit any more, or that k others dominate (`nasc.solver.dominance`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasc.solver.blocks import Floats, Ints
from nasc.solver.chain import BlockOptions, Chain, CompletionBounds
from nasc.solver.dominance import skyband
from nasc.solver.lagrangian import LagrangianBound
from nasc.solver.paths import (
    Paths,
    Slack,
    extended,
    joined,
    renumbered,
    slack_left,
    start,
    thinned,
    thinned_options,
)

MAX_PAIRS = 1_000_000
"""Paths made at once: bounds the memory to some hundred MB."""

THIN_ABOVE = 2_000
"""Paths at a place from which on it pays to look for dominated ones."""


class TooManyPaths(Exception):
    """A sweep was given up because it made more paths than it was allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """Options of one position and size, by Lagrangian value ascending."""

    options: BlockOptions
    value: Floats


class Sweep:
    """Looks for paths up to a threshold of the Lagrangian value.

    Args:
        chain: Options and limits.
        ahead: Its completions.
        relaxed: A Lagrangian bound of it.
        k: How many dominators make a path superfluous.
        extra: Columns that count as costs in dominance, limited or not. With none, the first
            k complete paths are kept; else all that k others do not dominate.
    """

    def __init__(
        self,
        chain: Chain,
        ahead: CompletionBounds,
        relaxed: LagrangianBound,
        k: int,
        extra: tuple[int, ...] = (),
    ) -> None:
        self._chain, self._ahead, self.relaxed = chain, ahead, relaxed
        self._k, self._extra = k, extra
        self._left = np.inf
        weights = relaxed.weights
        self._border = chain.border_values @ weights
        self._value = [options.values @ weights for options in chain.options]
        self._offset = float(relaxed.allowance @ weights)
        n, sizes = chain.positions, len(chain.end_values)
        least = np.full((n, sizes), np.inf)
        for p, options in enumerate(chain.options):
            np.minimum.at(least[p], options.size, self._value[p])
        # (n + 1, S) least Lagrangian value of what is to come, and of what is behind
        self._to_come = np.full((n + 1, sizes), np.inf)
        self._to_come[n] = chain.end_values @ weights
        for p in range(n - 1, -1, -1):
            self._to_come[p] = (self._border + least[p] + self._to_come[p + 1]).min(axis=1)
        behind = np.full(sizes, np.inf)
        behind[chain.start_size] = float(chain.start_values @ weights)
        self._entry = np.full((n, sizes), np.inf)
        for p in range(n):
            self._entry[p] = (behind[:, None] + self._border).min(axis=0)
            behind = self._entry[p] + least[p]

    def up_to(self, threshold: float, most: float, allowed: float = np.inf) -> Paths:
        """What is kept of some paths within the limits whose column 0 is at most `most`.

        All paths within the limits whose column 0 is at most the threshold are among those
        that it chooses from.

        Raises:
            TooManyPaths: If more than `allowed` paths had to be made.
        """
        self._left = allowed
        chain, ahead = self._chain, self._ahead
        budget = threshold + self._offset + self.relaxed.slack
        paths = start(chain)
        for p in range(chain.positions):
            ready = self._ready(p, budget)
            longer = {}
            for h, ones in ready.items():
                place = slack_left(chain, ahead, p + 1, h, most)
                found = self._step(p, h, paths, ones, place, budget)
                if len(found):
                    longer[h] = found
            if not longer:
                return _none(chain)
            paths = renumbered(longer)
        ended = [
            Paths(q.values + chain.end_values[h], q.live, q.rank, q.trail) for h, q in paths.items()
        ]
        complete = joined(ended)
        if not self._extra:
            return _first(complete, self._k)
        costs = complete.values[:, list(self._extra)]
        return complete.take(skyband(complete.values[:, 0], complete.rank, costs, self._k))

    def _ready(self, p: int, budget: float) -> dict[int, _Ready]:
        options, value = self._chain.options[p], self._value[p]
        through = self._entry[p] + self._to_come[p + 1]
        chosen = np.flatnonzero(value + through[options.size] <= budget)
        found = {}
        for h in np.unique(options.size[chosen]).tolist():
            some = options.take(chosen[options.size[chosen] == h])
            if len(some.rank) > THIN_ABOVE or self._extra:
                some = thinned_options(self._chain, some, self._k, self._extra)
            worth = some.values @ self.relaxed.weights
            order = np.argsort(worth, kind="stable")
            found[h] = _Ready(some.take(order), worth[order])
        return found

    def _step(
        self,
        p: int,
        h: int,
        paths: dict[int, Paths],
        ones: _Ready,
        place: Slack,
        budget: float,
    ) -> Paths:
        """Paths that reach size h at position p."""
        kept: list[Paths] = []
        pending = 0
        for g, before in paths.items():
            value = before.values @ self.relaxed.weights + self._border[g, h]
            left = budget - value - self._to_come[p + 1, h]
            counts = np.searchsorted(ones.value, left, side="right")
            self._left -= int(counts.sum())
            if self._left < 0:
                raise TooManyPaths
            for pairs in _pairs(counts):
                more = extended(self._chain, p, before, ones.options, (g, h), pairs, place)
                kept.append(more)
                pending += len(more)
                if pending > MAX_PAIRS:
                    kept = [self._fewer(joined(kept), place, p)]
                    pending = 0
        if not kept:
            return _none(self._chain)
        return self._fewer(joined(kept), place, p)

    def _fewer(self, paths: Paths, place: Slack, p: int) -> Paths:
        if p + 1 == self._chain.positions and not self._extra:
            return _first(paths, self._k)
        if len(paths) <= THIN_ABOVE and not self._extra:
            return paths
        return thinned(paths, place, self._k, self._extra)


def _pairs(counts: Ints) -> list[tuple[Ints, Ints]]:
    """For each path i the first counts[i] options, in lots of bounded size."""
    ends = np.cumsum(counts)
    lots, begin = [], 0
    while begin < len(counts) and (total := int(ends[-1])):
        done = int(ends[begin - 1]) if begin else 0
        if done == total:
            break
        end = max(int(np.searchsorted(ends, done + MAX_PAIRS, side="right")), begin + 1)
        some = counts[begin:end]
        left = np.repeat(np.arange(begin, end), some)
        right = np.arange(len(left)) - np.repeat(np.cumsum(some) - some, some)
        lots.append((left, right))
        begin = end
    return lots


def _first(paths: Paths, k: int) -> Paths:
    """The first k by (column 0, rank)."""
    objective = paths.values[:, 0]
    if len(paths) > k:
        kth = np.partition(objective, k - 1)[k - 1]
        paths = paths.take(np.flatnonzero(objective <= kth))
        objective = paths.values[:, 0]
    return paths.take(np.lexsort((paths.rank, objective))[:k])


def _none(chain: Chain) -> Paths:
    columns = len(chain.start_values)
    nothing = np.zeros(0)
    return Paths(
        np.zeros((0, columns)), nothing, nothing.astype(np.int64), np.zeros((0, 0), np.int64)
    )
