"""How a measurement is taken: interleaved rounds, a reference around every visit, a stopping rule.

It drives anything that can load and visit a model, so tests drive it with a synthetic clock.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from device_profiles import Noise
from profilers.devices.base import Heating, Worker
from profilers.errors import DeviceLost, DeviceUnreachable, InvalidSetting
from profilers.heating import SustainedLoad
from profilers.jobs import ModelJob
from profilers.samples import RoundSample, Step, Visit, pair_with_reference
from profilers.statistic import (
    BUSY_SLOWDOWN,
    count_rounds,
    parse_quantile,
    quiet_level,
    relative_latency,
    visits_upper,
)

DRIFT_LIMIT = 1.1
"""The reference's slow visits over its fast ones; above it the clock moved (chosen, 2026)."""

BUSY_LIMIT = 0.2
"""Share of disturbed visits of the reference above which the machine counts as busy (chosen,
2026)."""

QUANTILE_PATIENCE = 5.0
"""Times `max_seconds` that a measurement may take where a quantile still lacks its bound. The p99
needs 299 visits, 100 rounds of three: about three times `max_rounds`, which mostly fit into
`max_seconds`; the rest is room for a busy machine (chosen, 2026)."""

QUIET_PATIENCE_S = 30.0
"""So long a measurement that has its rounds goes on where the machine was not quiet in enough of
them (chosen, 2026: on two shared cores a neighbour worked for up to half a minute at a time)."""

QUIET_PAUSE_S = 1.0
"""Between two rounds of a measurement that only waits for a quiet machine (chosen, 2026)."""

LOST_PATIENCE_S = 300.0
LOST_PAUSE_S = 2.0
"""A device that is lost in the middle of a measurement (a cable is pulled) is looked for so long,
and at such intervals, before the measurement gives up (chosen, 2026)."""

REST_PATIENCE_S = 180.0
REST_PAUSE_S = 5.0
"""A device that has heated up rests so long before a round at most, and is looked at in such
intervals (chosen, 2026)."""

MOST_LOST = 3
"""A device that is lost so often before a round is finished is not waited for again."""

_MOST_RUNS = 32  # of a short model in one visit
_NEGLIGIBLE = 0.2  # share of a half-width that a standard error of rounds may have
_LEAST_ROUNDS = 3  # no bound can be computed from fewer


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a measurement.

    Attributes:
        min_rounds: Rounds that every model gets at least.
        max_rounds: Rounds that a model gets at most, but for those that `quantile` needs, and those
            that it takes until the machine is quiet, for `QUIET_PATIENCE_S` at most.
        visits_per_round: Visits of a model in a round, each between two visits of the reference.
        min_visit_ms: Milliseconds that a visit takes at least: a visit is one run, but short models
            run in a row until about so long is over (32 runs at most), and their median counts.
        warmup_runs: Unrecorded runs of a model before its visits; they bring the weights back into
            the caches.
        reference_warmup_runs: Unrecorded runs of the reference before each of its visits: so many
            that it runs alike after a large model and after a small one (docs/measuring.md).
        target_half_width: Relative half-width of an estimate below which its model is done.
        max_seconds: Seconds after which no new round begins (three are always taken); where
            `quantile` still lacks its bound, `QUANTILE_PATIENCE` times as many.
        rounds_per_instance: Rounds after which a fresh worker process takes over. Memory is laid
            out anew in each, which alone changes a model's speed, relative to the reference, by
            about a percent; four processes halve that.
        reference_copies: Copies of the reference that are loaded and visited in turn, since where a
            copy lies in memory alone changes its speed by about half a percent.
        quantile: Quantile of all runs whose upper bound is wanted, "p50", "p90" or "p99": models
            also wait for the visits that it needs (see `visits_upper`). None waits for no quantile.
        seed: Seed of the order of visits and of the values of inputs.

    Raises:
        InvalidSetting: A number out of its range.
    """

    min_rounds: int = 12
    max_rounds: int = 36
    visits_per_round: int = 3
    min_visit_ms: float = 2.0
    warmup_runs: int = 1
    reference_warmup_runs: int = 4
    target_half_width: float = 0.01
    max_seconds: float = 120.0
    rounds_per_instance: int = 3
    reference_copies: int = 4
    quantile: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {
            "min_rounds": _LEAST_ROUNDS,
            "max_rounds": self.min_rounds,
            "visits_per_round": 1,
            "warmup_runs": 0,
            "reference_warmup_runs": 0,
            "rounds_per_instance": 1,
            "reference_copies": 1,
            "seed": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} = {getattr(self, name)}; it must be {least} or more.")
        for name in ("target_half_width", "max_seconds", "min_visit_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidSetting(f"{name} = {value}; it must be a number of 0 or more.")
        if self.quantile is not None:
            parse_quantile(self.quantile)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Round:
    """One round as it ran.

    Attributes:
        index: Number of the round in the measurement, counted from 0.
        instance: Number of the worker process that the round ran in, counted from 0.
        visits: All visits of the round in order; every model's are between two of the reference.
    """

    index: int
    instance: int
    visits: tuple[Visit, ...]


def samples_by_name(
    rounds: Sequence[Round], names: Sequence[str], reference: str
) -> dict[str, list[RoundSample]]:
    """Collects each model's samples out of the rounds.

    Args:
        rounds: Complete rounds.
        names: The models wanted; others are left out.
        reference: The reference's name.

    Returns:
        For each name its samples in the order of rounds.
    """
    samples: dict[str, list[RoundSample]] = {name: [] for name in names}
    for one in rounds:
        paired = pair_with_reference(
            one.visits, reference=reference, round_index=one.index, instance=one.instance
        )
        for name, found in paired.items():
            if name in samples:
                samples[name].extend(found)
    return samples


def is_converged(
    samples: Sequence[RoundSample],
    protocol: Protocol,
    quiet_ms: float | None = None,
    *,
    noise: Noise,
) -> bool:
    """Whether one model's estimate is as narrow as the protocol wants it, on the quiet machine.

    Args:
        samples: The model's visits so far.
        protocol: How narrow it must be.
        quiet_ms: Of the reference, by the device's baseline; None where there is none.
        noise: Of the device.
    """
    estimate = relative_latency(samples, quiet_ms, noise=noise)
    return estimate.is_quiet and estimate.half_width <= protocol.target_half_width


def is_done(
    samples: Sequence[RoundSample],
    protocol: Protocol,
    quiet_ms: float | None = None,
    *,
    noise: Noise,
) -> bool:
    """The stopping rule for one model.

    Enough rounds on the quiet machine, and the estimate is narrow enough, or what keeps it wide
    (processes) is nothing that more rounds would narrow.

    Args:
        samples: See `is_converged`.
        protocol: See there; also the least number of rounds, and the quantile that is asked for.
        quiet_ms: See there.
        noise: See there.
    """
    if count_rounds(samples) < protocol.min_rounds:
        return False
    estimate = relative_latency(samples, quiet_ms, noise=noise)
    exhausted = estimate.round_error <= _NEGLIGIBLE * estimate.half_width
    narrow = estimate.half_width <= protocol.target_half_width or exhausted
    return estimate.is_quiet and narrow and _quantile_bounded(samples, protocol)


def _quantile_bounded(samples: Sequence[RoundSample], protocol: Protocol) -> bool:
    """Whether the visits are enough for an upper bound of the quantile asked for, if any."""
    return protocol.quantile is None or math.isfinite(visits_upper(samples, protocol.quantile))


def run_rounds(
    open_worker: Callable[[], Worker],
    jobs: Sequence[ModelJob],
    reference: ModelJob,
    protocol: Protocol,
    *,
    noise: Noise,
    quiet_ms: float | None = None,
    earlier: Sequence[Round] = (),
    keep_loaded: bool = True,
    load: SustainedLoad | None = None,
    on_round: Callable[[Round], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[Round]:
    """Visits all models in interleaved rounds until each is done or the limits are reached.

    Args:
        open_worker: Starts a fresh worker; it is closed here.
        jobs: The models, with different names.
        reference: The reference network.
        protocol: The settings.
        noise: Of the device.
        quiet_ms: The reference's recorded quiet time; None takes the one that it shows here.
        earlier: Rounds of an interrupted measurement, which count as taken.
        keep_loaded: Models stay loaded between rounds; otherwise each is loaded for its visit.
        load: Under which the device is kept before its rounds; it rests between none of them then.
            None lets it rest where it has heated up.
        on_round: Called with every finished round.
        progress: Called after every visit with (units done, units in all, message); more units
            may be needed than `min_rounds` per model, then the last ones wait.
        clock: Seconds, for `max_seconds`.
        pause: Waits for so many seconds, see `QUIET_PAUSE_S`.

    Returns:
        `earlier` and the new rounds.

    Raises:
        DeviceLost: The device was lost and did not come back, see `LOST_PATIENCE_S`.
        ProfilerError: Whatever else the worker raises; rounds given to `on_round` are complete.
    """
    begin = clock()
    rounds = list(earlier)
    names = [job.name for job in jobs]
    samples = samples_by_name(rounds, names, reference.name)
    instance = 1 + max((one.instance for one in rounds), default=-1)
    total = protocol.min_rounds * len(jobs)

    def has_its_rounds(name: str) -> bool:
        """Whether a model that is not done only waits for the machine to be quiet."""
        enough = count_rounds(samples[name]) >= protocol.max_rounds
        return enough and _quantile_bounded(samples[name], protocol)

    def is_finished(name: str) -> bool:
        if is_done(samples[name], protocol, quiet_ms, noise=noise):
            return True
        if not has_its_rounds(name):
            return False
        return relative_latency(samples[name], quiet_ms, noise=noise).is_quiet

    def unfinished() -> list[ModelJob]:
        return [job for job in jobs if not is_finished(job.name)]

    def out_of_time() -> bool:
        if min(map(count_rounds, samples.values()), default=0) < _LEAST_ROUNDS:
            return False
        bounded = all(_quantile_bounded(found, protocol) for found in samples.values())
        patience = 1.0 if bounded else QUANTILE_PATIENCE
        return clock() - begin >= patience * protocol.max_seconds

    waiting_since: float | None = None

    def out_of_patience() -> bool:
        """Whether all models that are left have waited long enough for the machine to be quiet."""
        return waiting_since is not None and clock() - waiting_since >= QUIET_PATIENCE_S

    def units(waiting: Sequence[ModelJob]) -> int:
        """Units done by complete rounds; a model that waits keeps one back."""
        left = {job.name for job in waiting}
        return sum(
            min(count_rounds(found), protocol.min_rounds - 1)
            if name in left
            else protocol.min_rounds
            for name, found in samples.items()
        )

    def report(done: int, models: int, index: int, visited: int, note: str = "") -> None:
        if progress is not None:
            message = note or f"round {index + 1}, {models} of {len(jobs)} models done"
            progress(min(done + visited, total), total, message)

    lost: _Lost | None = None

    def opened() -> Worker:
        """A fresh worker, once the device is back if it was lost; that time does not count."""
        nonlocal begin, waiting_since, lost
        if lost is None:
            try:
                return open_worker()
            except DeviceLost as error:
                if not rounds:  # it was never there
                    raise
                lost = _Lost(error)
        since = clock()
        report(done, len(jobs) - len(active), len(rounds), 0, "the device is lost: waiting for it")
        worker = lost.wait(open_worker, clock, pause)
        begin += clock() - since
        waiting_since = None
        return worker

    def rest(worker: Worker) -> None:
        """Lets a device that has heated up cool down; that time does not count."""
        nonlocal begin
        since = clock()
        while isinstance(worker, Heating) and clock() - since < REST_PATIENCE_S:
            if (why := worker.why_rest()) is None:
                break
            note = f"waiting for the device to cool down: {why}"
            report(done, len(jobs) - len(active), len(rounds), 0, note)
            pause(REST_PAUSE_S)
        begin += clock() - since

    def heat_up(worker: Worker) -> None:
        """Keeps the device under load; that time does not count."""
        nonlocal begin
        if load is not None:
            since = clock()
            load.heat_up(worker, reference.name, clock, progress)
            begin += clock() - since

    active = unfinished()
    done = units(active)
    while active and not out_of_time() and not out_of_patience():
        worker = opened()
        try:
            for copy in _reference_copies(reference, protocol):
                worker.load(copy, protocol.seed)
            if keep_loaded:
                for job in active:
                    worker.load(job, protocol.seed)
            heat_up(worker)
            for _ in range(protocol.rounds_per_instance):
                if all(has_its_rounds(job.name) for job in active):
                    waiting_since = clock() if waiting_since is None else waiting_since
                    if out_of_patience():
                        break
                    pause(QUIET_PAUSE_S)
                if load is None:
                    rest(worker)
                index = 1 + max((one.index for one in rounds), default=-1)
                visits = _one_round(
                    worker,
                    active,
                    reference,
                    protocol,
                    index,
                    {name: found[-1].median_ms for name, found in samples.items() if found},
                    keep_loaded,
                    functools.partial(report, done, len(jobs) - len(active), index),
                )
                if load is not None:
                    load.measured(worker, visits[-1], clock())
                finished = Round(index, instance, tuple(visits))
                if on_round is not None:
                    on_round(finished)
                rounds.append(finished)
                for name, found in samples_by_name([finished], names, reference.name).items():
                    samples[name].extend(found)
                active = unfinished()
                done = units(active)
                report(done, len(jobs) - len(active), index, 0)
                lost = None
                if not active or out_of_time():
                    break
        except DeviceLost as error:
            lost = _Lost(error) if lost is None else lost.again()
        finally:
            worker.close()
        instance += 1
    return rounds


@dataclass(frozen=True, slots=True)
class _Lost:
    """A device that was lost.

    Attributes:
        error: What was said when it was.
        times: How often it was since a round was last finished.
    """

    error: DeviceLost
    times: int = 1

    def again(self) -> _Lost:
        """Lost once more before a round was finished.

        Raises:
            DeviceLost: It is lost again and again.
        """
        if self.times >= MOST_LOST:
            raise self.error
        return replace(self, times=self.times + 1)

    def wait(
        self,
        open_worker: Callable[[], Worker],
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> Worker:
        """A worker on the device once it is back.

        Raises:
            DeviceLost: It did not come back in `LOST_PATIENCE_S`.
        """
        since = clock()
        while True:
            pause(LOST_PAUSE_S)
            try:
                return open_worker()
            except DeviceUnreachable:
                if clock() - since >= LOST_PATIENCE_S:
                    raise self.error from None


def _one_round(
    worker: Worker,
    jobs: Sequence[ModelJob],
    reference: ModelJob,
    protocol: Protocol,
    index: int,
    known_ms: Mapping[str, float],
    keep_loaded: bool,
    on_visit: Callable[[int], None],
) -> list[Visit]:
    """Visits every job in random order, each of its visits between two of the reference."""
    copies = itertools.cycle(_reference_copies(reference, protocol))
    for _ in range(index % protocol.reference_copies):
        next(copies)

    def steps(name: str) -> Iterator[Step]:
        runs = math.ceil(protocol.min_visit_ms / known_ms[name]) if name in known_ms else 1
        yield Step(name, protocol.warmup_runs, 0)
        yield Step(next(copies).name, protocol.reference_warmup_runs, 1)
        for _ in range(protocol.visits_per_round):
            yield Step(name, 0, max(1, min(_MOST_RUNS, runs)))
            yield Step(next(copies).name, protocol.reference_warmup_runs, 1)

    order = np.random.default_rng([protocol.seed, index]).permutation(len(jobs))
    visits: list[Visit] = []
    for count, position in enumerate(order, start=1):
        job = jobs[int(position)]
        if not keep_loaded:
            worker.load(job, protocol.seed)
        for visit in worker.visit(list(steps(job.name))):
            name = visit.name if visit.name == job.name else reference.name
            visits.append(replace(visit, name=name))
        if not keep_loaded:
            worker.unload(job.name)
        on_visit(count)
    return visits


def _reference_copies(reference: ModelJob, protocol: Protocol) -> list[ModelJob]:
    """The reference under as many names as it is loaded; the first is its own."""
    more = (f"{reference.name}-{i}" for i in range(2, protocol.reference_copies + 1))
    return [reference, *(replace(reference, name=name) for name in more)]


def quiet_reference_ms(visits: Sequence[Visit]) -> float:
    """The reference's quiet time as some visits show it, in milliseconds: see `quiet_level`.

    Args:
        visits: The reference's visits, at least one.
    """
    return quiet_level([visit.median_ms for visit in visits])


def drift_ratio(visits: Sequence[Visit]) -> float:
    """How far speed moved: the reference's slow (90%) against its fast (10%) visits."""
    fast, slow = np.quantile([visit.median_ms for visit in visits], [0.1, 0.9])
    return float(slow / fast)


def busy_share(visits: Sequence[Visit]) -> float:
    """Share of the reference's visits preempted, or `BUSY_SLOWDOWN` over its quiet time."""
    limit = BUSY_SLOWDOWN * quiet_reference_ms(visits)
    return sum(not one.undisturbed or one.median_ms > limit for one in visits) / len(visits)
