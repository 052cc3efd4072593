"""A chosen network in the form that its runtime opens, measured on the device."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

import profilers
from nasc.latency.rows_used import rows_used
from nasc.latency.session import PEAK_PROCESSES, latency_job
from nasc.lowering import Artifact
from nasc.networks.network import Network
from nasc.package.measured_latency import MeasuredLatency, PredictedLatency
from nasc.package.verify_latency import latency_protocol
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, MeasuredNetwork, State

KEPT = "Latency tables, the supernet and what was trained are kept in the cache."
"""What a compilation that is interrupted in a measurement need not do again."""


def lower(compilation: Compilation, chosen: ChosenNetwork, folder: Path) -> Artifact:
    """What the runtime opens of a network, in a folder of its own."""
    context = compilation.context
    network = context.inputs.as_shipped(chosen.network)
    own = Path(tempfile.mkdtemp(dir=folder))
    lengths = {*context.lengths, compilation.max_length}
    session = context.session(chosen.runtime)
    return session.lower(network, own, shape=context.settings.shape, lengths=lengths)


def jobs_of(
    compilation: Compilation, artifact: Artifact, network: Network
) -> list[profilers.ModelJob]:
    """What is measured of an artifact: itself, at each length, the shortest first."""
    context, rows = compilation.context, network.geometry.vocab_size
    lengths, batch = context.lengths, context.settings.batch
    if context.mixture is None:
        return [latency_job("model", artifact.path, n, batch, rows) for n in lengths]
    return [latency_job(f"model-{n}", artifact.path, n, batch, rows) for n in lengths]


def measure(
    compilation: Compilation, state: State, chosen: ChosenNetwork, artifact: Artifact
) -> tuple[MeasuredNetwork, State]:
    """Measure an artifact on the device, when no other process measures there.

    Raises:
        CacheBusy: If another process measures for an hour.
        profilers.MemoryUnavailable: If memory is limited and the device does not tell it.
    """
    context, options, limits = compilation.context, compilation.options, compilation.limits
    variant = chosen.variant
    network = context.inputs.as_shipped(chosen.network)
    session = context.session(variant.runtime)
    jobs = jobs_of(compilation, artifact, network)
    baseline = context.sessions.record_baseline(variant.runtime)
    progress = context.reporter.stage(f"Measuring on device {context.device.name!r}")
    with (
        session.alone(kept=KEPT),
        context.timed("measure"),
    ):
        measurement = session.measure(
            jobs,
            baseline.scale,
            protocol=latency_protocol(len(jobs), options.waits_for),
            progress=progress,
        )
        session.extend(baseline, measurement)
        stream = (
            None
            if options.protocol is None
            else session.single_stream(
                jobs[-1],
                options.duration_s,
                limit_ms=limits.latency_ms,
                progress=progress,
            )
        )
        peak = (
            session.optional_peak_memory(jobs[-1])
            if limits.peak_memory_bytes is None
            else session.peak_memory(jobs[-1], PEAK_PROCESSES)
        )
    costs = context.tables.measure_costs([variant])
    predicted = costs.predict(network.architecture, variant.runtime)
    latency = (
        MeasuredLatency.of(jobs[0], measurement)
        if context.mixture is None
        else MeasuredLatency.of_mixture(jobs, measurement, context.mixture)
    )
    latency = dataclasses.replace(latency, stream=stream)
    repetition_ms = latency.repetition_ms(options.quantile)
    key = (str(network.architecture), variant.runtime)
    seen = state.bounds.get(key, ())
    if math.isfinite(repetition_ms):
        seen = (*seen, (latency.is_quiet, repetition_ms))
    # What the busy machine gave counts only for as long as there is nothing else.
    on_quiet = tuple(ms for is_quiet, ms in seen if is_quiet)
    measured = MeasuredNetwork(
        chosen,
        artifact,
        PredictedLatency(predicted.latency_ms, predicted.low_ms, predicted.high_ms),
        rows_used(costs.tables[variant], network.architecture),
        latency,
        None if peak is None else peak.total_bytes,
        network.params,
        on_quiet or tuple(ms for _, ms in seen),
    )
    return measured, dataclasses.replace(state, bounds={**state.bounds, key: seen})
