"""MLPerf's single-stream scenario: one query at a time, and the 90th percentile of what they took.

After the rules of MLPerf Inference and its load generator (mlcommons/inference, loadgen/results.cc,
`PerformanceSummary::EarlyStopping`, and loadgen/early_stopping.cc, 2026): the next query is sent
when the last one has been answered, a query is one sample, a latency is wall time from issue to
reply with token ids in (tokenisation is not part of it), and the figure is the early-stopping
estimate of the 90th percentile at confidence 0.99. It is no submission to MLPerf: its accuracy run,
its data set and its review are no part of this.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import DeviceProfile
from device_profiles.temporary import temporary_folder
from profilers import plain
from profilers.devices import Opener, open_worker
from profilers.errors import InvalidSetting, RecordDamaged
from profilers.heating import Heat, sustained_load
from profilers.jobs import ModelJob, RuntimeOptions
from profilers.reference import REFERENCE_NAME, reference_job
from profilers.samples import Step

NAME = "mlperf-single-stream"
"""Of the protocol, as it is asked for."""

QUANTILE = "p90"
SHARE = 0.9
CONFIDENCE = 0.99
"""What single-stream reports, and how sure it is (loadgen's own constants)."""

MIN_QUERIES = 64
"""The fewest queries that bound the 90th percentile so surely: `least_queries(0.9)`."""

MIN_DURATION_S = 600.0
"""Seconds that a run of MLPerf's own lasts at least (its rules for single-stream, 2026)."""

MAX_DURATION_S = 86_400.0

MAX_QUERIES = 1 << 21
"""Queries of a run, which then ends: a record holds them all. At 0.29 ms each they take 600 s."""

MAX_NS = 10**14
"""Nanoseconds of a query in a record: more than a day."""

MAX_TEXT = 24 << 20
"""Characters of the queries of a record."""

WARMUP_RUNS = 10
"""Queries before the first that counts, as a system under test runs while it is loaded."""

_CONTEXT = ("fingerprint", "runtime", "runtime_version")
_TOGETHER_S = 1.0
_MOST_TOGETHER = 2000
"""Queries that the device is asked for at once, so that the next one never waits for the host."""

_HOPELESS = 1e-6
"""A run ends early where a quantile that is under the limit would have been so unlikely."""


def discarded(queries: int, share: float, confidence: float = CONFIDENCE) -> int:
    """The t of early stopping: of so many queries the t - 1 slowest are not looked at.

    It is the largest t for which at most t of `queries` runs lie above the quantile with a
    probability below 1 - confidence. Loadgen asks for the least number h of queries under the
    quantile for which ``BetaRegularized[share, h, 1 + t] < 1 - confidence``, and takes the largest
    t with h + t <= queries: the same, since that function is the binomial distribution
    P(X <= t) of h + t queries of which each is above with 1 - share.

    Args:
        queries: How many were made.
        share: Of runs under the quantile, 0.9 for the 90th percentile.
        confidence: Of the estimate.

    Returns:
        t; 0 where the queries are too few for any estimate.
    """
    from scipy import special  # a fifth of a second to import

    low, high = 0, max(0, queries)  # P(X <= low) is small enough, or low is 0; not of high + 1
    while low < high:
        middle = (low + high + 1) // 2
        if special.bdtr(middle, queries, 1 - share) < 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def least_queries(share: float, confidence: float = CONFIDENCE) -> int:
    """The fewest queries that give an estimate: 64 for the 90th percentile, 662 for the 99th."""
    count = 1
    while discarded(count, share, confidence) < 1:
        count += 1
    return count


def early_stopping_estimate(
    latencies: npt.ArrayLike, share: float = SHARE, confidence: float = CONFIDENCE
) -> float:
    """Loadgen's estimate of a quantile, which the true one is under with the confidence.

    The t - 1 slowest queries are left out, and the slowest of the others is taken, see `discarded`.

    Args:
        latencies: Of all queries, in any unit.
        share: See `discarded`.
        confidence: See `discarded`.

    Returns:
        In the same unit; infinity where the queries are too few.
    """
    ordered = np.sort(np.asarray(latencies))
    t = discarded(len(ordered), share, confidence)
    return float(ordered[len(ordered) - t]) if t else math.inf


@dataclass(frozen=True, slots=True, eq=False)
class SingleStream:
    """A run of MLPerf's single-stream scenario.

    Attributes:
        latencies_ns: Wall time of every query in nanoseconds, in order.
        duration_s: From the first issue to the last reply, by the device's clock.
        min_duration_s: Seconds that it was to last at least.
        content_hash: Of the model's files and inputs, see `ModelJob.content_hash`.
        context: What of the device the figures hold for: fingerprint, runtime, runtime_version.
    """

    latencies_ns: npt.NDArray[np.int64]
    duration_s: float
    min_duration_s: float
    content_hash: str
    context: Mapping[str, str]

    @property
    def queries(self) -> int:
        """How many."""
        return len(self.latencies_ns)

    @property
    def estimate_ms(self) -> float:
        """The early-stopping estimate of the 90th percentile in milliseconds: the figure."""
        return early_stopping_estimate(self.latencies_ns) * 1e-6

    @property
    def percentile_ms(self) -> float:
        """The 90th percentile of the queries themselves in milliseconds, as loadgen takes it."""
        ordered = np.sort(self.latencies_ns)
        return float(ordered[min(len(ordered) - 1, int(SHARE * len(ordered)))]) * 1e-6

    @property
    def is_valid(self) -> bool:
        """Whether it was as long as was asked for, or of as many queries as are kept."""
        enough = self.queries >= MIN_QUERIES and self.duration_s >= self.min_duration_s
        return enough or self.queries >= MAX_QUERIES

    @property
    def rules(self) -> str:
        """How it was run, in words."""
        text = (
            f"MLPerf single-stream: early-stopping estimate of {QUANTILE} at confidence "
            f"{CONFIDENCE}"
        )
        lasted = min(self.min_duration_s, self.duration_s)
        if lasted < MIN_DURATION_S:
            text += f", a run of {lasted:.0f} s where MLPerf's own last {MIN_DURATION_S:.0f} s"
        return text

    def __str__(self) -> str:
        found = f"{QUANTILE} {self.percentile_ms:.3g} ms, at most {self.estimate_ms:.3g} (99%)"
        short = "" if self.is_valid else "; too short to count"
        return f"{found}; {self.queries:,} queries in {self.duration_s:.0f} s{short}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures and all queries as plain JSON data."""
        raw = zlib.compress(self.latencies_ns.astype("<i8").tobytes(), 9)
        return {
            "estimate_ms": self.estimate_ms,
            "percentile_ms": self.percentile_ms,
            "queries": self.queries,
            "duration_s": self.duration_s,
            "min_duration_s": self.min_duration_s,
            "content_hash": self.content_hash,
            "context": dict(self.context),
            "latencies_ns": base64.b64encode(raw).decode(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SingleStream:
        """Reads what `to_dict` wrote; figures are derived anew.

        Raises:
            RecordDamaged: A field is missing or wrong, or a figure is not that of the queries.
        """
        try:
            data = plain.record(data, "a single-stream run")
            count = plain.whole(data["queries"], "queries", MIN_QUERIES, MAX_QUERIES)
            about = plain.record(data["context"], "context")
            context = {name: plain.text(about[name], f"context.{name}") for name in _CONTEXT}
            found = cls(
                _unpacked(data["latencies_ns"], count),
                plain.number(data["duration_s"], "duration_s", above=0),
                plain.number(data["min_duration_s"], "min_duration_s"),
                plain.text(data["content_hash"], "content_hash"),
                {
                    str(name): plain.text(value, f"context.{name}")
                    for name, value in context.items()
                },
            )
            if not 0 <= found.min_duration_s <= MAX_DURATION_S:
                raise ValueError(f"min_duration_s = {found.min_duration_s}")
            if found.latencies_ns.sum() > found.duration_s * 1e9 * (1 + 1e-6) + 2e3:
                raise ValueError(f"queries that took longer than {found.duration_s} s together")
            for name in ("estimate_ms", "percentile_ms"):
                if not math.isclose(plain.number(data[name], name), getattr(found, name)):
                    raise ValueError(
                        f"{name} is {data[name]}, the queries give {getattr(found, name)}"
                    )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordDamaged(
                f"the saved single-stream run is damaged: {type(error).__name__}: {error}. "
                "Measure again."
            ) from error
        return found


def _unpacked(text: Any, count: int) -> npt.NDArray[np.int64]:
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise ValueError(f"latencies_ns is no text of at most {MAX_TEXT:,} characters")
    try:
        unpack = zlib.decompressobj()
        raw = unpack.decompress(base64.b64decode(text, validate=True), 8 * count + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"latencies_ns is no packed list: {error}") from error
    if len(raw) != 8 * count or not unpack.eof:
        raise ValueError(f"latencies_ns does not hold {count:,} queries")
    found = np.frombuffer(raw, "<i8").astype(np.int64)
    if not (found.min() > 0 and found.max() <= MAX_NS):
        raise ValueError(f"latencies_ns holds a query of {found.min()} or {found.max()} ns")
    return found


def check_duration(min_duration_s: float) -> None:
    """Raise unless a run may be asked to last so long.

    Raises:
        InvalidSetting: If not.
    """
    if not 0 < min_duration_s <= MAX_DURATION_S:
        raise InvalidSetting(
            f"min-duration = {min_duration_s:g}; seconds above 0, at most {MAX_DURATION_S:g}. "
            f"MLPerf's own: --min-duration {MIN_DURATION_S:g}"
        )


def single_stream(
    job: ModelJob,
    device: DeviceProfile,
    options: RuntimeOptions,
    *,
    min_duration_s: float = MIN_DURATION_S,
    limit_ms: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    heat: Heat | None = None,
    opener: Opener = open_worker,
) -> SingleStream:
    """Runs MLPerf's single-stream scenario on a device.

    Queries are issued by the process on the device that runs the model, and timed by its clock:
    how a device is reached is no part of them. The same token ids are asked for each time.

    Args:
        job: The model.
        device: Where it runs.
        options: The runtime's settings.
        min_duration_s: Seconds that it lasts at least.
        limit_ms: Ends it, after the least number of queries, where the 90th percentile is over
            this for certain; None never does.
        seed: Of the values of inputs.
        progress: Called with (seconds done, seconds in all, message).
        heat: See `profilers.measure`.
        opener: Starts a worker on the device; `profilers.testing` offers one for tests.

    Raises:
        InvalidSetting: A duration that is not to be had.
        ProfilerError: If the device cannot be reached or the model cannot be run.
    """
    check_duration(min_duration_s)
    content_hash = job.content_hash()
    taken: list[npt.NDArray[np.int64]] = []
    queries, over, together, start_s, end_s = 0, 0, MIN_QUERIES, math.inf, -math.inf
    with opener(device, options) as worker:
        context = {
            name: str(worker.context[name])
            for name in ("fingerprint", "runtime", "runtime_version")
        }
        worker.load(job, seed)
        load = sustained_load(options, heat)
        if load is not None:
            with temporary_folder() as folder:
                worker.load(reference_job(folder, device.accelerator.kind), seed)
                load.heat_up(worker, REFERENCE_NAME, time.monotonic, progress)
            worker.unload(REFERENCE_NAME)
        warmup = WARMUP_RUNS
        while queries < MIN_QUERIES or (end_s - start_s < min_duration_s and queries < MAX_QUERIES):
            [visit] = worker.visit([Step(job.name, warmup, min(together, MAX_QUERIES - queries))])
            warmup = 0
            start_s, end_s = min(start_s, visit.start_s), visit.end_s
            took = np.rint(np.array(visit.runs_ms) * 1e6).astype(np.int64)
            taken.append(took)
            queries += len(took)
            together = max(1, min(_MOST_TOGETHER, int(_TOGETHER_S * 1e9 / np.median(took))))
            if progress is not None:
                done = min(int(end_s - start_s), math.ceil(min_duration_s))
                progress(done, math.ceil(min_duration_s), f"{queries:,} queries")
            if limit_ms is not None:
                over += int((took > limit_ms * 1e6).sum())
                if queries >= MIN_QUERIES and _is_hopeless(over, queries):
                    break
        if load is not None:
            load.measured(worker, visit, time.monotonic())
    return SingleStream(
        np.concatenate(taken), end_s - start_s, min_duration_s, content_hash, context
    )


def _is_hopeless(over: int, queries: int) -> bool:
    """Whether so many queries over a limit say for certain that the quantile is over it."""
    from scipy import special  # a fifth of a second to import

    return bool(over and special.bdtrc(over - 1, queries, 1 - SHARE) < _HOPELESS)
