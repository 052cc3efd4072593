"""Dominance filters: nothing goes that k others do not dominate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.solver import dominance as module
from nasc.solver.dominance import skyband


def dominators(objective: np.ndarray, rank: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """(n,) how many come before each one and cost no more."""
    n = len(objective)
    counts = np.zeros(n, int)
    for i in range(n):
        for j in range(n):
            before = (objective[j], rank[j]) < (objective[i], rank[i])
            counts[i] += before and bool((costs[j] <= costs[i]).all())
    return counts


@pytest.mark.parametrize("chunk", [3, 1024])
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(1, 6),
    st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_what_goes_has_k_dominators(
    chunk: int, seed: int, n: int, dimensions: int, k: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    objective = rng.integers(0, spread, n).astype(float)
    costs = rng.integers(0, spread, (n, dimensions)).astype(float)
    rank = rng.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        patch.setattr(module, "_REFERENCES", 4)
        kept = skyband(objective, rank, costs, k)
    assert len(set(kept.tolist())) == len(kept)
    assert (np.lexsort((rank[kept], objective[kept])) == np.arange(len(kept))).all()
    must_stay = set(np.flatnonzero(dominators(objective, rank, costs) < k).tolist())
    assert must_stay <= set(kept.tolist())
    if dimensions <= 1:
        assert must_stay == set(kept.tolist())
