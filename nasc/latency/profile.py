"""Measuring a latency table: plan, emit, measure, solve, save.

A table that is in the cache is not measured again. What was measured of one that is not
finished (Ctrl-C, kill -9) is kept in a journal and goes into it the next time. One process
at a time measures on a device from one cache (`MeasurementSession.alone`): the others wait, then
find the table.

With a table of a similar device a few networks are enough (`nasc.latency.transfer`).
"""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import profilers
from device_profiles.temporary import temporary_folder
from nasc.architecture.space import SMALLER, Geometry, SearchSpace
from nasc.errors import NascError, TableMissing, UsageError
from nasc.latency.basis import Basis
from nasc.latency.emission import emit_jobs
from nasc.latency.emulated import emulated_error
from nasc.latency.find import find_table
from nasc.latency.key import LatencyKey, options_text
from nasc.latency.plan import Plan, plan, small_plan
from nasc.latency.predict import Fit, Observation, fit
from nasc.latency.session import MeasurementSession
from nasc.latency.table import MAX_NAME, MEASURED_COLUMNS, LatencyTable, Transferred, entries_of
from nasc.latency.table_paths import samples_path, tables_folder
from nasc.latency.transfer import Prior, prior_of, transferred_fit
from nasc.lowering import why_unsupported
from nasc.utils.files import write_atomically
from nasc.utils.progress import Progress
from nasc.version import __version__
from profilers.heating import told_of_load
from profilers.telemetry import disturbances

MEASURE_S = 75.0
NOMINAL_ROUND_MS = 700.0
MOST_MEASURE_S = 900.0
"""Time for measuring a table whose networks nominally take `NOMINAL_ROUND_MS` together (the
preset minilm-l6 at length 128); larger ones get more, in proportion, up to the last."""


@dataclass(frozen=True, slots=True)
class TransferFrom:
    """How a table is made from that of a similar device.

    Attributes:
        source: Tells the table to be transferred from, by the key of the one that is wanted.
        budget: Networks to be measured at most.
    """

    source: Callable[[LatencyKey], LatencyTable]
    budget: int


@dataclass(frozen=True, slots=True)
class Profiled:
    """A table that `profile` was asked for.

    Attributes:
        table: The table; its `times` and `held_out` tell how it came about.
        path: Its file. The raw samples lie beside it, see `samples_path`.
        fresh: Measured by this call, not found in the cache.
    """

    table: LatencyTable
    path: Path
    fresh: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it: times in s and ms, errors as shares."""
        t = self.table
        errors = np.abs(t.held_out)
        return {
            "table": t.key.describe(),
            "path": str(self.path),
            "statistic": t.key.statistic,
            "fresh": self.fresh,
            "created": t.created,
            "foreign": t.foreign,
            "transferred": None if t.transferred is None else dataclasses.asdict(t.transferred),
            "quiet_ms": t.quiet_ms,
            "networks": len(t.measured),
            "held_out_networks": len(errors),
            "mean_error": float(np.mean(errors)),
            "largest_error": float(np.max(errors)),
            "bias": float(np.mean(t.held_out)),
            "interval_half_width": t.interval.half_width,
            "interval_confidence": t.interval.confidence,
            "seconds": {name.removesuffix("_s"): value for name, value in t.times.items()},
            "busy": bool(t.context.get("busy")),
            "quiet_time_busy": bool(t.context.get("reference", {}).get("busy")),
            "disturbances": disturbances(t.context.get("telemetry")),
            "sustained_minutes": t.key.sustained_minutes,
        }

    def summary(self) -> dict[str, str]:
        """What matters of it at a glance, for people; errors of held-out networks included."""
        d = self.to_dict()
        return {
            "table": d["table"],
            "statistic": d["statistic"],
            "measured": "now" if self.fresh else f"earlier ({d['created']})",
            "networks": str(d["networks"]),
            "held-out networks": str(d["held_out_networks"]),
            "mean error": f"{d['mean_error']:.2%}",
            "largest error": f"{d['largest_error']:.2%}",
            "bias": f"{d['bias']:+.2%}",
            f"{d['interval_confidence']:.0%} interval": f"+-{d['interval_half_width']:.2%}",
            "seconds": ", ".join(f"{name} {value:.1f}" for name, value in d["seconds"].items()),
            "machine": _machine(d["busy"], d["quiet_time_busy"], d["disturbances"]),
            **dict(zip(["load"], told_of_load(self.table.context.get("sustained")), strict=False)),
            **({} if self.table.note is None else {"note": self.table.note}),
            "file": d["path"],
        }


def _machine(busy: bool, baseline_busy: bool, disturbed: Sequence[str]) -> str:
    """Whether the machine was quiet while it was measured, in words."""
    found = list(disturbed)
    if busy:
        found.append("busy while the networks were measured")
    if baseline_busy:
        found.append("busy in most of the time in which the reference was recorded")
    if not found:
        return "quiet enough"
    return f"{'; '.join(found)}: measure again when it is quiet, --force"


def estimates(measurement: profilers.Measurement, quiet_ms: float) -> dict[str, profilers.Estimate]:
    """The networks of a table at one quiet speed, by name: see `profilers.pooled_latencies`."""
    samples = {m.name: m.samples for m in measurement.models}
    return profilers.pooled_latencies(samples, quiet_ms, noise=measurement.noise)


def observed(planned: Plan, found: Mapping[str, profilers.Estimate]) -> list[Observation]:
    """The networks of a plan as they were measured."""
    return [
        Observation(
            network.architecture,
            found[network.name].latency_ms,
            found[network.name].deviation,
            network.role == "random",
        )
        for network in planned.networks
    ]


def make_key(
    baseline: profilers.ReferenceBaseline,
    session: MeasurementSession,
    geometry: Geometry,
    *,
    precision: str,
    seq_len: int = 128,
    batch: int = 1,
    head: str = "embed",
    fixed_shape: bool = False,
) -> LatencyKey:
    """The key of a table measured now on a device whose reference baseline is known.

    Args:
        baseline: Of the device: its fingerprint, version of the runtime, and quiet time in ms.
        session: On the device.
        geometry: Of the teacher.
        precision: Of the networks.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        head: Of the networks, see `nasc.architecture.heads`.
        fixed_shape: Whether networks take inputs of one batch and length alone.

    Raises:
        UsageError, ExportError: If networks are not lowered for the runtime here.
        RecordsRefused, RecordsDamaged: See `MeasurementSession.records`.
    """
    return LatencyKey(
        device=session.device.name,
        precision=precision,
        geometry=geometry,
        seq_len=seq_len,
        batch=batch,
        threads=session.options.threads,
        runtime=session.options.runtime,
        head=head,
        fingerprint=str(baseline.key["fingerprint"]),
        runtime_version=str(baseline.key["runtime_version"]),
        options=options_text(session.options.to_dict()),
        emitter_version=session.lowering_version,
        statistic=profilers.STATISTIC,
        reference=str(baseline.key["reference"]),
        quiet_ms=baseline.quiet_ms,
        fixed_shape=fixed_shape,
        accelerator=session.device.accelerator.kind,
        records=session.records_sha256(precision),
    )


def profile(
    space: SearchSpace,
    session: MeasurementSession,
    *,
    precisions: Sequence[str] = (),
    seq_lens: Sequence[int] = (128,),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (),
    head: str = "embed",
    fixed_shape: bool = False,
    seed: int = 0,
    force: bool = False,
    transfer: TransferFrom | None = None,
    accept_transferred: bool = False,
    protocol: profilers.Protocol | None = None,
    progress: Progress | None = None,
) -> list[Profiled]:
    """Measure a latency table for every combination of settings, or find it in the cache.

    Args:
        space: Whose layers are priced.
        session: Where they run; its cache keeps tables, reference baselines and journals.
        precisions: Empty takes those of the space that the device computes in, but none that is
            only smaller than another.
        seq_lens: Tokens in a sentence.
        batches: Sentences in a run.
        threads: Threads of the runtime; empty takes those of the session.
        head: ``embed`` or ``hidden``.
        fixed_shape: Whether networks take inputs of one batch and length alone.
        seed: Of the plans and of the order of measuring.
        force: Measure anew what is in the cache, too, the reference baseline included.
        transfer: Measure a few networks, and take the rest from another table; one that was
            measured whole is better, and taken where it is in the cache. None measures it whole.
        accept_transferred: Whether a table in the cache will do that was transferred.
        protocol: Of the measurement; None chooses by the size of the space.
        progress: Called with (units done, units in all, message) for each table in turn.

    Returns:
        One for each combination: precisions vary fastest, then lengths, batches, threads.

    Raises:
        UsageError: If a list is empty or holds an impossible value, or the table to be transferred
            from has not the layers that are wanted.
        TableError: From `transfer`.
        CacheBusy: If another process measured on this device for an hour.
        NascError: If the cache cannot be written.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    threads = threads or (session.options.threads,)
    precisions = _offered(space, session, precisions, head)
    wanted = _combinations(space, precisions, seq_lens, batches, threads, head)
    sessions = {count: session.with_threads(count) for _, _, count in wanted}

    def works(baselines: Mapping[int, profilers.ReferenceBaseline]) -> list[_Work]:
        keys = [
            make_key(
                baselines[count],
                sessions[count],
                space.geometry,
                precision=precision,
                seq_len=basis.seq_len,
                batch=basis.batch,
                head=head,
                fixed_shape=fixed_shape,
            )
            for basis, precision, count in wanted
        ]
        return [
            _Work(
                basis,
                key,
                seed,
                sessions[count],
                protocol,
                baselines[count],
                None
                if transfer is None
                else _source(transfer, key, basis, session.device.emulated),
                accept_transferred,
            )
            for key, (basis, _, count) in zip(keys, wanted, strict=True)
        ]

    if not force:  # what is there is found without waiting for anybody
        known = {count: one.known_baseline() for count, one in sessions.items()}
        recorded = {count: one for count, one in known.items() if one is not None}
        if len(recorded) == len(known):
            found = [_cached(work, progress) for work in works(recorded)]
            there = [one for one in found if one is not None]
            if len(there) == len(found):
                return there
    with session.alone() as work_folder:
        if progress is not None:
            progress(0, 1, f"device {session.device.name!r}: reference baseline")
        baselines = {
            count: one.baseline(renew=force, progress=progress) for count, one in sessions.items()
        }
        return [_one(work, work_folder, force, progress) for work in works(baselines)]


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """What a table is transferred from, and what is said of it."""

    prior: Prior
    origin: Transferred


def _source(transfer: TransferFrom, key: LatencyKey, basis: Basis, emulated: bool) -> _Source:
    """The table to be transferred from, checked before anything is measured.

    Raises:
        DeviceEmulated: If that is of an emulated device, and the one to be measured is none.
        UsageError: See `prior_of`.
    """
    table = transfer.source(key).as_measured()
    if table.emulated and not emulated:
        raise emulated_error(f"the latency table of {table.key.describe()}")
    origin = Transferred(
        _bounded(table.key.describe()),
        table.processor,
        table.key.fingerprint,
        table.key.runtime_version,
        table.created,
        transfer.budget,
    )
    return _Source(prior_of(table, basis), origin)


def _bounded(text: str) -> str:
    """A text as the head of a table can be read again with it."""
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 4]} ..."


@dataclass(frozen=True, slots=True)
class _Work:
    """One table to be made, with all that it takes."""

    basis: Basis
    key: LatencyKey
    seed: int
    session: MeasurementSession
    protocol: profilers.Protocol | None
    baseline: profilers.ReferenceBaseline
    source: _Source | None
    accept_transferred: bool

    def will_do(self, table: LatencyTable) -> bool:
        """Whether a table out of the cache is what is asked for."""
        if self.source is None:
            return True
        if table.transferred is None:
            return table.foreign is None  # another machine's is no reason to measure nothing here
        return table.transferred == self.source.origin

    def plan(self) -> Plan:
        """The networks to be measured."""
        key, chosen = self.key, plan
        if self.source is not None:
            chosen = partial(small_plan, budget=self.source.origin.budget)
        return chosen(
            self.basis.space,
            seed=self.seed,
            precision=key.precision,
            seq_len=key.seq_len,
            batch=key.batch,
            head=key.head,
        )

    def fit(self, observations: Sequence[Observation]) -> Fit:
        """The costs that follow from what was measured."""
        noise = self.session.device.noise
        if self.source is None:
            return fit(self.basis, observations, noise=noise)
        return transferred_fit(self.source.prior, observations, noise=noise)

    @property
    def tables(self) -> Path:
        """Where the table is kept."""
        return tables_folder(self.session.cache_dir)


def _offered(
    space: SearchSpace, session: MeasurementSession, wanted: Sequence[str], head: str
) -> tuple[str, ...]:
    """The precisions to measure, out of what the device computes in and the space is made in.

    Raises:
        UsageError: If it does not compute in one that is wanted, or in any of the space; or the
            space's sizes are not made in one that is wanted.
    """
    offered = session.precisions()
    why = {p: why_unsupported(session.runtime, p, space, head) for p in offered}
    for precision in wanted:
        if why.get(precision):
            raise UsageError(
                f"--precision {precision}: {why[precision]}. Take another: --precision "
                f"{', '.join(p for p in offered if not why[p])}, or --runtime onnxruntime"
            )
    usual = [p for p in offered if p in space.precisions and p not in SMALLER]
    chosen = tuple(wanted) or tuple(p for p in usual if not why[p])
    foreign = [p for p in chosen if p not in offered]
    if foreign or not chosen:
        raise UsageError(
            f"--precision: {session.runtime} on device {session.device.name!r} does not compute in "
            f"{', '.join(foreign or space.precisions)}; it does in: {', '.join(offered)}"
        )
    return chosen


def _combinations(
    space: SearchSpace,
    precisions: Sequence[str],
    seq_lens: Sequence[int],
    batches: Sequence[int],
    threads: Sequence[int],
    head: str,
) -> list[tuple[Basis, str, int]]:
    """All settings asked for, checked before anything is measured."""
    named = {"precision": precisions, "seq-len": seq_lens, "batch": batches, "threads": threads}
    for name, values in named.items():
        if not values:
            raise UsageError(f"--{name}: at least one value is needed")
    for count in threads:
        if count < 1:
            raise UsageError(f"--threads: must be 1 or more, got {count}")
    return [
        (Basis(space, seq_len, batch, head), precision, count)
        for count in dict.fromkeys(threads)
        for batch in dict.fromkeys(batches)
        for seq_len in dict.fromkeys(seq_lens)
        for precision in dict.fromkeys(precisions)
    ]


def _cached(work: _Work, progress: Progress | None) -> Profiled | None:
    """One table from the cache, if it is there."""
    try:
        noise = work.session.device.noise
        known = work.accept_transferred or work.source is not None
        found = find_table([work.tables], work.key, work.basis.space, noise, transferred=known)
    except TableMissing:
        return None
    if not work.will_do(found.table):
        return None
    if progress is not None:
        progress(1, 1, f"{work.key.describe()}: found in the cache")
    return Profiled(found.table, found.path, fresh=False)


def _one(work: _Work, folder: Path, force: bool, progress: Progress | None) -> Profiled:
    """One table, from the cache or measured, in the work folder of the session."""
    words = work.key.describe()

    def report(done: int, total: int, message: str) -> None:
        if progress is not None:
            progress(done, total, f"{words}: {message}")

    found = None if force else _cached(work, progress)
    if found is not None:
        return found
    begin = datetime.datetime.now(datetime.UTC)
    try:
        with temporary_folder(folder, "graphs") as graphs:
            table, measurement = _make(work, folder, graphs, begin, report)
        path = work.tables / table.file_name()
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = json.dumps(measurement.to_dict(), allow_nan=False).encode()
        write_atomically(samples_path(path), gzip.compress(raw, mtime=0))
        table.save(path.parent)
        work.session.forget(_journal(work, folder))
    except OSError as error:
        raise NascError(
            f"cannot write the latency table for {words} in {str(work.session.cache_dir)!r}: "
            f"{error.strerror or error}. Free some space or choose another cache folder; "
            f"what was measured is kept: {work.key.command()}"
        ) from error
    return Profiled(table, path, fresh=True)


def _make(
    work: _Work, folder: Path, graphs: Path, begin: datetime.datetime, report: Progress
) -> tuple[LatencyTable, profilers.Measurement]:
    """Plan, emit, measure, solve."""
    key, space = work.key, work.basis.space
    started = time.monotonic()
    planned = work.plan()
    plan_s = time.monotonic() - started
    report(0, 1, f"emitting {len(planned.networks)} graphs")
    started = time.monotonic()
    jobs = emit_jobs(planned.architectures, key, work.session, graphs)
    emit_s = time.monotonic() - started
    started = time.monotonic()
    measurement = work.session.measure(
        jobs,
        work.baseline.scale,
        protocol=_protocol(planned) if work.protocol is None else work.protocol,
        progress=report,
        journal=_journal(work, folder),
        strict=False,  # a table looks at all networks together
    )
    baseline = work.session.extend(work.baseline, measurement)
    key = dataclasses.replace(key, quiet_ms=baseline.quiet_ms)
    peak = work.session.optional_peak_memory(jobs[-1])
    measure_s = time.monotonic() - started
    started = time.monotonic()
    found = estimates(measurement, baseline.quiet_ms)
    solved = work.fit(observed(planned, found))
    table = LatencyTable(
        key=key,
        space=space,
        seed=work.seed,
        entries=entries_of(planned.basis, solved),
        streaming=solved.streaming,
        interval=solved.interval,
        held_out=tuple(float(value) for value in solved.held_out),
        measured=_measured(planned, found, solved),
        context=_context(measurement, baseline),
        runtime_base_bytes=None if peak is None else peak.base_bytes,
        times={
            "plan_s": plan_s,
            "emit_s": emit_s,
            "measure_s": measure_s,
            "fit_s": time.monotonic() - started,
        },
        created=begin.isoformat(timespec="microseconds"),
        transferred=None if work.source is None else work.source.origin,
    )
    return table, measurement


def _protocol(planned: Plan) -> profilers.Protocol:
    """Time in proportion to what the networks take, the seed of the plan."""
    nominal_ms = float((planned.matrix() @ planned.basis.nominal()).sum())
    seconds = min(MOST_MEASURE_S, MEASURE_S * max(1.0, nominal_ms / NOMINAL_ROUND_MS))
    return profilers.Protocol(max_seconds=seconds, seed=planned.seed)


def _journal(work: _Work, folder: Path) -> Path:
    """The journal of one table's measurement: another one for everything that may differ.

    Raw runs are on no scale: a renewed reference baseline goes on from the same journal.
    """
    key = work.key.to_dict()
    del key["quiet_ms"]
    named = {
        "key": key,
        "seed": work.seed,
        "protocol": None if work.protocol is None else work.protocol.to_dict(),
    }
    if work.source is not None:
        named["budget"] = work.source.origin.budget
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    return folder / f"{work.key.stem()}{digest[:12]}.journal"


def _measured(planned: Plan, found: Mapping[str, profilers.Estimate], solved: Fit) -> pd.DataFrame:
    rows = []
    for network, residual in zip(planned.networks, solved.residuals, strict=True):
        one = found[network.name]
        predicted_ms = one.latency_ms / (1 + residual)
        latency = (one.latency_ms, one.lower * one.quiet_ms, one.upper * one.quiet_ms)
        rows.append((network.role, *latency, float(predicted_ms), network.name))
    return pd.DataFrame(rows, columns=MEASURED_COLUMNS)


def _context(
    measurement: profilers.Measurement, baseline: profilers.ReferenceBaseline
) -> dict[str, object]:
    """What a reader of the table should know of its measurement; the samples hold it all."""
    return {
        **measurement.context,
        "nasc": __version__,
        "options": measurement.options.to_dict(),
        "protocol": dict(measurement.protocol),
        "rounds": measurement.rounds,
        "drift_ratio": measurement.drift_ratio,
        "drift": measurement.drift,
        "busy_share": measurement.busy_share,
        "busy": measurement.busy,
        "converged": measurement.converged,
        "reference": {
            "quiet_ms": baseline.quiet_ms,
            "upper_ms": baseline.scale.upper_ms,
            "recorded_utc": baseline.recorded_utc,
            "busy": baseline.busy,
            "observed_ms": measurement.reference.observed_ms,
            "content_hash": measurement.reference.content_hash,
        },
    }
