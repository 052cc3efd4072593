"""Kendall's tau of proxies, inside bins and with intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from nasc.evaluation.ranking import rank

RNG = np.random.default_rng(0)
LOSS = RNG.normal(size=60)


def test_tau_is_that_of_scipy_without_ties() -> None:
    proxy = LOSS + RNG.normal(size=60)
    found = rank(LOSS, {"proxy": proxy})
    assert found.tau["proxy"].tau == pytest.approx(kendalltau(LOSS, proxy).statistic)
    assert found.pairs == 60 * 59 // 2
    assert found.tau["proxy"].low < found.tau["proxy"].tau < found.tau["proxy"].high


def test_only_pairs_of_a_bin_count() -> None:
    """Between the bins the proxy is right, inside them it is wrong."""
    bins = np.repeat([0, 1, 2], 20)
    loss = 10.0 * bins + np.tile(np.arange(20), 3) / 20
    proxy = 10.0 * bins - np.tile(np.arange(20), 3) / 20
    assert rank(loss, {"proxy": proxy}).tau["proxy"].tau > 0.3
    found = rank(loss, {"proxy": proxy}, bins)
    assert found.tau["proxy"].tau == found.tau["proxy"].high == -1.0
    assert found.pairs == 3 * 20 * 19 // 2


def test_gains_are_paired() -> None:
    """Of equal proxies no resampling tells one from the other; a better one is told apart."""
    good, bad = LOSS + 0.1 * RNG.normal(size=60), RNG.normal(size=60)
    found = rank(LOSS, {"good": good, "same": good.copy(), "bad": bad})
    assert list(found.gains) == ["same", "bad"]
    assert found.gains["same"].low == found.gains["same"].high == 0.0
    assert found.gains["bad"].low > 0.3
    expected = found.tau["good"].tau - found.tau["bad"].tau
    assert found.gains["bad"].tau == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_intervals_hold_what_they_say(seeds: int) -> None:
    """The true tau of correlated normals is 2/pi arcsin(r): 90% intervals hold it mostly."""
    true, held = 2 / np.pi * np.arcsin(0.6), 0
    for seed in range(seeds):
        draws = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 50)
        tau = rank(draws[:, 0], {"proxy": draws[:, 1]}, seed=seed).tau["proxy"]
        held += tau.low <= true <= tau.high
    assert 0.75 * seeds <= held


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(ValueError, match="no two networks"):
        rank(LOSS[:3], {"proxy": LOSS[:3]}, np.arange(3))
