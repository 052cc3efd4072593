"""The exact k best paths of some chains.

A sweep (`nasc.solver.sweep`) finds all paths within the limits whose objective is at most a
threshold. The threshold starts at the least dual bound and rises, for all chains at once, until k
paths within the limits have an objective of at most the threshold: then they are the k best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from nasc.solver.chain import Chain, completion_bounds
from nasc.solver.lagrangian import Relaxation
from nasc.solver.paths import Paths
from nasc.solver.sweep import Sweep

_FIRST_STEP = 1e-5
"""First rise of the threshold over the dual bound, as a part of the objective's spread."""

_GROWTH = 3.0


def k_best(chains: Sequence[Chain], k: int) -> list[Paths | None]:
    """The k paths within the limits with the least column 0, over all chains.

    Args:
        chains: Options and limits of each.
        k: How many; fewer are returned if there are fewer.

    Returns:
        Of each chain at most k complete paths in order, by (column 0, rank); None if it has none.
        The k best are among them, with all that equal them.
    """
    sweeps: dict[int, Sweep] = {}
    most, spread = -np.inf, 0.0
    for i, chain in enumerate(chains):
        if k == 1:
            chain = dataclasses.replace(chain, options=chain.best_per_stratum)
        ahead = completion_bounds(chain)
        relaxed = Relaxation(chain, ahead).bound(chain)
        if relaxed is not None:
            sweeps[i] = Sweep(chain, ahead, relaxed, k)
            low, high = ahead.least[0, chain.start_size, 0], ahead.most[0, chain.start_size, 0]
            most = max(most, float(chain.start_values[0] + high))
            spread = max(spread, float(high - low))
    found: list[Paths | None] = [None] * len(chains)
    threshold = min((sweep.relaxed.bound for sweep in sweeps.values()), default=np.inf)
    step = _FIRST_STEP * spread or np.inf
    while sweeps:
        threshold = min(threshold + step, most)
        for i, sweep in sweeps.items():
            if sweep.relaxed.bound - sweep.relaxed.slack <= threshold:
                paths = sweep.up_to(threshold, most)
                found[i] = paths if len(paths) else None
        objectives = [paths.values[:, 0] for paths in found if paths is not None]
        objective = np.concatenate([np.zeros(0), *objectives])
        if len(objective) >= k:
            most = min(most, float(np.partition(objective, k - 1)[k - 1]))
        if threshold >= most:
            break
        step *= _GROWTH
    return [None if paths is None else paths.take(paths.values[:, 0] <= most) for paths in found]
