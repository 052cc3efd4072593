"""How a measurement is taken: interleaved rounds, a reference beside every visit, a stopping rule.

It drives anything that can load and visit a model, so tests drive it with a synthetic clock.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from profilers.errors import InvalidSetting
from profilers.jobs import ModelJob
from profilers.samples import RoundSample, Visit, pair_with_reference
from profilers.statistic import observed_upper, parse_quantile, relative_latency

DRIFT_LIMIT = 1.1
"""The reference's slow visits over its fast ones; above it the clock moved (chosen, 2026)."""

BUSY_LIMIT = 0.1
"""Share of disturbed runs above which the machine counts as busy (chosen, 2026)."""

_DISTURBED = 1.25  # a run this much slower than the lowest of its visit was disturbed
_MOST_RUNS = 32  # of a short model in one visit
_NEGLIGIBLE = 0.2  # share of a half-width that a standard error of rounds may have
_LEAST_ROUNDS = 3  # no bound can be computed from fewer


class Session(typing.Protocol):
    """Something in which models are loaded and visited; `profilers.targets.Target` is one."""

    def load(self, job: ModelJob, seed: int) -> None:
        """Loads a model under its job's name."""

    def visit(self, name: str, warmup: int, runs: int) -> Visit:
        """Runs a loaded model `warmup` + `runs` times in a row."""

    def unload(self, name: str) -> None:
        """Drops a model."""

    def close(self) -> None:
        """Ends the session."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a measurement.

    Attributes:
        min_rounds: no model is done before so many rounds.
        max_rounds: no model gets more.
        inner_runs: recorded runs per visit at least, the lowest of which counts.
        min_visit_ms: short models get more runs, until a visit takes about so long (32 at most).
        warmup_runs: unrecorded runs before them; they bring the weights back into the caches.
        target_half_width: a model is done when its estimate's relative half-width is below.
        max_seconds: no new round begins after so many seconds (three are always taken).
        rounds_per_instance: after so many rounds a fresh worker process takes over. Memory is laid
            out anew in each, which alone changes a model's speed, relative to the reference, by
            about a percent; four processes halve that.
        reference_every_ms: the reference is visited again after so many milliseconds of visits.
        reference_runs: recorded runs per visit of the reference.
        reference_copies: the reference is loaded so many times and its copies are visited in turn,
            since where a copy lies in memory alone changes its speed by about half a percent.
        quantile: "p50", "p90" or "p99" makes a model also wait until that quantile of its observed
            runs has an upper bound; None does not.
        seed: for the order of visits and the values of inputs.

    Raises:
        InvalidSetting: a number out of its range.
    """

    min_rounds: int = 12
    max_rounds: int = 60
    inner_runs: int = 3
    min_visit_ms: float = 8.0
    warmup_runs: int = 1
    target_half_width: float = 0.01
    max_seconds: float = 120.0
    rounds_per_instance: int = 3
    reference_every_ms: float = 50.0
    reference_runs: int = 3
    reference_copies: int = 4
    quantile: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {
            "min_rounds": _LEAST_ROUNDS,
            "max_rounds": self.min_rounds,
            "inner_runs": 1,
            "warmup_runs": 0,
            "rounds_per_instance": 1,
            "reference_runs": 1,
            "reference_copies": 1,
            "seed": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} = {getattr(self, name)}; it must be {least} or more.")
        for name in ("target_half_width", "max_seconds", "reference_every_ms", "min_visit_ms"):
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
        index: counted from 0.
        instance: which session it ran in, counted from 0.
        visits: in order; the first and the last are the reference's.
    """

    index: int
    instance: int
    visits: tuple[Visit, ...]


def samples_by_name(
    rounds: Sequence[Round], names: Sequence[str], reference: str
) -> dict[str, list[RoundSample]]:
    """Collects each model's samples out of the rounds.

    Args:
        rounds: complete rounds.
        names: the models wanted; others are left out.
        reference: the reference's name.

    Returns:
        For each name its samples in the order of rounds.
    """
    samples: dict[str, list[RoundSample]] = {name: [] for name in names}
    for one in rounds:
        paired = pair_with_reference(
            list(one.visits), reference=reference, round_index=one.index, instance=one.instance
        )
        for name, sample in paired.items():
            if name in samples:
                samples[name].append(sample)
    return samples


def is_converged(samples: Sequence[RoundSample], protocol: Protocol) -> bool:
    """Whether one model's estimate is as narrow as the protocol wants it."""
    return relative_latency(samples).half_width <= protocol.target_half_width


def is_done(samples: Sequence[RoundSample], protocol: Protocol) -> bool:
    """The stopping rule for one model.

    Enough rounds, and the estimate is narrow enough, or what keeps it wide (processes, a busy
    machine) is nothing that more rounds would narrow.
    """
    if len(samples) < protocol.min_rounds:
        return False
    estimate = relative_latency(samples)
    exhausted = estimate.round_error <= _NEGLIGIBLE * estimate.half_width
    if estimate.half_width > protocol.target_half_width and not exhausted:
        return False
    if protocol.quantile is None:
        return True
    runs = [run for sample in samples for run in sample.runs_ms]
    return math.isfinite(observed_upper(runs, protocol.quantile))


def run_rounds(
    open_session: Callable[[], Session],
    jobs: Sequence[ModelJob],
    reference: ModelJob,
    protocol: Protocol,
    *,
    earlier: Sequence[Round] = (),
    keep_loaded: bool = True,
    on_round: Callable[[Round], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Round]:
    """Visits all models in interleaved rounds until each is done or the limits are reached.

    Args:
        open_session: starts a fresh session; it is closed here.
        jobs: the models, with different names.
        reference: the reference network.
        protocol: the settings.
        earlier: rounds of an interrupted measurement, which count as taken.
        keep_loaded: models stay loaded between rounds; otherwise each is loaded for its visit.
        on_round: called with every finished round.
        progress: called after every visit with (units done, units in all, message); more units
            may be needed than `min_rounds` per model, then the last ones wait.
        clock: seconds, for `max_seconds`.

    Returns:
        `earlier` and the new rounds.

    Raises:
        ProfilerError: whatever the session raises; rounds given to `on_round` are complete.
    """
    begin = clock()
    rounds = list(earlier)
    names = [job.name for job in jobs]
    samples = samples_by_name(rounds, names, reference.name)
    instance = 1 + max((one.instance for one in rounds), default=-1)
    total = protocol.min_rounds * len(jobs)

    def unfinished() -> list[ModelJob]:
        return [
            job
            for job in jobs
            if len(samples[job.name]) < protocol.max_rounds
            and not is_done(samples[job.name], protocol)
        ]

    def out_of_time() -> bool:
        enough = min((len(found) for found in samples.values()), default=0) >= _LEAST_ROUNDS
        return enough and clock() - begin >= protocol.max_seconds

    def report(waiting: Sequence[ModelJob], index: int, visited: int) -> None:
        if progress is not None:
            left = {job.name for job in waiting}
            done = visited + sum(
                min(len(found), protocol.min_rounds - 1) if name in left else protocol.min_rounds
                for name, found in samples.items()
            )
            message = f"round {index + 1}, {len(jobs) - len(waiting)} of {len(jobs)} models done"
            progress(min(done, total), total, message)

    active = unfinished()
    while active and not out_of_time():
        session = open_session()
        try:
            for copy in _reference_copies(reference, protocol):
                session.load(copy, protocol.seed)
            if keep_loaded:
                for job in active:
                    session.load(job, protocol.seed)
            for _ in range(protocol.rounds_per_instance):
                index = 1 + max((one.index for one in rounds), default=-1)
                visits = _one_round(
                    session,
                    active,
                    reference,
                    protocol,
                    index,
                    {name: found[-1].lowest_ms for name, found in samples.items() if found},
                    keep_loaded,
                    functools.partial(report, active, index),
                )
                finished = Round(index, instance, tuple(visits))
                if on_round is not None:
                    on_round(finished)
                rounds.append(finished)
                for name, found in samples_by_name([finished], names, reference.name).items():
                    samples[name].extend(found)
                active = unfinished()
                report(active, index, 0)
                if not active or out_of_time():
                    break
        finally:
            session.close()
        instance += 1
    return rounds


def _one_round(
    session: Session,
    jobs: Sequence[ModelJob],
    reference: ModelJob,
    protocol: Protocol,
    index: int,
    known_ms: Mapping[str, float],
    keep_loaded: bool,
    on_visit: Callable[[int], None],
) -> list[Visit]:
    """Visits every job once in random order, with the reference before, between and after."""
    copies = itertools.cycle(_reference_copies(reference, protocol))
    for _ in range(index % protocol.reference_copies):
        next(copies)

    def visit_reference() -> Visit:
        visit = session.visit(next(copies).name, protocol.warmup_runs, protocol.reference_runs)
        return replace(visit, name=reference.name)

    def runs_of(name: str) -> int:
        wanted = protocol.min_visit_ms / known_ms[name] if name in known_ms else 0.0
        return max(protocol.inner_runs, min(_MOST_RUNS, math.ceil(wanted)))

    order = np.random.default_rng([protocol.seed, index]).permutation(len(jobs))
    visits = [visit_reference()]
    since = visits[-1].end_s
    for count, position in enumerate(order, start=1):
        job = jobs[int(position)]
        if not keep_loaded:
            session.load(job, protocol.seed)
            visits.append(visit_reference())  # loading took long: the one before is stale
        visits.append(session.visit(job.name, protocol.warmup_runs, runs_of(job.name)))
        stale = (visits[-1].end_s - since) * 1e3 >= protocol.reference_every_ms
        if stale or count == len(jobs) or not keep_loaded:
            visits.append(visit_reference())
            since = visits[-1].end_s
        if not keep_loaded:
            session.unload(job.name)
        on_visit(count)
    return visits


def _reference_copies(reference: ModelJob, protocol: Protocol) -> list[ModelJob]:
    """The reference under as many names as it is loaded; the first is its own."""
    more = (f"{reference.name}-{i}" for i in range(2, protocol.reference_copies + 1))
    return [reference, *(replace(reference, name=name) for name in more)]


def quiet_reference_ms(visits: Sequence[Visit]) -> float:
    """The reference's quiet time as one measurement sees it.

    The 10% quantile of the visits' lowest undisturbed runs: fast, but not a single lucky visit.

    Args:
        visits: the reference's visits, at least one.

    Returns:
        Milliseconds.
    """
    return float(np.quantile([visit.lowest_ms for visit in visits], 0.1))


def drift_ratio(visits: Sequence[Visit]) -> float:
    """How far the clock moved: the reference's slow (90%) against its fast (10%) visits."""
    fast, slow = np.quantile([visit.lowest_ms for visit in visits], [0.1, 0.9])
    return float(slow / fast)


def busy_share(visits: Sequence[Visit]) -> float:
    """Share of runs that were preempted or 25% slower than the lowest run of their visit."""
    runs = disturbed = 0
    for visit in visits:
        lowest = min(visit.runs_ms)
        for run, preempted in zip(visit.runs_ms, visit.preempted, strict=True):
            runs += 1
            disturbed += preempted > 0 or run > _DISTURBED * lowest
    return disturbed / runs if runs else 0.0
