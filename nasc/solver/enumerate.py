"""The paper's selection: every combination of candidates in one table (NAS-BERT, Section 3.3).

All (m B)^N architectures are priced, those within the limits kept, the top T by predicted
loss returned. It finds what `nasc.solver.frontier.solve` finds, at a cost that grows with
the number of combinations; it is here because the paper does it so. Their true loss is the next
step: `nasc.selection.true_loss.by_enumeration`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from nasc.errors import UsageError
from nasc.solver.blocks import Floats, Ints
from nasc.solver.certificate import infeasible
from nasc.solver.chain import Chain
from nasc.solver.costs import LOSS, price
from nasc.solver.problem import Problem, Solution

MOST_ROWS = 2_000_000_000
"""Combinations that are enumerated at most: 20 times those of the paper (100 candidates in each of
4 blocks), some minutes on one core."""

CHUNK_ROWS = 4_000_000
"""Combinations priced at a time: three columns of them fit into 100 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """All combinations of some neighbouring positions, n rows.

    Attributes:
        first: (n,) index of the hidden size at which a row begins.
        last: (n,) and at which it ends.
        values: (n, columns) sums, the borders between included.
        live: (n,) largest live activation, bytes.
        picks: (n, positions) candidates.
    """

    first: Ints
    last: Ints
    values: Floats
    live: Floats
    picks: Ints

    def __len__(self) -> int:
        return len(self.first)


def rows_of(problem: Problem) -> int:
    """How many combinations a problem has, variants included."""
    return math.prod(len(s.blocks) for s in problem.positions) * len(problem.variants)


def enumerate_best(problem: Problem, k: int = 100) -> list[Solution]:
    """The k networks with the least predicted loss within the limits, by trying all.

    Args:
        problem: What to search.
        k: T of the paper.

    Returns:
        At least one network, in the order of `solve`.

    Raises:
        InfeasibleLimits: With its certificate, if no network meets the limits.
        UsageError: If k < 1, or there are more than `MOST_ROWS` combinations.
        LookupMiss: From the cost model.
    """
    if k < 1:
        raise UsageError(f"search: the number of networks must be a whole number >= 1, got {k!r}")
    rows = rows_of(problem)
    if rows > MOST_ROWS:
        raise UsageError(
            f"search: {rows:,} combinations are too many to enumerate, {MOST_ROWS:,} at most. "
            "Shrink the supernet first (nasc train --shrink), or use the exact search, which "
            "enumerates nothing: --strategy exact"
        )
    priced = [price(problem, variant) for variant in problem.variants]
    found: list[Solution] = []
    for prices in priced:
        chain = prices.limited_chain(LOSS, problem.limits.given())
        if chain is not None:
            found += [prices.solution(tuple(pick)) for pick in _best(chain, k).tolist()]
    if not found:
        raise infeasible(problem, priced)
    return sorted(found, key=lambda s: s.order)[:k]


def _best(chain: Chain, k: int) -> Ints:
    """(at most k and those equal to the last, positions) candidates within the limits."""
    half = chain.positions // 2
    head, tail = _combinations(chain, 0, half), _combinations(chain, half, chain.positions)
    values = chain.start_values + head.values
    live = np.maximum(head.live, chain.start_live)
    if half:
        values += chain.border_values[chain.start_size, head.first]
        live = np.maximum(live, chain.border_live[chain.start_size, head.first])
    else:
        head = _Part(head.first, np.array([chain.start_size]), head.values, head.live, head.picks)
    ends = tail.values + chain.end_values[tail.last]
    end_live = np.maximum(tail.live, chain.end_live[tail.last])
    best, picks = np.empty(0), np.empty((0, chain.positions), np.int64)
    worst = math.inf
    step = max(1, CHUNK_ROWS // len(tail))
    for begin in range(0, len(head), step):
        rows = slice(begin, begin + step)
        between = (head.last[rows, None], tail.first[None, :])
        loss = values[rows, 0, None] + ends[None, :, 0] + chain.border_values[*between, 0]
        met = loss <= worst
        for c in chain.limited:
            total = values[rows, c, None] + ends[None, :, c] + chain.border_values[*between, c]
            met &= total <= chain.limits[c]
        if chain.has_peak:
            c = chain.peak_column
            total = values[rows, c, None] + ends[None, :, c] + chain.border_values[*between, c]
            most = np.maximum(live[rows, None], end_live[None, :])
            most = np.maximum(most, chain.border_live[*between])
            met &= total + most <= chain.peak_limit
        i, j = np.nonzero(met)
        best = np.concatenate([best, loss[i, j]])
        picks = np.concatenate([picks, np.hstack([head.picks[begin + i], tail.picks[j]])])
        if len(best) > k:
            worst = float(np.partition(best, k - 1)[k - 1])
            kept = best <= worst
            best, picks = best[kept], picks[kept]
    return picks


def _combinations(chain: Chain, begin: int, end: int) -> _Part:
    """Every combination of the candidates of positions begin to end."""
    columns = chain.end_values.shape[1]
    if begin == end:
        none = np.zeros(1, np.int64)
        return _Part(none, none, np.zeros((1, columns)), np.zeros(1), np.empty((1, 0), np.int64))
    options = chain.options[begin:end]
    chosen = np.array(list(itertools.product(*(range(len(o.size)) for o in options))), np.int64)
    sizes = [o.size[chosen[:, p]] for p, o in enumerate(options)]
    values = sum((o.values[chosen[:, p]] for p, o in enumerate(options)), np.zeros(columns))
    live = np.max([o.live[chosen[:, p]] for p, o in enumerate(options)], axis=0)
    for before, after in itertools.pairwise(sizes):
        values = values + chain.border_values[before, after]
        live = np.maximum(live, chain.border_live[before, after])
    picks = np.column_stack([o.index[chosen[:, p]] for p, o in enumerate(options)])
    return _Part(sizes[0], sizes[-1], values, live, picks)
