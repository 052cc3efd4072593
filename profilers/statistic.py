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

STATISTIC = "paired-ratio-median"
"""Name of the statistic of record; it stands wherever a latency is shown or saved."""

PROCESS_SPREAD = 0.01
"""Relative standard deviation between worker processes that measure the same file: memory is laid
out anew in each. Measured, see docs/measuring.md (2026-11)."""

BUSY_SPREAD = 0.025
"""Relative standard deviation that a measurement has on top while the reference is never at its
quiet speed: what shares the core or its caches does not slow all models alike, and more rounds do
not help. It counts in proportion to `busy_share`. Measured, see docs/measuring.md (2026-11)."""

BUSY_SLOWDOWN = 1.1
"""A visit counts as busy if the reference around it took so much longer than when quiet."""

QUIET_QUANTILE = 0.05
"""The reference is at its quiet speed in its fastest visits: fast, but not a single lucky one."""

_BOOTSTRAPS = 400
_Z95 = 1.6448536269514722  # one-sided 95% of the normal distribution
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A latency in units of the reference.

    Attributes:
        value: the statistic of record.
        deviation: its relative standard error.
        half_width: relative half-width of its own 90% interval (one-sided 95% each way).
        lower: a repetition's statistic lies above it with about 95% probability.
        upper: a repetition's statistic lies below it with about 95% probability.
        round_error: the part of `deviation` that more rounds would narrow.
        rounds_used: rounds that the value rests on.
    """

    value: float
    deviation: float
    half_width: float
    round_error: float
    lower: float
    upper: float
    rounds_used: int


def usable_samples(samples: Sequence[RoundSample]) -> list[RoundSample]:
    """Visits in which nothing was preempted where they are at least half of all; else all."""
    undisturbed = [sample for sample in samples if sample.undisturbed]
    return undisturbed if 2 * len(undisturbed) >= len(samples) else list(samples)


def count_rounds(samples: Sequence[RoundSample]) -> int:
    """The number of different rounds."""
    return len({sample.round for sample in samples})


def _round_ratios(samples: Sequence[RoundSample]) -> npt.NDArray[np.float64]:
    """The median ratio of every round, (rounds,)."""
    by_round: dict[int, list[float]] = {}
    for sample in samples:
        by_round.setdefault(sample.round, []).append(sample.ratio)
    return np.array([np.median(ratios) for ratios in by_round.values()])


def _busy_share(samples: Sequence[RoundSample]) -> float:
    """Share of visits around which the reference was slower than when quiet."""
    reference = np.array([sample.reference_ms for sample in samples])
    quiet = np.quantile(reference, QUIET_QUANTILE)
    return float(np.mean(reference > BUSY_SLOWDOWN * quiet))


def relative_latency(samples: Sequence[RoundSample]) -> Estimate:
    """THE statistic of record, in units of the reference.

    The median over all visits of (visit / reference around it). Why so:

    - the division removes the clock, which on shared machines moves by 1.7x within minutes, and
      most of what a neighbour on the same core does, as long as it lasts longer than a visit;
    - processor time instead of wall time removes the time in which other processes held the core
      (with several threads only wall time is to be had, and undisturbed visits are preferred);
    - medians remove disturbances, whether the model was hit (ratio too high) or the reference
      (too low), and are the usual median latency on a quiet device.

    Its bounds hold for a repetition: another measurement of the same file, in other processes. They
    cover the spread of the rounds' medians (bootstrap; visits of one round are not independent), of
    processes (`PROCESS_SPREAD`) and of a busy machine (`BUSY_SPREAD`), for both measurements.

    Args:
        samples: one model's visits, at least one.

    Returns:
        The estimate with its bounds.

    Raises:
        InvalidSetting: there is no sample.
    """
    if not samples:
        raise InvalidSetting("a statistic needs at least one round; this model has none.")
    used = usable_samples(samples)
    value = float(np.median([sample.ratio for sample in used]))
    ratios = _round_ratios(used)
    round_error = _standard_error(ratios) / value
    instances = len({sample.instance for sample in used})
    deviation = math.hypot(
        round_error,
        PROCESS_SPREAD / math.sqrt(instances),
        BUSY_SPREAD * _busy_share(used),
    )
    half_width = student95(len(ratios) - 1) * deviation
    reach = math.sqrt(2.0) * half_width  # the repetition has the same error
    return Estimate(
        value=value,
        deviation=deviation,
        half_width=half_width,
        round_error=round_error,
        lower=value / (1.0 + reach),
        upper=value * (1.0 + reach),
        rounds_used=len(ratios),
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
        runs_ms: independent runs: one of each visit, see `visits_upper`.
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


def visits_upper(samples: Sequence[RoundSample], quantile: str) -> float:
    """One-sided 95% upper bound of an observed quantile of one model's visits.

    Runs in a row within a visit meet the same clock, the same caches and the same neighbour:
    they are no independent runs. So the first recorded run of each visit counts for the bound,
    though the observed quantile is one of all runs; the bound is never below it.

    Args:
        samples: one model's visits.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds; infinity with too few visits (p50 needs 5, p90 needs 29, p99 needs 299).

    Raises:
        InvalidSetting: another quantile.
    """
    bound = observed_upper([sample.runs_ms[0] for sample in samples], quantile)
    if math.isinf(bound):
        return bound
    runs = [run for sample in samples for run in sample.runs_ms]
    return max(bound, observed_quantile(runs, quantile))


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
    """Standard error of the median of the ratios, by a bootstrap with a fixed seed."""
    count = len(ratios)
    if count < 2:
        return math.inf
    picks = np.random.default_rng(count).integers(0, count, size=(_BOOTSTRAPS, count))
    estimates = np.median(ratios[picks], axis=1)
    return float(np.std(estimates)) * math.sqrt(count / (count - 1))


def student95(freedom: int) -> float:
    """One-sided 95% factor of Student's distribution; infinite without a degree of freedom."""
    return float(special.stdtrit(freedom, 0.95)) if freedom > 0 else math.inf
