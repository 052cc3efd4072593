"""`measure`: many models on one device, in one call."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from device_profiles.temporary import temporary_folder
from profilers.devices import Opener, open_worker
from profilers.devices.base import Worker
from profilers.errors import (
    DeviceUnreachable,
    InvalidSetting,
    MeasurementInterrupted,
    ModelRejected,
)
from profilers.heating import Heat, sustained_load
from profilers.jobs import ModelJob, RuntimeOptions
from profilers.journal import Journal
from profilers.model_files import GIVE_A_FILE
from profilers.protocol import (
    BUSY_LIMIT,
    DRIFT_LIMIT,
    Protocol,
    Round,
    busy_share,
    drift_ratio,
    is_converged,
    quiet_reference_ms,
    run_rounds,
    samples_by_name,
)
from profilers.reference import REFERENCE_NAME, reference_hash, reference_job
from profilers.results import Measurement, ModelMeasurement, ReferenceMeasurement
from profilers.statistic import Scale, stretches_reach
from profilers.telemetry import summary

LOADED_SHARE = 0.5
"""Models stay loaded between rounds while their files, doubled for the runtime's own copy of the
weights, fill at most this share of the device's memory; else each is loaded for its visit."""

_VISIT_SETTINGS = (
    "visits_per_round",
    "warmup_runs",
    "reference_warmup_runs",
    "min_visit_ms",
    "reference_copies",
    "seed",
)


def device_options(device: DeviceProfile, options: RuntimeOptions | None) -> RuntimeOptions:
    """Returns `options`, or the device's defaults for None."""
    if options is not None:
        return options
    return RuntimeOptions(
        runtime=device.default_runtime,
        threads=device.default_threads,
        cores=device.default_cores,
    )


def measure(
    jobs: Sequence[ModelJob],
    device: DeviceProfile,
    *,
    options: RuntimeOptions | None = None,
    protocol: Protocol | None = None,
    scale: Scale | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    journal: Path | None = None,
    on_round: Callable[[Round], None] | None = None,
    reference_dir: Path | None = None,
    strict: bool = True,
    heat: Heat | None = None,
    opener: Opener = open_worker,
) -> Measurement:
    """Measures the latency of models on a device.

    All models are visited in turn, in rounds, in worker processes on the device. Nothing but the
    models' runs is timed.

    Args:
        jobs: The models; their names must differ.
        device: Where they run, from `device_profiles.find`.
        options: The runtime's settings; None takes the device's defaults.
        protocol: The settings of the measurement; None takes `Protocol()`.
        scale: The reference's quiet time recorded earlier on this device
            (`load_or_record_baseline(...).scale`), so that latencies share it; None determines it
            in this run.
        progress: Called after every visit with (units done, units in all, message).
        journal: A file that keeps every finished round; a measurement that was killed goes on
            from it. None keeps nothing.
        on_round: Called with every finished round.
        reference_dir: Where the reference network's file is kept; None writes it to a temporary
            folder.
        strict: Raise where a latency contradicts the runs that it was derived from; False leaves
            that to the caller, as for tables, which rest on `pooled_latencies`.
        heat: What is known of load before, where the options ask for load: what the device has
            heated up by is not spent again. None knows nothing.
        opener: Starts a worker on the device; `profilers.testing` offers one for tests.

    Returns:
        The statistics and all raw samples, also when not every model converged.

    Raises:
        InvalidSetting: No jobs, or two of one name.
        DeviceUnreachable: Nothing can be run on the device now.
        ModelRejected: A file is missing, damaged, or holds what the runtime cannot run.
        WorkerDied: The worker ended in the middle of its work.
        MeasurementInconsistent: What was derived contradicts the raw runs.
        MeasurementInterrupted: Ctrl-C; rounds in the journal are kept.
        RecordBusy, RecordDamaged: The journal is in use, or belongs to other conditions.
    """
    _check(jobs)
    options = device_options(device, options)
    protocol = protocol or Protocol()
    begin = time.monotonic()
    hashes = {job.name: job.content_hash() for job in jobs}
    keyed = _by_content(jobs, hashes)
    finished: list[Round] = []
    load = sustained_load(options, heat)

    def keep(one: Round) -> None:
        if record is not None:
            record.append(one)
        finished.append(one)
        if on_round is not None:
            on_round(one)

    record: Journal | None = None
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(opener(device, options))
        context = dict(first.context, device=device.name)
        key = {
            "fingerprint": context["fingerprint"],
            "runtime_version": context["runtime_version"],
            "options": options.to_dict(),
            "reference": reference_hash(device.accelerator.kind),
            **{name: getattr(protocol, name) for name in _VISIT_SETTINGS},
        }
        phone_id = context.pop("phone_id", None)  # stays here: a table travels with its context
        if phone_id is not None:
            key["phone_id"] = phone_id
        if journal is not None:
            record = stack.enter_context(Journal(journal, key))
        if reference_dir is None:
            reference_dir = stack.enter_context(temporary_folder())
        opened = [first]

        def next_worker() -> Worker:  # the first is the one that gave the context
            if opened:
                return opened.pop()
            worker = opener(device, options)
            if worker.context.get("phone_id") != phone_id:
                worker.close()
                raise DeviceUnreachable(
                    f"another phone than the one that was {device.name!r} at first is attached: "
                    "what was measured is kept. Attach the first one, and run the same again"
                )
            return worker

        try:
            rounds = run_rounds(
                next_worker,
                list(keyed.values()),
                reference_job(reference_dir, device.accelerator.kind),
                protocol,
                quiet_ms=None if scale is None else scale.quiet_ms,
                noise=device.noise,
                earlier=record.rounds if record is not None else (),
                keep_loaded=_fits(jobs, context.get("memory_bytes")),
                load=load,
                on_round=keep,
                progress=progress,
            )
        except KeyboardInterrupt as error:
            where = f" They are kept in {str(journal)!r}; run the same again to go on."
            raise MeasurementInterrupted(
                f"measuring was interrupted after {len(finished)} finished rounds."
                f"{where if journal is not None else ' They are not kept: it begins anew.'}"
            ) from error
    if load is not None:
        context["sustained"] = load.to_dict()
    found = _summary(keyed, hashes, rounds, context, options, protocol, scale, device, begin)
    if strict:
        for model in found.models:
            model.check_consistency()
    return found


def _check(jobs: Sequence[ModelJob]) -> None:
    """Refuses what cannot be measured, before anything is started."""
    if not jobs:
        raise InvalidSetting("there is nothing to measure; give at least one model.")
    names = [job.name for job in jobs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidSetting(f"two jobs are named {name!r}; every job needs a name of its own.")


def _by_content(jobs: Sequence[ModelJob], hashes: Mapping[str, str]) -> dict[str, ModelJob]:
    """The jobs by name, each renamed to its content's hash (numbered where contents repeat)."""
    seen: dict[str, int] = {}
    keyed = {}
    for job in jobs:
        content = hashes[job.name]
        seen[content] = seen.get(content, 0) + 1
        suffix = "" if seen[content] == 1 else f"-{seen[content]}"
        keyed[job.name] = dataclasses.replace(job, name=f"{content}{suffix}")
    return keyed


def _fits(jobs: Sequence[ModelJob], memory_bytes: int | None) -> bool:
    """Whether all models may stay loaded at once."""
    if memory_bytes is None:
        return True
    total = 0
    for job in jobs:
        try:
            total += sum(path.stat().st_size for path in job.files())
        except OSError as error:
            raise ModelRejected(
                f"cannot read the model {str(job.path)!r}: {error.strerror or error}. {GIVE_A_FILE}"
            ) from error
    return 2 * total <= LOADED_SHARE * memory_bytes


def _summary(
    keyed: Mapping[str, ModelJob],
    hashes: Mapping[str, str],
    rounds: Sequence[Round],
    context: dict[str, Any],
    options: RuntimeOptions,
    protocol: Protocol,
    scale: Scale | None,
    device: DeviceProfile,
    begin: float,
) -> Measurement:
    """Derives the result from the rounds."""
    noise = device.noise
    wanted = {job.name for job in keyed.values()}
    samples = samples_by_name(rounds, sorted(wanted), REFERENCE_NAME)
    relevant = [one for one in rounds if any(visit.name in wanted for visit in one.visits)]
    references = tuple(
        dataclasses.replace(visit, state=None)  # `summary` has it
        for one in relevant
        for visit in one.visits
        if visit.name == REFERENCE_NAME
    )
    observed_ms = quiet_reference_ms(references)
    # Where nothing was recorded before, this measurement is the only stretch of its baseline.
    used = scale or Scale(observed_ms, observed_ms * math.exp(stretches_reach(noise)))
    models = tuple(
        ModelMeasurement.of(
            name,
            hashes[name],
            samples[job.name],
            used,
            noise=noise,
            converged=is_converged(samples[job.name], protocol, used.quiet_ms, noise=noise),
        )
        for name, job in keyed.items()
    )
    drift, busy = drift_ratio(references), busy_share(references)
    told = summary([visit.state for one in relevant for visit in one.visits])
    if told is not None:
        context = context | {"telemetry": told}
    return Measurement(
        models=models,
        reference=ReferenceMeasurement(
            scale=used,
            given=scale is not None,
            observed_ms=observed_ms,
            seconds=_seconds(relevant),
            content_hash=reference_hash(device.accelerator.kind),
            samples=references,
        ),
        context=context,
        options=options,
        protocol=protocol.to_dict(),
        rounds=len(relevant),
        drift_ratio=drift,
        drift=drift > DRIFT_LIMIT,
        busy_share=busy,
        busy=busy > BUSY_LIMIT,
        converged=all(model.converged for model in models),
        duration_s=time.monotonic() - begin,
        noise=noise,
    )


def _seconds(rounds: Sequence[Round]) -> float:
    """How long the rounds took, pauses and starts of worker processes aside."""
    return sum(one.visits[-1].end_s - one.visits[0].start_s for one in rounds)
