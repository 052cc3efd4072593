"""The whole Pareto front of a chain: column 0 against an axis, under the other limits.

The axis is column 1, or the largest of columns 1 to n. Without other limits a single sweep that
thins by columns 0 and 1 finds it. More columns make dominance weak, so then the range of the axis
is cut into slices: what lies between a and b and is not dominated has a column 0 of at
most the best at or below a, which bounds a sweep under the limit b. A slice whose sweep grows too
large is cut in two. What is known of other chains bounds it likewise (`MostAt`): then the range is
cut before anything is swept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from nasc.solver.chain import Chain, CompletionBounds, rest
from nasc.solver.dominance import skyband
from nasc.solver.kbest import k_best
from nasc.solver.lagrangian import Dual, dual
from nasc.solver.paths import Paths, joined, ranked_anew
from nasc.solver.sweep import Sweep, TooManyPaths

MAX_PATHS = 200_000
"""Paths that the sweep of a slice may make before the slice is cut in two."""

_BOUNDED_CUTS = 3
"""So often a range is cut before it is swept, where other chains bound its upper half: more cuts
cost more than they save (`minilm-l6` by two runtimes in three precisions, November 2026)."""

_MAX_CUTS = 20
"""Slices of a millionth of the range are cut no more: what is left in one lies at one latency."""


MostAt = Callable[[float], float]
"""By a point of the axis, the column 0 above which what lies beyond the point is of no use."""


def unbounded(point: float) -> float:
    """Everything is of use."""
    return np.inf


def skyline(chain: Chain, axes: int = 1, most_at: MostAt = unbounded) -> Paths | None:
    """Paths within the limits that none other betters in column 0 or on the axis for free.

    Of paths with the same column 0 those stay that come first by rank up to some point of the
    axis, so that the caller may call different points equal.

    Args:
        chain: Options and limits.
        axes: Columns, from 1 on, the largest of which is the axis.
        most_at: Paths that it makes useless may be left out; it must not rise with the point.

    Returns:
        Complete paths; None if there is none.
    """
    chain = dataclasses.replace(chain, options=chain.best_per_stratum)
    axis = tuple(range(1, 1 + axes))
    ahead = rest(chain)
    low = chain.start_values + ahead.least[0, chain.start_size]
    high = chain.start_values + ahead.most[0, chain.start_size]
    first = float(low[list(axis)].max())
    most = min(float(high[0]), most_at(first))
    if axes == 1 and set(chain.limited.tolist()) <= {1} and not chain.has_peak:
        parts = [_sweep(chain, ahead, _unpriced(chain), axis, most, np.inf)]
    else:
        top = np.minimum(high, chain.limits)[list(axis)].max()
        parts = _slices(chain, ahead, axis, (first, float(top)), most, most_at, _MAX_CUTS)
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    found = ranked_anew(chain, joined(parts))
    reached = found.values[:, list(axis)].max(axis=1, keepdims=True)
    return found.take(skyband(found.values[:, 0], found.rank, reached, 1))


def _slices(
    chain: Chain,
    ahead: CompletionBounds,
    axis: tuple[int, ...],
    ends: tuple[float, float],
    most: float,
    most_at: MostAt,
    cuts: int,
) -> list[Paths]:
    """Paths up to the upper end of the axis whose column 0 is at most `most`."""
    middle = ends[0] + (ends[1] - ends[0]) / 2
    above = min(most, most_at(middle))
    if above == most or cuts <= _MAX_CUTS - _BOUNDED_CUTS:
        sliced = _up_to(chain, axis, ends[1])
        relaxed = dual(sliced, ahead)
        if relaxed is None:
            return []
        try:
            return [_sweep(sliced, ahead, relaxed, axis, most, MAX_PATHS if cuts else np.inf)]
        except TooManyPaths:
            best = k_best(_up_to(chain, axis, middle), 1)
        if best is None:
            return _slices(chain, ahead, axis, (middle, ends[1]), above, most_at, cuts - 1)
        above = min(above, float(best.values[0, 0]))
    return [
        *_slices(chain, ahead, axis, (ends[0], middle), most, most_at, cuts - 1),
        *_slices(chain, ahead, axis, (middle, ends[1]), above, most_at, cuts - 1),
    ]


def _up_to(chain: Chain, axis: tuple[int, ...], end: float) -> Chain:
    """Only what lies at or below a point of the axis."""
    limits = chain.limits.copy()
    limits[list(axis)] = np.minimum(limits[list(axis)], end)
    return dataclasses.replace(chain, limits=limits)


def _sweep(
    chain: Chain,
    ahead: CompletionBounds,
    relaxed: Dual,
    axis: tuple[int, ...],
    most: float,
    allowed: float,
) -> Paths:
    return Sweep(chain, ahead, relaxed, 1, axis).up_to(most, most, allowed)


def _unpriced(chain: Chain) -> Dual:
    """The bound that prices no limit."""
    weights = np.zeros(len(chain.limits))
    weights[0] = 1.0
    return Dual(weights, np.zeros(len(weights)), -np.inf, np.inf)
