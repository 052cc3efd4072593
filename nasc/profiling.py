"""Measuring a latency table: plan, emit, measure, solve, save.

A table that is in the cache is not measured again. What was measured of one that is not
finished (Ctrl-C, kill -9) is kept in a journal and goes into it the next time. One process
at a time measures on a device from one cache: the others wait, then find the table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gzip
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock
import numpy as np
import pandas as pd

import profilers
from device_profiles import DeviceProfile
from nasc.errors import CacheBusy, NascError, TableMissing, UsageError
from nasc.export.network import random_network
from nasc.export.onnx import EMITTER_VERSION, emit
from nasc.files import write_atomically
from nasc.latency.basis import Basis
from nasc.latency.find import find_table
from nasc.latency.key import LatencyKey, device_prefix
from nasc.latency.plan import Plan, plan
from nasc.latency.predict import Fit, Observation, fit
from nasc.latency.table import MEASURED_COLUMNS, SUFFIX, LatencyTable, entries_of
from nasc.space import PRECISIONS, Architecture, Geometry, SearchSpace

VOCAB_ROWS = 256
"""Rows of the word embedding in measured graphs: a run reads as many rows as it has tokens."""

MEASURE_S = 75.0
NOMINAL_ROUND_MS = 700.0
MOST_MEASURE_S = 900.0
"""Time for measuring a table whose networks nominally take `NOMINAL_ROUND_MS` together (the
preset minilm-l6 at length 128); larger ones get more, in proportion, up to the last."""

LOCK_TIMEOUT_S = 3600.0
EMIT_THREADS = 2

Progress = Callable[[int, int, str], None]


class Bench(Protocol):
    """What is needed of a measuring tool; `Profilers` is the real one."""

    def quiet(
        self, cache_dir: Path, device: DeviceProfile, options: profilers.RuntimeOptions
    ) -> profilers.QuietTime:
        """The device's recorded quiet time, with what it holds for."""

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        device: DeviceProfile,
        *,
        options: profilers.RuntimeOptions,
        protocol: profilers.Protocol,
        reference_quiet_ms: float,
        progress: Progress | None,
        journal: Path,
    ) -> profilers.Measurement:
        """The latencies of all jobs."""

    def base_bytes(
        self,
        job: profilers.ModelJob,
        device: DeviceProfile,
        options: profilers.RuntimeOptions,
    ) -> int | None:
        """Memory of the runtime's process without a model; None where it is not told."""


class Profilers:
    """The measuring tool of this project."""

    def quiet(
        self, cache_dir: Path, device: DeviceProfile, options: profilers.RuntimeOptions
    ) -> profilers.QuietTime:
        """See `Bench`."""
        return profilers.load_or_record_quiet(cache_dir, device, options=options)

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        device: DeviceProfile,
        *,
        options: profilers.RuntimeOptions,
        protocol: profilers.Protocol,
        reference_quiet_ms: float,
        progress: Progress | None,
        journal: Path,
    ) -> profilers.Measurement:
        """See `Bench`."""
        return profilers.measure(
            jobs,
            device,
            options=options,
            protocol=protocol,
            reference_quiet_ms=reference_quiet_ms,
            progress=progress,
            journal=journal,
        )

    def base_bytes(
        self,
        job: profilers.ModelJob,
        device: DeviceProfile,
        options: profilers.RuntimeOptions,
    ) -> int | None:
        """See `Bench`."""
        try:
            return profilers.measure_peak_memory(job, options, device=device).base_bytes
        except (profilers.DeviceUnreachable, profilers.ModelRejected, profilers.WorkerDied):
            raise
        except profilers.ProfilerError:
            return None


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

    def summary(self) -> dict[str, Any]:
        """What matters of it at a glance, errors of held-out networks included."""
        t = self.table
        errors = [abs(error) for error in t.held_out]
        return {
            "table": t.key.describe(),
            "statistic": t.key.statistic,
            "measured": "now" if self.fresh else f"earlier ({t.created})",
            "networks": len(t.measured),
            "held-out networks": len(errors),
            "mean error": f"{np.mean(errors):.2%}",
            "largest error": f"{max(errors):.2%}",
            "bias": f"{np.mean(t.held_out):+.2%}",
            "90% interval": f"+-{t.interval.half_width:.2%}",
            "seconds": ", ".join(f"{k.removesuffix('_s')} {v:.1f}" for k, v in t.times.items()),
            "machine": "busy: measure again when it is quiet, --force"
            if t.context.get("busy")
            else "quiet enough",
        }


def tables_folder(cache_dir: Path) -> Path:
    """Where tables are kept in a cache."""
    return cache_dir / "tables"


def quiet_folder(cache_dir: Path) -> Path:
    """Where quiet times of devices are kept in a cache, for tables, limits and `verify` alike."""
    return cache_dir / "quiet"


def samples_path(table_path: Path) -> Path:
    """Where the raw samples of a table lie: gzipped JSON of `profilers.Measurement`."""
    return table_path.with_name(table_path.name.removesuffix(SUFFIX) + ".samples.json.gz")


def runtime_options(device: DeviceProfile, threads: int) -> profilers.RuntimeOptions:
    """The runtime's settings that tables, limits and `verify` share on a device."""
    return profilers.RuntimeOptions(
        runtime=device.default_runtime, threads=threads, cores=device.default_cores
    )


def latency_job(name: str, path: Path, seq_len: int, batch: int, rows: int) -> profilers.ModelJob:
    """An emitted model with its inputs: random tokens out of `rows`, none of them padding."""
    shape = (batch, seq_len)
    return profilers.ModelJob(
        name,
        path,
        {
            "input_ids": profilers.InputSpec(shape, "int64", 0, rows),
            "attention_mask": profilers.InputSpec(shape, "int64", 1, 2),
        },
    )


def make_key(
    quiet: profilers.QuietTime,
    device: DeviceProfile,
    options: profilers.RuntimeOptions,
    geometry: Geometry,
    *,
    precision: str,
    seq_len: int = 128,
    batch: int = 1,
    head: str = "embed",
) -> LatencyKey:
    """The key of a table measured now on a device whose quiet time is known."""
    settings = options.to_dict()
    threads, runtime = int(settings.pop("threads")), str(settings.pop("runtime"))
    return LatencyKey(
        device=device.name,
        precision=precision,
        geometry=geometry,
        seq_len=seq_len,
        batch=batch,
        threads=threads,
        runtime=runtime,
        head=head,
        fingerprint=str(quiet.key["fingerprint"]),
        runtime_version=str(quiet.key["runtime_version"]),
        options=json.dumps(settings, sort_keys=True),
        emitter_version=EMITTER_VERSION,
        statistic=profilers.STATISTIC,
    )


def profile(
    space: SearchSpace,
    device: DeviceProfile,
    *,
    cache_dir: Path,
    precisions: Sequence[str] = PRECISIONS,
    seq_lens: Sequence[int] = (128,),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    head: str = "embed",
    seed: int = 0,
    force: bool = False,
    protocol: profilers.Protocol | None = None,
    progress: Progress | None = None,
    bench: Bench | None = None,
) -> list[Profiled]:
    """Measure a latency table for every combination of settings, or find it in the cache.

    Args:
        space: Whose layers are priced.
        device: Where they run.
        cache_dir: Keeps tables, quiet times, journals; made when missing.
        precisions: Out of `PRECISIONS`.
        seq_lens: Tokens in a sentence.
        batches: Sentences in a run.
        threads: Threads of the runtime.
        head: ``embed`` or ``hidden``.
        seed: Of the plans and of the order of measuring.
        force: Measure anew what is in the cache, too.
        protocol: Of the measurement; None chooses by the size of the space.
        progress: Called with (units done, units in all, message) for each table in turn.
        bench: The measuring tool; None takes `Profilers`.

    Returns:
        One for each combination: precisions vary fastest, then lengths, batches, threads.

    Raises:
        UsageError: If a list is empty or holds an impossible value.
        CacheBusy: If another process measured on this device for an hour.
        NascError: If the cache cannot be written.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    wanted = _combinations(space, precisions, seq_lens, batches, threads, head)
    tool = Profilers() if bench is None else bench
    done: list[Profiled] = []
    quiets: dict[int, profilers.QuietTime] = {}
    for basis, precision, count in wanted:
        options = runtime_options(device, count)
        if count not in quiets:
            if progress is not None:
                progress(0, 1, f"device {device.name!r}: quiet time of the reference network")
            quiets[count] = tool.quiet(quiet_folder(cache_dir), device, options)
        key = make_key(
            quiets[count],
            device,
            options,
            space.geometry,
            precision=precision,
            seq_len=basis.seq_len,
            batch=basis.batch,
            head=head,
        )
        work = _Work(basis, key, seed, device, options, protocol, quiets[count], tool)
        try:
            done.append(_one(work, cache_dir, force, progress))
        except OSError as error:
            raise NascError(
                f"cannot write the latency table for {key.describe()} in {str(cache_dir)!r}: "
                f"{error.strerror or error}. Free some space or choose another cache folder; "
                f"what was measured is kept: {key.command()}"
            ) from error
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    """One table to be made, with all that it takes."""

    basis: Basis
    key: LatencyKey
    seed: int
    device: DeviceProfile
    options: profilers.RuntimeOptions
    protocol: profilers.Protocol | None
    quiet: profilers.QuietTime
    bench: Bench


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
    for precision in precisions:
        if precision not in PRECISIONS:
            raise UsageError(
                f"--precision: unknown precision {precision!r}; known: {', '.join(PRECISIONS)}"
            )
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


def _one(work: _Work, cache_dir: Path, force: bool, progress: Progress | None) -> Profiled:
    """One table, from the cache or measured."""
    words = work.key.describe()

    def report(done: int, total: int, message: str) -> None:
        if progress is not None:
            progress(done, total, f"{words}: {message}")

    def cached() -> Profiled | None:
        try:
            found = find_table([tables_folder(cache_dir)], work.key, work.basis.space)
        except TableMissing:
            return None
        report(1, 1, "found in the cache")
        return Profiled(found.table, found.path, fresh=False)

    begin = datetime.datetime.now(datetime.UTC)
    if not force:
        found = cached()
        if found is not None:
            return found
    with _device_lock(cache_dir, work.device.name, report) as folder:
        found = cached() if not force else None
        if found is not None:
            return found
        table, measurement = _make(work, folder, begin, report)
        path = tables_folder(cache_dir) / table.file_name()
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = json.dumps(measurement.to_dict(), allow_nan=False).encode()
        write_atomically(samples_path(path), gzip.compress(raw, mtime=0))
        table.save(path.parent)
        _journal(work, folder).unlink(missing_ok=True)
    return Profiled(table, path, fresh=True)


@contextlib.contextmanager
def _device_lock(cache_dir: Path, device: str, report: Progress) -> Iterator[Path]:
    """A work folder that no other process uses: one measures on a device at a time."""
    folder = cache_dir / "profiling" / device_prefix(device).rstrip("-")
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            report(0, 1, "waiting for another process that measures on this device")
            lock.acquire(timeout=LOCK_TIMEOUT_S)
    except filelock.Timeout as error:
        raise CacheBusy(
            f"another process has been measuring on device {device!r} from the cache "
            f"{str(cache_dir)!r} for {LOCK_TIMEOUT_S:g} s. Wait for it to end, or stop it."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder / "graphs", ignore_errors=True)
        lock.release()


def _make(
    work: _Work, folder: Path, begin: datetime.datetime, report: Progress
) -> tuple[LatencyTable, profilers.Measurement]:
    """Plan, emit, measure, solve."""
    key, space = work.key, work.basis.space
    started = time.monotonic()
    planned = plan(
        space,
        work.seed,
        precision=key.precision,
        seq_len=key.seq_len,
        batch=key.batch,
        head=key.head,
    )
    plan_s = time.monotonic() - started
    graphs = folder / "graphs"
    shutil.rmtree(graphs, ignore_errors=True)  # of a process that was killed
    graphs.mkdir()
    report(0, 1, f"emitting {len(planned.networks)} graphs")
    started = time.monotonic()
    jobs = emit_jobs(planned.architectures, space.geometry, key, graphs)
    emit_s = time.monotonic() - started
    started = time.monotonic()
    measurement = work.bench.measure(
        jobs,
        work.device,
        options=work.options,
        protocol=_protocol(planned) if work.protocol is None else work.protocol,
        reference_quiet_ms=work.quiet.quiet_ms,
        progress=report,
        journal=_journal(work, folder),
    )
    base_bytes = work.bench.base_bytes(jobs[-1], work.device, work.options)
    measure_s = time.monotonic() - started
    started = time.monotonic()
    observations = [
        Observation(
            network.architecture,
            measurement[network.name].latency_ms,
            measurement[network.name].upper_ms,
            network.role == "random",
        )
        for network in planned.networks
    ]
    solved = fit(planned.basis, observations)
    table = LatencyTable(
        key=key,
        space=space,
        seed=work.seed,
        entries=entries_of(planned.basis, solved),
        interval=solved.interval,
        held_out=tuple(float(value) for value in solved.held_out),
        quiet_ms=measurement.reference.quiet_ms,
        measured=_measured(planned, measurement, solved),
        context=_context(measurement, work.quiet),
        runtime_base_bytes=base_bytes,
        times={
            "plan_s": plan_s,
            "emit_s": emit_s,
            "measure_s": measure_s,
            "fit_s": time.monotonic() - started,
        },
        created=begin.isoformat(timespec="microseconds"),
    )
    return table, measurement


def emit_jobs(
    architectures: Sequence[Architecture], geometry: Geometry, key: LatencyKey, folder: Path
) -> list[profilers.ModelJob]:
    """Emit networks with random weights into a folder; jobs are named by the networks' text.

    Raises:
        OSError: If a graph cannot be written.
    """

    def emit_one(index: int) -> profilers.ModelJob:
        path = folder / f"{index:04d}.onnx"
        architecture = architectures[index]
        emit(random_network(architecture, geometry, key.head, vocab_rows=VOCAB_ROWS), path)
        rows = min(VOCAB_ROWS, geometry.vocab_size)
        return latency_job(str(architecture), path, key.seq_len, key.batch, rows)

    with ThreadPoolExecutor(EMIT_THREADS) as pool:  # writing one while building the next
        return list(pool.map(emit_one, range(len(architectures))))


def _protocol(planned: Plan) -> profilers.Protocol:
    """Time in proportion to what the networks take, the seed of the plan."""
    nominal_ms = float((planned.matrix() @ planned.basis.nominal()).sum())
    seconds = min(MOST_MEASURE_S, MEASURE_S * max(1.0, nominal_ms / NOMINAL_ROUND_MS))
    return profilers.Protocol(max_seconds=seconds, seed=planned.seed)


def _journal(work: _Work, folder: Path) -> Path:
    """The journal of one table's measurement: another one for everything that may differ."""
    named = {
        "key": dataclasses.asdict(work.key),
        "seed": work.seed,
        "protocol": None if work.protocol is None else work.protocol.to_dict(),
    }
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    return folder / f"{work.key.stem()}{digest[:12]}.journal"


def _measured(planned: Plan, measurement: profilers.Measurement, solved: Fit) -> pd.DataFrame:
    predicted = planned.matrix() @ solved.costs
    rows = []
    for network, predicted_ms in zip(planned.networks, predicted, strict=True):
        found = measurement[network.name]
        latency = (found.latency_ms, found.lower_ms, found.upper_ms)
        rows.append((network.role, *latency, float(predicted_ms), network.name))
    return pd.DataFrame(rows, columns=MEASURED_COLUMNS)


def _context(measurement: profilers.Measurement, quiet: profilers.QuietTime) -> dict[str, object]:
    """What a reader of the table should know of its measurement; the samples hold it all."""
    return {
        **measurement.context,
        "options": measurement.options.to_dict(),
        "protocol": dict(measurement.protocol),
        "rounds": measurement.rounds,
        "drift_ratio": measurement.drift_ratio,
        "drift": measurement.drift,
        "busy_share": measurement.busy_share,
        "busy": measurement.busy,
        "converged": measurement.converged,
        "reference": {
            "quiet_ms": measurement.reference.quiet_ms,
            "recorded_utc": quiet.recorded_utc,
            "busy": quiet.busy,
            "observed_ms": measurement.reference.observed_ms,
            "content_hash": measurement.reference.content_hash,
        },
    }
