"""Dominance: what k better and cheaper alternatives make superfluous.

x may go if k others come before it in the order (objective, rank) and cost no more in any
dimension: with whatever completes x within the limits, they complete to k paths within the
limits that come before it. The argument needs no survivor among the k, so a filter may let
go of fewer than it could, and of several at once.
"""

from __future__ import annotations

import heapq

import numpy as np

from nasc.solver.blocks import Floats, Ints

_CHUNK = 1024
_REFERENCES = 128


def skyband(objective: Floats, rank: Ints, costs: Floats, k: int) -> Ints:
    """Indices that remain, by (objective, rank).

    Complete (nothing remains that has k dominators) for one dimension of cost or none;
    with more dimensions a part of what could go may remain.

    Args:
        objective: (n,) what is minimised.
        rank: (n,) order among equals, distinct.
        costs: (n, dimensions).
        k: How many dominators make a path superfluous.
    """
    order = np.lexsort((rank, objective))
    dimensions = costs.shape[1]
    if dimensions == 0:
        return order[:k]
    if dimensions == 1:
        return order[_one_cost(costs[order, 0], k)]
    order = order[_equal_costs(costs[order], k)]
    return order[_references(costs[order], k)]


def _one_cost(cost: Floats, k: int) -> Ints:
    """Of costs in order, those with fewer than k at or below them among their forerunners."""
    n = len(cost)
    if k == 1:
        least = np.minimum.accumulate(cost)
        return np.flatnonzero(np.concatenate([[True], cost[1:] < least[:-1]]))
    kept: list[int] = list(range(min(k, n)))
    heap = [-c for c in cost[:k].tolist()]  # the k least so far, the largest first
    heapq.heapify(heap)
    for begin in range(k, n, _CHUNK):
        part = cost[begin : begin + _CHUNK]
        for i in np.flatnonzero(part < -heap[0]).tolist():
            value = float(part[i])
            if value < -heap[0]:
                heapq.heapreplace(heap, -value)
                kept.append(begin + i)
    return np.array(kept, dtype=np.int64)


def _equal_costs(costs: Floats, k: int) -> Ints:
    """Of rows in order, the first k with each vector of costs."""
    n = len(costs)
    order = np.lexsort((np.arange(n), *costs.T))
    sorted_costs = costs[order]
    new = np.ones(n, np.bool_)
    new[1:] = (sorted_costs[1:] != sorted_costs[:-1]).any(axis=1)
    begins = np.flatnonzero(new)
    place = np.arange(n) - np.repeat(begins, np.diff(np.append(begins, n)))
    kept: Ints = np.sort(order[place < k])
    return kept


def _references(costs: Floats, k: int) -> Ints:
    """Of rows in order, those that fewer than k of the chosen references dominate."""
    n = len(costs)
    wanted = _REFERENCES + 2 * k
    if n <= 2 * k:
        return np.arange(n)
    span = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0)
    strength = scaled.sum(axis=1) + np.arange(n) / n
    chosen = np.argpartition(strength, wanted)[:wanted] if n > wanted else np.arange(n)
    chosen = np.sort(chosen)
    keep = np.zeros(n, np.bool_)
    for begin in range(0, n, _CHUNK):
        part = costs[begin : begin + _CHUNK]
        rows = np.arange(begin, begin + len(part))
        below = chosen[None, :] < rows[:, None]
        for column in range(costs.shape[1]):
            below &= costs[chosen, column][None, :] <= part[:, column][:, None]
        keep[rows] = below.sum(axis=1) < k
    return np.flatnonzero(keep)
