"""The statistic of record: how raw samples become one latency with its bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from profilers.errors import InvalidSetting
from profilers.samples import RoundSample

STATISTIC = "quiet-ratio-median"
"""Name of the statistic of record; it stands wherever a latency is shown or saved."""

RATIO_QUANTILE = 0.5
"""The quantile of the rounds' ratios: of all tried the one that repeats best, busy or not (lower
ones follow the disturbances of the reference); see docs/measuring.md (2026-11)."""

PROCESS_SPREAD = 0.01
"""Relative standard deviation between worker processes that measure the same file: memory is laid
out anew in each. Measured, see docs/measuring.md (2026-11)."""

BUSY_SPREAD = 0.005
"""Relative standard deviation that a measurement has on top while every run is preempted: what
other processes cost in caches and memory does not hit all models alike, and more rounds do not
help. It counts in proportion to the share of preempted runs. Measured, see docs/measuring.md
(2026-11)."""

STEADY_REFERENCE = 0.05
"""A round counts as steady if the references around a visit differ by less than this share."""

_BOOTSTRAPS = 400
_Z95 = 1.6448536269514722  # one-sided 95% of the normal distribution
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A latency in units of the reference.

    Attributes:
        value: the statistic of record.
        half_width: relative half-width of its own 90% interval (one-sided 95% each way).
        lower: a repetition's statistic lies above it with about 95% probability.
        upper: a repetition's statistic lies below it with about 95% probability.
        round_error: the part of it that more rounds would narrow, as a relative standard error.
        rounds_used: rounds that the value rests on.
    """

    value: float
    half_width: float
    round_error: float
    lower: float
    upper: float
    rounds_used: int


def usable_rounds(samples: Sequence[RoundSample]) -> list[RoundSample]:
    """Rounds in which nothing was preempted and the clock kept still; all, if those are too few.

    Args:
        samples: one model's rounds.

    Returns:
        The steady, undisturbed rounds where they are at least half of all; else the undisturbed
        ones where they are at least half; else every round.
    """
    undisturbed = [sample for sample in samples if sample.undisturbed]
    steady = [
        sample
        for sample in undisturbed
        if abs(sample.reference_after_ms / sample.reference_before_ms - 1.0) < STEADY_REFERENCE
    ]
    for chosen in (steady, undisturbed):
        if 2 * len(chosen) >= len(samples):
            return chosen
    return list(samples)


def relative_latency(samples: Sequence[RoundSample]) -> Estimate:
    """THE statistic of record, in units of the reference.

    The median, over rounds, of the model's visit divided by the reference's visits just before and
    after it. A visit counts with the lowest processor time of its runs. Why so:

    - the division removes the clock, which on shared machines moves by 1.7x within minutes;
    - processor time instead of wall time removes the time in which other processes held the core
      (with several threads only wall time is to be had, and undisturbed rounds are preferred);
    - the lowest of a visit's runs removes single disturbances;
    - the median removes disturbed rounds, whether the model was hit (ratio too high) or the
      reference (too low), and is the usual median latency on a quiet device.

    Its bounds hold for a repetition: another measurement of the same file, in other processes. They
    cover the spread of the rounds (bootstrap), of processes (`PROCESS_SPREAD`) and of a busy
    machine (`BUSY_SPREAD`), for both measurements.

    Args:
        samples: one model's rounds, at least one.

    Returns:
        The estimate with its bounds.

    Raises:
        InvalidSetting: there is no sample.
    """
    if not samples:
        raise InvalidSetting("a statistic needs at least one round; this model has none.")
    used = usable_rounds(samples)
    ratios = np.array([sample.ratio for sample in used])
    value = float(np.quantile(ratios, RATIO_QUANTILE))
    round_error = _standard_error(ratios) / value
    instances = len({sample.instance for sample in used})
    preempted = [count > 0 for sample in used for count in sample.preempted]
    deviation = math.hypot(
        round_error,
        PROCESS_SPREAD / math.sqrt(instances),
        BUSY_SPREAD * sum(preempted) / len(preempted),
    )
    half_width = _student95(len(ratios) - 1) * deviation
    reach = math.sqrt(2.0) * half_width  # the repetition has the same error
    return Estimate(
        value=value,
        half_width=half_width,
        round_error=round_error,
        lower=value / (1.0 + reach),
        upper=value * (1.0 + reach),
        rounds_used=len(used),
    )


def observed_quantile(runs_ms: Sequence[float], quantile: str) -> float:
    """A quantile of all runs as they were observed, disturbances included.

    Args:
        runs_ms: every recorded run.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds.

    Raises:
        InvalidSetting: another quantile, or no run.
    """
    share = parse_quantile(quantile)
    if not runs_ms:
        raise InvalidSetting("a quantile needs at least one run; there is none.")
    return float(np.quantile(np.asarray(runs_ms), share))


def observed_upper(runs_ms: Sequence[float], quantile: str) -> float:
    """One-sided 95% upper bound of an observed quantile, from order statistics.

    The k-th smallest of n independent runs lies above the quantile q with the probability that at
    most k - 1 of n runs fall below q (David & Nagaraja, Order Statistics, 3rd ed., section 7.1).

    Args:
        runs_ms: every recorded run.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds; infinity where the runs are too few for any bound (p50 needs 5 runs, p90
        needs 29, p99 needs 299).

    Raises:
        InvalidSetting: another quantile.
    """
    share = parse_quantile(quantile)
    ordered = np.sort(np.asarray(runs_ms, dtype=np.float64))
    count = len(ordered)
    if count == 0:
        return math.inf
    below = special.bdtr(np.arange(count), count, share)  # P(at most k runs below), k = 0..n-1
    reached = np.nonzero(below >= 0.95)[0]
    return float(ordered[reached[0]]) if len(reached) else math.inf


def parse_quantile(quantile: str) -> float:
    """Turns "p50", "p90" or "p99" into its share.

    Raises:
        InvalidSetting: another name.
    """
    if quantile not in _QUANTILES:
        raise InvalidSetting(
            f"quantile {quantile!r} is not offered; allowed: {', '.join(_QUANTILES)}. "
            f"Without one, the statistic of record ({STATISTIC}) counts."
        )
    return _QUANTILES[quantile]


def _standard_error(ratios: npt.NDArray[np.float64]) -> float:
    """Standard error of the quantile of the ratios, by a bootstrap with a fixed seed."""
    count = len(ratios)
    if count < 2:
        return math.inf
    picks = np.random.default_rng(count).integers(0, count, size=(_BOOTSTRAPS, count))
    estimates = np.quantile(ratios[picks], RATIO_QUANTILE, axis=1)
    return float(np.std(estimates)) * math.sqrt(count / (count - 1))


def _student95(freedom: int) -> float:
    """One-sided 95% factor of Student's distribution."""
    return float(special.stdtrit(freedom, 0.95)) if freedom > 0 else math.inf
