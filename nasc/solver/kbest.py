"""The exact k best paths of a chain.

A sweep (`nasc.solver.sweep`) finds all paths within the limits whose objective is at most a
threshold. The threshold starts at the dual bound and rises until k paths within the limits
have an objective of at most the threshold: then they are the k best.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from nasc.solver.chain import Chain, rest
from nasc.solver.lagrangian import Relaxation
from nasc.solver.paths import Paths
from nasc.solver.sweep import Sweep

_FIRST_STEP = 1e-5
"""First rise of the threshold over the dual bound, as a part of the objective's spread."""

_GROWTH = 3.0


def k_best(chain: Chain, k: int, cutoff: float = np.inf) -> Paths | None:
    """The k paths within the limits that come first by (column 0, rank).

    Args:
        chain: Options and limits.
        k: How many; fewer are returned if there are fewer.
        cutoff: Paths with a column 0 above this may be left out.

    Returns:
        Complete paths in order; None if there is none.
    """
    if k == 1:
        chain = dataclasses.replace(chain, options=chain.best_per_stratum)
    ahead = rest(chain)
    low = chain.start_values + ahead.least[0, chain.start_size]
    high = chain.start_values + ahead.most[0, chain.start_size]
    relaxed = Relaxation(chain, ahead).bound(chain)
    if relaxed is None:
        return None
    sweep = Sweep(chain, ahead, relaxed, k)
    most = min(float(high[0]), cutoff)
    step = _FIRST_STEP * float(high[0] - low[0])
    threshold = relaxed.bound
    while True:
        threshold = min(threshold + step, most) if step > 0 else most
        found = sweep.up_to(threshold, most)
        if len(found) == k:
            most = min(most, float(found.values[-1, 0]))
        if threshold >= most:
            return found if len(found) else None
        step *= _GROWTH
