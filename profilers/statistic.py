"""The statistic of record: how raw samples become one latency with its bounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles import Noise
from profilers.errors import InvalidSetting
from profilers.samples import RoundSample

STATISTIC = "quiet-paired-ratio"
"""Name of the statistic of record; it stands wherever a latency is shown or saved."""

BUSY_SLOWDOWN = 1.1
"""A visit counts as quiet if the references around it took at most so much longer than their quiet
time."""

LEVEL_QUANTILE = 0.1
"""The machine's quiet speed is the one that it reaches in a tenth of its time: seldom enough for a
shared machine to show it, often enough to be no single lucky moment."""

MIN_QUIET_ROUNDS = 4
MIN_QUIET_SHARE = 0.15
"""A machine that is quiet in fewer rounds, or in a smaller share of visits, is measured as it is:
what it reaches less often than in a tenth of its time is not its quiet speed."""

MIN_SHIFT_ROUNDS = 2
MIN_SHIFTS = 8
"""So many models must have been seen on the quiet and on the busy machine, each in so many rounds,
for the others to be corrected by what they have in common."""

PRIOR_STRETCHES = 3.0
"""Stretches of a baseline that `Noise.baseline_spread` counts for (chosen, 2026)."""

_BOOTSTRAPS = 400
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Scale:
    """The reference's quiet time on a device: what turns ratios into milliseconds.

    Attributes:
        quiet_ms: Quiet time of the reference in milliseconds.
        upper_ms: Milliseconds that the reference's quiet time lies below in 95 of 100 other
            stretches of half a minute, as far as the device has shown (see `profilers.baseline`).

    Raises:
        InvalidSetting: A time that is not positive, or an upper end below it.
    """

    quiet_ms: float
    upper_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.quiet_ms <= self.upper_ms < math.inf):
            raise InvalidSetting(
                f"a quiet time of {self.quiet_ms} ms, at most {self.upper_ms}: both must be "
                "numbers of milliseconds above 0, the second at least the first, as "
                "load_or_record_baseline returns."
            )

    @property
    def reach(self) -> float:
        """How far `upper_ms` lies above `quiet_ms`, relative."""
        return self.upper_ms / self.quiet_ms - 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A latency in units of the reference.

    Attributes:
        value: Latency in units of the reference: the statistic of record.
        quiet_ms: The reference's time that `value` is in units of, in milliseconds: the quiet time
            asked for, or a longer one where the machine did not come near it.
        deviation: Relative standard error of `value`.
        half_width: Relative half-width of the 90% interval of `value` (one-sided 95% each way).
        lower: What the value of a repetition lies above with about 95% probability.
        upper: What the value of a repetition lies below with about 95% probability.
        round_error: Part of `deviation` that more rounds would narrow.
        rounds_used: Number of rounds that the value rests on.
        is_quiet: Whether the machine was quiet often enough, see `MIN_QUIET_SHARE`.
    """

    value: float
    quiet_ms: float
    deviation: float
    half_width: float
    round_error: float
    lower: float
    upper: float
    rounds_used: int
    is_quiet: bool

    @property
    def latency_ms(self) -> float:
        """Latency in milliseconds: the statistic of record."""
        return self.value * self.quiet_ms


def usable_samples(samples: Sequence[RoundSample]) -> list[RoundSample]:
    """Visits in which nothing was preempted where they are at least half of all; else all."""
    undisturbed = [sample for sample in samples if sample.undisturbed]
    return undisturbed if 2 * len(undisturbed) >= len(samples) else list(samples)


def count_rounds(samples: Sequence[RoundSample]) -> int:
    """The number of different rounds."""
    return len({sample.round for sample in samples})


def quiet_level(times_ms: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """The time that a tenth of some runs stays near: what a machine takes while it is quiet.

    The median of all that take at most `BUSY_SLOWDOWN` times their `LEVEL_QUANTILE`. On a machine
    with one speed that is near the median of all, on one that is slowed now and then the centre of
    its fast runs, however often these are, from a tenth of the time upwards.

    Args:
        times_ms: At least one.
        weights: Of each; None counts all alike.

    Returns:
        Milliseconds.
    """
    times = np.asarray(times_ms, dtype=np.float64)
    shares = np.ones(len(times)) if weights is None else np.asarray(weights, dtype=np.float64)
    near = times <= BUSY_SLOWDOWN * _weighted_quantile(times, shares, LEVEL_QUANTILE)
    return _weighted_quantile(times[near], shares[near], 0.5)


def _weighted_quantile(
    times: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], share: float
) -> float:
    order = np.argsort(times)
    reached = np.cumsum(weights[order]) >= share * weights.sum()
    return float(times[order][np.argmax(reached)])


def _by_round(samples: Sequence[RoundSample]) -> list[list[RoundSample]]:
    rounds: dict[int, list[RoundSample]] = {}
    for sample in samples:
        rounds.setdefault(sample.round, []).append(sample)
    return list(rounds.values())


def _reference_times(samples: Sequence[RoundSample]) -> list[float]:
    """The reference's visits around some samples; most are around two, and stand here twice."""
    return [t for one in samples for t in (one.reference_before_ms, one.reference_after_ms)]


def quiet_rounds(
    samples: Sequence[RoundSample], quiet_ms: float
) -> tuple[list[list[RoundSample]], list[list[RoundSample]]]:
    """One model's rounds on the quiet and on the busy machine.

    A visit was quiet if the reference was both before and after it. Of a round with such visits
    only they are kept: where the speed changes within a round, the others belong to neither speed.
    """
    quiet: list[list[RoundSample]] = []
    busy: list[list[RoundSample]] = []
    for one in _by_round(samples):
        limit_ms = BUSY_SLOWDOWN * quiet_ms
        kept = [s for s in one if max(s.reference_before_ms, s.reference_after_ms) <= limit_ms]
        (quiet if kept else busy).append(kept or one)
    return quiet, busy


def reached_level(samples: Sequence[RoundSample], quiet_ms: float) -> float:
    """The speed that the machine reached often enough while a model was measured.

    Args:
        samples: One model's visits, at least one.
        quiet_ms: The reference's quiet time.

    Returns:
        The least time of the reference, in ms, `quiet_ms` or more, by which `quiet_rounds` finds
        `MIN_QUIET_ROUNDS` and `MIN_QUIET_SHARE` of the visits quiet. `quiet_ms` itself where the
        machine was quiet often enough.
    """
    rounds = min(MIN_QUIET_ROUNDS, count_rounds(samples))
    ordered = sorted(samples, key=lambda one: max(one.reference_before_ms, one.reference_after_ms))
    seen: set[int] = set()
    for count, one in enumerate(ordered, 1):
        seen.add(one.round)
        if count >= MIN_QUIET_SHARE * len(ordered) and len(seen) >= rounds:
            break
    slowest = max(one.reference_before_ms, one.reference_after_ms)
    # A hair more, so that this visit is quiet by `quiet_rounds` whatever is rounded.
    return max(quiet_ms, (1.0 + 1e-12) * slowest / BUSY_SLOWDOWN)


def relative_latency(
    samples: Sequence[RoundSample], quiet_ms: float | None = None, *, noise: Noise
) -> Estimate:
    """THE statistic of record, in units of the reference on the quiet machine.

    The median of (visit / reference around it) over the visits of the rounds in which the machine
    was quiet. Why so:

    - the division removes the clock, which on shared machines moves by 1.7x within minutes, and
      most of what a neighbour on the same core does, as long as it lasts longer than a visit;
    - but not all of it: a neighbour slows networks and the reference by different factors, so that
      ratios of the busy machine say nothing of the quiet one to better than some percent: only
      rounds at the quiet speed count. Where these are too few, the value is that of the quietest
      speed which enough of them did reach, `Estimate.quiet_ms`, and no other is made up;
    - processor time instead of wall time removes the time in which other processes held the core
      (with several threads only wall time is to be had, and undisturbed visits are preferred);
    - medians remove disturbances, whether the model was hit (ratio too high) or the reference
      (too low), and are the usual median latency on a quiet device.

    Its bounds hold for a repetition: another measurement of the same file, in other processes. They
    cover the spread of the rounds' medians (bootstrap; visits of one round are not independent) and
    of processes (`Noise.process_spread`), for both measurements.

    Args:
        samples: One model's visits, at least one.
        quiet_ms: The reference's recorded quiet time; None takes the one seen in these samples.
        noise: Of the device.

    Returns:
        The estimate with its bounds.

    Raises:
        InvalidSetting: There is no sample.
    """
    if not samples:
        raise InvalidSetting("a statistic needs at least one round; this model has none.")
    used = usable_samples(samples)
    seen_ms = quiet_level(_reference_times(used))
    asked_ms = seen_ms if quiet_ms is None else quiet_ms
    reached_ms = reached_level(used, asked_ms)
    is_quiet = reached_ms == asked_ms
    # Where the machine kept a speed of its own, all rounds at that speed count, not the least
    # number that is enough.
    level_ms = asked_ms if is_quiet else max(reached_ms, seen_ms)
    spread = 0.0 if is_quiet or seen_ms >= reached_ms else noise.busy_spread
    chosen, _ = quiet_rounds(used, level_ms)
    samples = [sample for one in chosen for sample in one]
    # A machine that has become a little slower than its record still counts as quiet, but what
    # ran on it did not run faster than it did.
    level_ms = max(level_ms, float(np.median([one.reference_ms for one in samples])))
    ratios = [_round_ratio(one) for one in chosen]
    return _estimate(samples, ratios, level_ms, noise.process_spread, spread, is_quiet)


def pooled_latencies(
    samples: Mapping[str, Sequence[RoundSample]], quiet_ms: float, *, noise: Noise
) -> dict[str, Estimate]:
    """The statistic of record of models of one kind, all at the same quiet speed.

    A model that met the quiet machine in too few rounds is corrected by what the busy machine did,
    in the median, to the models that were seen on both: those of one precision are slowed nearly
    alike. Where too few models were, ratios of the busy machine stand for those of the quiet one,
    with `Noise.busy_spread` in their errors. Such values are for latency tables, which need one
    speed for all; a single file is measured until the machine is quiet, see `relative_latency`.

    Args:
        samples: Every model's visits in one measurement.
        quiet_ms: The reference's quiet time.
        noise: Of the device.

    Returns:
        An estimate for each.
    """
    parts = {
        name: [[_round_ratio(one) for one in part] for part in quiet_rounds(own, quiet_ms)]
        for name, own in ((name, usable_samples(one)) for name, one in samples.items())
    }
    shifts = [
        math.log(float(np.median(quiet)) / float(np.median(busy)))
        for quiet, busy in parts.values()
        if min(len(quiet), len(busy)) >= MIN_SHIFT_ROUNDS
    ]
    shift, spread = 0.0, noise.busy_spread
    if len(shifts) >= MIN_SHIFTS:
        shift = float(np.median(shifts))
        spread = 1.4826 * float(np.median(np.abs(np.asarray(shifts) - shift)))
    found = {}
    for name, one in samples.items():
        used = usable_samples(one)
        if reached_level(used, quiet_ms) == quiet_ms:
            found[name] = relative_latency(one, quiet_ms, noise=noise)
            continue
        quiet, busy = parts[name]
        ratios = [*quiet, *(ratio * math.exp(shift) for ratio in busy)]
        share = len(busy) / len(ratios)
        value = float(np.median(ratios))
        found[name] = _estimate(
            used, ratios, quiet_ms, noise.process_spread, share * spread, False, value
        )
    return found


def _round_ratio(samples: Sequence[RoundSample]) -> float:
    return float(statistics.median(sample.ratio for sample in samples))


def _estimate(
    samples: Sequence[RoundSample],
    ratios: Sequence[float],
    quiet_ms: float,
    process_spread: float,
    spread: float,
    is_quiet: bool,
    value: float | None = None,
) -> Estimate:
    """An estimate with its bounds.

    Args:
        samples: What it rests on.
        ratios: The median ratio of every round.
        quiet_ms: See `Estimate`.
        process_spread: See `Noise`.
        spread: Relative standard deviation that it has on top.
        is_quiet: See `Estimate`.
        value: None takes the median ratio of the samples.
    """
    if value is None:
        value = _round_ratio(samples)
    round_error = _standard_error(np.array(ratios)) / value
    instances = len({sample.instance for sample in samples})
    deviation = math.hypot(round_error, process_spread / math.sqrt(instances), spread)
    half_width = student95(len(ratios) - 1) * deviation
    reach = math.sqrt(2.0) * half_width  # the repetition has the same error
    return Estimate(
        value=value,
        quiet_ms=quiet_ms,
        deviation=deviation,
        half_width=half_width,
        lower=value / (1.0 + reach),
        upper=value * (1.0 + reach),
        round_error=round_error,
        rounds_used=len(ratios),
        is_quiet=is_quiet,
    )


def observed_quantile(runs_ms: Sequence[float], quantile: str) -> float:
    """A quantile of all runs as they were observed, disturbances included.

    Args:
        runs_ms: Every recorded run.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds.

    Raises:
        InvalidSetting: Another quantile, or no run.
    """
    share = parse_quantile(quantile)
    if not runs_ms:
        raise InvalidSetting("a quantile needs at least one run; there is none.")
    return float(np.quantile(np.asarray(runs_ms), share))


def weighted_quantile(runs_ms: Sequence[float], weights: Sequence[float], quantile: str) -> float:
    """A quantile of runs of which some count for more than others: the least run that reaches it.

    Args:
        runs_ms: Every run, at least one.
        weights: What each counts for.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds.

    Raises:
        InvalidSetting: Another quantile.
    """
    share = parse_quantile(quantile)
    return _weighted_quantile(np.asarray(runs_ms), np.asarray(weights), share)


def observed_upper(runs_ms: Sequence[float], quantile: str) -> float:
    """One-sided 95% upper bound of an observed quantile, from order statistics.

    The k-th smallest of n independent runs lies above the quantile q with the probability that at
    most k - 1 of n runs fall below q (David & Nagaraja, Order Statistics, 3rd ed., section 7.1).

    Args:
        runs_ms: Independent runs: one of each visit, see `visits_upper`.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds; infinity where the runs are too few for any bound (p50 needs 5 runs, p90
        needs 29, p99 needs 299).

    Raises:
        InvalidSetting: Another quantile.
    """
    from scipy import special  # a fifth of a second to import

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
        samples: One model's visits.
        quantile: "p50", "p90" or "p99".

    Returns:
        Milliseconds; infinity with too few visits (p50 needs 5, p90 needs 29, p99 needs 299).

    Raises:
        InvalidSetting: Another quantile.
    """
    bound = observed_upper([sample.runs_ms[0] for sample in samples], quantile)
    if math.isinf(bound):
        return bound
    runs = [run for sample in samples for run in sample.runs_ms]
    return max(bound, observed_quantile(runs, quantile))


def parse_quantile(quantile: str) -> float:
    """Turns "p50", "p90" or "p99" into its share.

    Raises:
        InvalidSetting: Another name.
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


def stretches_reach(noise: Noise, count: int = 1, squares: float = 0.0) -> float:
    """How far another stretch of a baseline may lie above the mean of some, as a logarithm.

    The upper end of a one-sided 95% prediction by Student's t, whose variance starts from
    `Noise.baseline_spread` (a scaled inverse chi-squared prior: Gelman et al., Bayesian Data
    Analysis, 3rd ed., section 2.6).

    Args:
        noise: Of the device.
        count: Stretches that were seen.
        squares: Sum of the squares of their deviations from their mean, of logarithms.
    """
    freedom = PRIOR_STRETCHES + count - 1
    spread = math.sqrt((PRIOR_STRETCHES * noise.baseline_spread**2 + squares) / freedom)
    return student95(freedom) * spread * math.sqrt(1 + 1 / count)


def student95(freedom: float) -> float:
    """One-sided 95% factor of Student's distribution; infinite without a degree of freedom."""
    from scipy import special  # a fifth of a second to import

    return float(special.stdtrit(freedom, 0.95)) if freedom > 0 else math.inf
