"""Intervals by resampling."""

import numpy as np
import pytest

from nasc.evaluation.bootstrap import mean_with_interval


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    """Of n ones and zeros the standard error is sqrt(p (1 - p) / n); 90% are 1.645 of them."""
    values = np.repeat([0.0, 1.0], [300, 700])
    found = mean_with_interval(values, seed=0)
    error = 1.645 * np.sqrt(0.7 * 0.3 / 1000)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - error, abs=0.003)
    assert found.high == pytest.approx(0.7 + error, abs=0.003)
    assert found == mean_with_interval(values, seed=0)
    assert found != mean_with_interval(values, seed=1)


def test_values_of_a_group_are_drawn_together() -> None:
    """Ten copies of every value say no more than one: the interval is that of the groups."""
    values = np.random.default_rng(0).normal(size=100)
    alone = mean_with_interval(values, seed=0)
    copies = mean_with_interval(np.repeat(values, 10), np.repeat(np.arange(100), 10), seed=0)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    loose = mean_with_interval(np.repeat(values, 10), seed=0)
    assert loose.high - loose.low < 0.5 * (alone.high - alone.low)


def test_groups_may_be_of_any_number_and_size() -> None:
    values, groups = np.array([1.0, 2.0, 4.0]), np.array([7, 7, 3])
    found = mean_with_interval(values, groups, seed=0)
    assert found.value == pytest.approx(7 / 3)
    assert (found.low, found.high) == pytest.approx((1.5, 4.0))


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_with_interval(np.empty(0), seed=0)
