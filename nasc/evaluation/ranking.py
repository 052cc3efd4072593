"""How well one quantity ranks networks by another: Kendall's tau, inside bins, by bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.evaluation.bootstrap import RESAMPLES, Floats, interval


@dataclass(frozen=True, slots=True)
class Tau:
    """Kendall's tau-a of a ranking with its interval.

    Attributes:
        tau: Share of pairs in the same order minus share in the other: 1 is perfect.
        low: Lower end of the two-sided 90% bootstrap interval.
        high: Upper end.
    """

    tau: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """How several proxies rank networks by their loss.

    Attributes:
        tau: By proxy.
        gains: By proxy other than the first: tau of the first minus its tau, on the same
            resampled networks.
        networks: How many there are.
        pairs: How many of their pairs are compared.
    """

    tau: Mapping[str, Tau]
    gains: Mapping[str, Tau]
    networks: int
    pairs: int


def rank(
    loss: Floats,
    proxies: Mapping[str, Floats],
    bins: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
) -> Ranking:
    """Kendall's tau between proxies and a loss, with paired bootstrap intervals over networks.

    Args:
        loss: (n,) what should be ranked: the lower, the better.
        proxies: By name (n,), in the same sense; the first is held against the others.
        bins: (n,) only pairs in the same bin are compared; None compares all.
        seed: Of the resampling.

    Raises:
        ValueError: If no two networks can be compared.
    """
    n = len(loss)
    same = np.ones((n, n), bool) if bins is None else bins[:, None] == bins[None, :]
    same &= ~np.eye(n, dtype=bool)
    pairs = int(same.sum()) // 2
    if not pairs:
        raise ValueError("no two networks lie in one bin")
    order = np.sign(loss[:, None] - loss[None, :]) * same
    signs = {name: np.sign(p[:, None] - p[None, :]) * order for name, p in proxies.items()}

    def taus(weights: Floats) -> dict[str, float]:
        total = weights @ same @ weights
        return {name: float(weights @ sign @ weights / total) for name, sign in signs.items()}

    found = taus(np.ones(n))
    rng = np.random.default_rng(seed)
    draws: list[dict[str, float]] = []
    while len(draws) < RESAMPLES:
        weights = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
        if weights @ same @ weights > 0:
            draws.append(taus(weights))
    first = next(iter(proxies))
    each = {name: np.array([draw[name] for draw in draws]) for name in proxies}

    def tau(value: float, values: Floats) -> Tau:
        return Tau(value, *interval(values))

    return Ranking(
        {name: tau(found[name], each[name]) for name in proxies},
        {
            name: tau(found[first] - found[name], each[first] - each[name])
            for name in proxies
            if name != first
        },
        n,
        pairs,
    )
