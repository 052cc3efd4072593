"""Lagrangian bound of a chain: limits priced into what is minimised.

For multipliers w >= 0, every path within the limits has
    column 0  >=  column 0 + sum_j w_j (column_j - limit_j)  >=  q(w),
and the middle term is additive over the path, so its minimum q(w) is one pass of dynamic
programming. The best multipliers make it a tight bound on everything that is to come
(Geoffrion, Lagrangean relaxation for integer programming, 1974). They are sought with
Kelley's cutting planes; whichever are found, the bound holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from nasc.solver.blocks import Floats
from nasc.solver.chain import Chain, CompletionBounds

_ROUNDS = 60
_CLOSE = 1e-4
"""Cutting planes end when the bound cannot rise by more than this part of the spread."""

_ROUNDING = 1e-12
"""Of the magnitude of a weighted sum: some dozen operations of 1.1e-16 each, and room."""

_FIRST_BOX = 8.0
_LAST_BOX = 8.0**8


@dataclass(frozen=True, slots=True, eq=False)
class LagrangianBound:
    """Multipliers and the bound that they give.

    Attributes:
        weights: (C,) 1 for column 0, the multiplier for limited columns, 0 for others.
        allowance: (C,) limits that the bound was made with; 0 for columns without.
        bound: No path within the limits has a column 0 below this less `slack`.
        slack: More than what rounding can add up to in a weighted sum.
    """

    weights: Floats
    allowance: Floats
    bound: float
    slack: float


class Relaxation:
    """Lagrangian bounds of a chain under several limits.

    Paths found for some multipliers bound it for all multipliers and limits, so they are kept.

    Args:
        chain: Options.
        ahead: Its completions.
    """

    def __init__(self, chain: Chain, ahead: CompletionBounds) -> None:
        self._chain = chain
        self._ahead = ahead
        self._by_size = [
            [(int(h), best.values[best.size == h]) for h in np.unique(best.size)]
            for best in chain.best_per_stratum
        ]
        self._low = chain.start_values + ahead.least[0, chain.start_size]
        self._high = chain.start_values + ahead.most[0, chain.start_size]
        self._magnitude = _magnitude(chain)
        self.cuts = [self._best(_priced(0, 1.0, len(self._low)))]
        self._cheapest: set[int] = set()

    def bound(self, limited: Chain) -> LagrangianBound | None:
        """Multipliers of a good bound.

        Args:
            limited: The same chain, under any limits.

        Returns:
            None if the limits, taken together, are proven to exclude every path.
        """
        limits = allowances(limited, self._ahead)
        columns = np.flatnonzero(np.isfinite(limits))
        allowance = np.where(np.isfinite(limits), limits, 0.0)
        magnitude = self._magnitude + np.abs(allowance)

        def made(weights: Floats, bound: float) -> LagrangianBound:
            return LagrangianBound(
                weights, allowance, bound, _ROUNDING * float(magnitude @ weights)
            )

        free = self.cuts[0]
        best = made(_priced(0, 1.0, len(limits)), float(free[0]))
        if (free[columns] <= limits[columns]).all():
            return best
        low, high = self._low, self._high
        spread = float(high[0] - low[0]) or 1.0
        ranges = high[columns] - low[columns]
        scale = np.where(ranges > 0, ranges, 1.0)
        for c in set(columns.tolist()) - self._cheapest:
            self._cheapest.add(c)
            self.cuts.append(self._best(_priced(c, 1.0, len(limits))))

        box = _FIRST_BOX
        for _ in range(_ROUNDS):
            # max t  with  t <= column 0 + u . (column_j - limit_j) / scale_j  of every cut
            cuts = np.array(self.cuts)
            slopes = (cuts[:, columns] - limits[columns]) / scale
            found = linprog(
                np.concatenate([[-1.0], np.zeros(len(columns))]),
                A_ub=np.column_stack([np.ones(len(cuts)), -slopes]),
                b_ub=(cuts[:, 0] - low[0]) / spread,
                bounds=[(None, None)] + [(0.0, box)] * len(columns),
                method="highs",
            )
            if found.x is None:
                break
            multipliers = np.maximum(found.x[1:], 0.0)
            weights = _priced(0, 1.0, len(limits))
            weights[columns] = multipliers * spread / scale
            total = self._best(weights)
            bound = float(total[0] + weights[columns] @ (total[columns] - limits[columns]))
            if bound > best.bound:
                best = made(weights, bound)
                if best.bound - best.slack > high[0]:
                    return None
            ceiling = low[0] + found.x[0] * spread
            if ceiling - best.bound > _CLOSE * spread:
                self.cuts.append(total)
            elif (multipliers > 0.99 * box).any() and box < _LAST_BOX:
                box *= 8.0
            else:
                break
        return best

    def _best(self, weights: Floats) -> Floats:
        """Columns (C,) of a path with the least weighted sum."""
        chain = self._chain
        ahead = {h: chain.end_values[h] for h in range(len(chain.end_values))}
        for p in range(chain.positions - 1, -1, -1):
            sums = []
            for h, values in self._by_size[p]:
                row = values[np.argmin(values @ weights)]
                sums.append((h, row + ahead[h]))
            before = [chain.start_size] if p == 0 else [h for h, _ in self._by_size[p - 1]]
            ahead = {}
            for g in before:
                totals = [chain.border_values[g, h] + total for h, total in sums]
                ahead[g] = totals[int(np.argmin(np.array(totals) @ weights))]
        total: Floats = chain.start_values + ahead[chain.start_size]
        return total


def _priced(column: int, weight: float, columns: int) -> Floats:
    """Weights of zero but for one column."""
    weights = np.zeros(columns)
    weights[column] = weight
    return weights


def allowances(chain: Chain, ahead: CompletionBounds) -> Floats:
    """(C,) limits of additive columns, the peak's share for weights included; inf if none."""
    limits = chain.limits.copy()
    limits[0] = np.inf
    if chain.has_peak:
        live = max(chain.start_live, float(ahead.least_live[0, chain.start_size]))
        column = chain.peak_column
        limits[column] = min(limits[column], chain.peak_limit - live)
    return limits


def _magnitude(chain: Chain) -> Floats:
    """(C,) largest sum of absolute values of any path."""
    total: Floats = np.abs(chain.start_values) + np.abs(chain.end_values).max(axis=0)
    for options, best in zip(chain.options, chain.best_per_stratum, strict=True):
        largest = np.abs(best.values).max(axis=0)  # options of a kind differ in column 0 only
        largest[0] = np.abs(options.values[:, 0]).max()
        total += largest
        total += np.abs(chain.border_values).max(axis=(0, 1))
    return total
