"""The whole Pareto front of some chains: column 0 against an axis, under the other limits.

The axis is column 1, or the largest of columns 1 to n. Its range is cut into slices, each with a
Lagrangian bound of its own. Useful is only what lies below the staircase of the best column 0
known so far, in whichever chain it was found, and that is little above the bound: the two-phase
method (Ulungu and Teghem, 1995). Sweeps that stay close to the bound come first, in every slice of
every chain, and lower the staircase for those that go further. A slice whose sweep grows too large
is cut in two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nasc.solver.blocks import Floats
from nasc.solver.chain import Chain, completion_bounds
from nasc.solver.dominance import skyband
from nasc.solver.lagrangian import Relaxation
from nasc.solver.paths import Paths, joined, ranked_anew
from nasc.solver.sweep import Sweep, TooManyPaths

MAX_PATHS = 5_000
"""Paths that the sweep of a slice may make before the slice is cut in two, see `_allowed`."""

_MAX_CUTS = 20
"""Slices of a millionth of the range are cut no more: what is left in one lies at one latency."""

_FIRST_RISE = 1e-3
"""First threshold over the bound of a slice, as a part of column 0's spread."""

_GROWTH = 10.0

_STEPS = 64
"""Points of a slice at which the staircase is looked up."""

Upper = Callable[[float], float]
"""By a value of a chain's axis the point at which chains are compared; does not fall."""


class Incumbents:
    """The least objective known at or below any point."""

    def __init__(self) -> None:
        self._points = np.zeros(0)
        self._least = np.zeros(0)

    def add(self, points: Floats, objective: Floats) -> None:
        """Take note of some that are within the limits."""
        points = np.concatenate([self._points, points])
        objective = np.concatenate([self._least, objective])
        order = np.lexsort((objective, points))
        points, least = points[order], np.minimum.accumulate(objective[order])
        lower = np.diff(least, prepend=np.inf) < 0
        self._points, self._least = points[lower], least[lower]

    def least_at(self, points: Floats) -> Floats:
        """Least objective at or below each point; inf where none is known."""
        below = np.searchsorted(self._points, points, side="right")
        return np.append(np.inf, self._least)[below]


def pareto_sweep(chains: Sequence[tuple[Chain, Upper]], axes: int) -> list[Paths | None]:
    """Paths within the limits that none other betters in column 0 or on the axis for free.

    Of paths with the same column 0 those stay that come first by rank up to some point of the
    axis, so that the caller may call different points equal.

    Args:
        chains: Options and limits of each, and where the values of its axis lie.
        axes: Columns, from 1 on, the largest of which is the axis.

    Returns:
        Complete paths of each chain; None where it has none.
    """
    incumbents = Incumbents()
    fronts = [_Front(chain, axes, upper, incumbents) for chain, upper in chains]
    pending = [(front, front.whole()) for front in fronts]
    while pending:
        pending = [(front, left) for front, part in pending for left in front.advance(part)]
    return [front.found() for front in fronts]


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """Part of the axis; `cuts` says how often it may be cut, `rise` how far it was swept."""

    begin: float
    end: float
    cuts: int
    rise: float
    sweep: Sweep | None = None


class _Front:
    """What is known of one chain's front.

    Args:
        chain: Options and limits.
        axes: Columns, from 1 on, the largest of which is the axis.
        upper: Where the values of the axis lie among the incumbents.
        incumbents: Of all chains.
    """

    def __init__(self, chain: Chain, axes: int, upper: Upper, incumbents: Incumbents) -> None:
        self._chain = chain = dataclasses.replace(chain, options=chain.best_per_stratum)
        self._axis = list(range(1, 1 + axes))
        self._upper, self._incumbents = upper, incumbents
        self._ahead = completion_bounds(chain)
        self._relaxation = Relaxation(chain, self._ahead)
        self._low = chain.start_values + self._ahead.least[0, chain.start_size]
        self._high = chain.start_values + self._ahead.most[0, chain.start_size]
        self._first_rise = _FIRST_RISE * float(self._high[0] - self._low[0])
        self._parts: list[Paths] = []

    def whole(self) -> _Slice:
        """All of the axis."""
        begin = float(self._low[self._axis].max())
        end = float(np.minimum(self._high, self._chain.limits)[self._axis].max())
        return _Slice(begin, end, _MAX_CUTS, self._first_rise)

    def advance(self, part: _Slice) -> list[_Slice]:
        """Sweep a slice once; returns what is left to do of it."""
        sweep = part.sweep or self._sweep(part)
        if sweep is None:
            return []
        most, threshold, drop = self._useful(part, sweep)
        bound = sweep.relaxed.bound
        if threshold < bound - sweep.relaxed.slack:
            return []
        allowed = _allowed(part.cuts, threshold - bound, drop)
        try:
            found = sweep.up_to(min(threshold, bound + part.rise), most, allowed)
        except TooManyPaths:
            middle = part.begin + (part.end - part.begin) / 2
            halves = ((part.begin, middle), (middle, part.end))
            return [_Slice(a, b, part.cuts - 1, self._first_rise) for a, b in halves]
        self._incumbents.add(self._points(found), found.values[:, 0])
        if bound + part.rise < threshold:
            return [dataclasses.replace(part, sweep=sweep, rise=part.rise * _GROWTH)]
        self._parts.append(found)
        return []

    def found(self) -> Paths | None:
        """What is useful of the chain, when no slice is left to do."""
        parts = [part for part in self._parts if len(part)]
        if not parts:
            return None
        found = ranked_anew(self._chain, joined(parts))
        reached = found.values[:, self._axis].max(axis=1, keepdims=True)
        found = found.take(skyband(found.values[:, 0], found.rank, reached, 1))
        return found.take(found.values[:, 0] <= self._incumbents.least_at(self._points(found)))

    def _points(self, paths: Paths) -> Floats:
        reached = paths.values[:, self._axis].max(axis=1)
        return np.array([self._upper(value) for value in reached.tolist()])

    def _sweep(self, part: _Slice) -> Sweep | None:
        """The sweep of what lies at or below the end of a slice; None if nothing does."""
        limits = self._chain.limits.copy()
        limits[self._axis] = np.minimum(limits[self._axis], part.end)
        chain = dataclasses.replace(self._chain, limits=limits)
        relaxed = self._relaxation.bound(chain)
        if relaxed is None:
            return None
        return Sweep(chain, self._ahead, relaxed, 1, tuple(self._axis))

    def _useful(self, part: _Slice, sweep: Sweep) -> tuple[float, float, float]:
        """Largest column 0 and Lagrangian value of what is useful in a slice, and the drop.

        The drop is the most by which a cut may bring bound and largest value together.

        Between two points of the axis, useful is what has a column 0 of at most the incumbents' at
        the first. The farther the second is from the end, the lower is its Lagrangian value.
        """
        points = np.linspace(part.begin, part.end, _STEPS + 1)
        known = self._incumbents.least_at(np.array([self._upper(p) for p in points.tolist()]))
        most = np.minimum(known, self._high[0])[:-1]
        relaxed, axis = sweep.relaxed, self._axis
        beyond = np.minimum(points[1:, None] - relaxed.allowance[axis], 0)
        priced = beyond @ relaxed.weights[axis]
        drop = most[0] - most[-1] - priced[0]
        return float(most[0]), float((most + priced).max()), float(drop)


def _allowed(cuts: int, gap: float, drop: float) -> float:
    """Paths that a sweep may make: the more, the smaller the part of the gap that a cut may close.

    What other limits leave between bound and networks stays, however thin a slice is.
    """
    if not cuts:
        return np.inf
    most = 4.0 ** (_MAX_CUTS - cuts)
    return MAX_PATHS * (min(most, max(1.0, gap / drop)) if drop > 0 else most)
