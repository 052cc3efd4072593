"""Intervals of figures by resampling what they are means over (Efron, 1979)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: The figure.
        low: Lower end of the two-sided 90% bootstrap interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def interval(draws: Floats) -> tuple[float, float]:
    """Ends of the two-sided interval (percentiles) of a figure's resampled values.

    Args:
        draws: (draws,).
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def mean_with_interval(
    values: Floats, groups: NDArray[np.int64] | None = None, *, seed: int
) -> Estimate:
    """The mean of values; what is resampled are their groups, since values of one go together.

    Args:
        values: (n,), at least one.
        groups: (n,) number of each value's group, from 0; None takes each value by itself.
        seed: Of the resampling. The same seed and groups draw the same groups, so that two
            networks on the same questions are drawn alike.

    Raises:
        ValueError: If there is no value.
    """
    if not len(values):
        raise ValueError("no values to take the mean of")
    if groups is None:
        groups = np.arange(len(values))
    _, groups = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    rng = np.random.default_rng(seed)
    draws = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(0, len(sums), len(sums))
        draws[i] = sums[rows].sum() / counts[rows].sum()
    return Estimate(float(values.mean()), *interval(draws))
