"""Latency and memory of a package, measured again on its device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from device_profiles import DeviceProfile, Noise
from device_profiles.sustained import load_words
from nasc.errors import DeviceEmulated, NascError
from nasc.latency.session import MeasurementSession, check_real
from nasc.package.formats import format_of
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.verify_report import Check, reason_of
from nasc.package.verify_samples import differences, upper_ms
from nasc.utils.progress import Progress
from profilers import (
    ModelJob,
    ModelMeasurement,
    ProfilerError,
    Protocol,
    ReferenceBaseline,
    Scale,
    reference_hash,
)
from profilers.mlperf import MIN_DURATION_S, SingleStream
from profilers.protocol import BUSY_LIMIT
from profilers.statistic import BUSY_SLOWDOWN

MOSTLY_BUSY = 0.5
"""Where more of the reference's visits were disturbed, the quiet ones do not make a quiet machine:
a neighbour that keeps the caches warm for itself slows a network more than the reference. Chosen,
2026: at a share of 0.8 an honest package was measured 18% slower a minute after."""

LOAD_MINUTES = 10.0
"""A package does not decide for how long a device is kept under load: at most so many minutes,
unless the user says longer (chosen, 2026)."""

_ALIKE = {"browser": "browser", "fingerprint": "processor", "runtime_version": "runtime"}
"""What of a context must be equal, and what it is of. The browser stands first, since fingerprints
cover it, too; where there is none, it is absent from both."""

YOUNG_S = 90.0
YOUNG_SLOWDOWN = 2.0
"""A record of a device that is shorter, in seconds, may have seen nothing but a busy machine, up to
so many times as slow as the quiet one (chosen, 2026: it was 1.5 times on two shared cores)."""


def measure_again(
    folder: Path,
    manifest: Manifest,
    session: MeasurementSession,
    protocol: Protocol | None,
    progress: Progress | None,
    min_duration_s: float | None = None,
    sustained_minutes: float | None = None,
) -> tuple[list[Check], MeasuredLatency | None]:
    """Latency and memory on the device, or the reason why they were not measured.

    A run of MLPerf's single-stream scenario lasts as long as that in the manifest, at most as long
    as MLPerf's own; or as `min_duration_s` says. A device is kept under load for as long as in the
    manifest, at most `LOAD_MINUTES`; or as `sustained_minutes` says.

    Args:
        folder: The package.
        manifest: Of it.
        session: On the device.
        protocol: How to measure; None is the default.
        progress: Called with (units done, units in all, message) while measuring.
        min_duration_s: Seconds; see above.
        sustained_minutes: See above.
    """
    try:
        check_real(session.device)
        if manifest.measured is None:
            return [Check("latency", None, "the manifest has no measurement to compare with")], None
        first = manifest.measured.measurement
        if sustained_minutes is None:
            sustained_minutes = first.options.sustained_minutes
            if sustained_minutes is not None and sustained_minutes > LOAD_MINUTES:
                why = (
                    f"it was measured {load_words(sustained_minutes)}, which nasc verify does not "
                    f"repeat unless it is told to: --sustained {sustained_minutes:g}"
                )
                return [Check("latency", None, why)], None
        own = dataclasses.replace(
            session.options,
            runtime=manifest.conditions.runtime,
            threads=first.options.threads,
            cores=_cores(first.options.cores, session.device) or session.options.cores,
            sustained_minutes=sustained_minutes,
        )
        session = dataclasses.replace(session, options=own)
        why = _not_comparable(manifest.measured, session)
        if why:
            return [Check("latency", None, why)], None
        model = folder / format_of(manifest.conditions.runtime).MODEL
        jobs, stream = manifest.measured.jobs(model), manifest.measured.stream
        waits_for = manifest.conditions.quantile if stream is None else None
        # The scale is the verifier's own: a package's would let it state any latency.
        baseline = session.baseline(progress=progress)
        measurement = session.measure(
            jobs,
            baseline.scale,
            protocol=protocol or latency_protocol(len(jobs), waits_for),
            progress=progress,
        )
        baseline = session.extend(baseline, measurement)
        found = dataclasses.replace(manifest.measured, measurement=measurement).with_models(
            [_rescaled(one, baseline.scale, session.device.noise) for one in measurement.models]
        )
        if stream is not None:
            again = session.single_stream(
                jobs[-1], min_duration_s or _lasting(stream), progress=progress
            )
            found = dataclasses.replace(found, stream=again)
    except (DeviceEmulated, ProfilerError) as error:
        return [Check("latency", None, reason_of(error))], None
    noise = session.device.noise
    share = measurement.busy_share
    checks = [latency_check(manifest, manifest.measured, found, baseline, share, noise)]
    if stream is not None and min_duration_s is None and _lasting(stream) < stream.min_duration_s:
        told = (
            f"{checks[0].detail}; single-stream was run for {_lasting(stream):.0f} s where the "
            f"package states {stream.min_duration_s:.0f} s (to run as long: --min-duration "
            f"{stream.min_duration_s:.0f})"
        )
        checks = [dataclasses.replace(checks[0], detail=told)]
    limit = manifest.limits.get("peak_memory_bytes")
    if limit is not None:
        checks.append(memory_check(jobs[-1], session, limit))
    return checks, found


def _lasting(stated: SingleStream) -> float:
    """Seconds that a run is repeated for: a package does not decide for how many hours."""
    return min(stated.min_duration_s, MIN_DURATION_S)


def _cores(stated: tuple[int, ...] | None, device: DeviceProfile) -> tuple[int, ...] | None:
    """The cores that a package was measured on, where its device is known to have them."""
    known = {core for cluster in device.clusters for core in cluster.ids or ()}
    return stated if stated is not None and known.issuperset(stated) else None


def latency_protocol(models: int, quantile: str | None) -> Protocol:
    """How a network is measured at so many lengths: in as much time for each as alone."""
    alone = Protocol(quantile=quantile)
    return dataclasses.replace(alone, max_seconds=models * alone.max_seconds)


def _rescaled(model: ModelMeasurement, scale: Scale, noise: Noise) -> ModelMeasurement:
    """A latency by what is known of the device now that it was measured.

    Raises:
        MeasurementInconsistent: If it contradicts its own runs.
    """
    found = ModelMeasurement.of(
        model.name,
        model.content_hash,
        model.samples,
        scale,
        noise=noise,
        converged=model.converged,
    )
    found.check_consistency()
    return found


def _not_comparable(measured: MeasuredLatency, session: MeasurementSession) -> str:
    """Why a latency measured now would not be on the scale of the first; empty if it would."""
    first = measured.measurement
    for name, stated, held in differences(first.options, session.options):
        return (
            f"it was measured with {name} {stated!r}, on device {session.device.name!r} nasc "
            f"measures with {held!r}"
        )
    if first.reference.content_hash != reference_hash(session.device.accelerator.kind):
        return "it was measured against another reference network: another release of nasc"
    with session.opener(session.device, session.options) as worker:
        now = worker.context
    for field, what in _ALIKE.items():
        if now.get(field) != first.context.get(field):
            return (
                f"another {what}: the package was measured on {field.replace('_', ' ')} "
                f"{first.context.get(field)}, here it is {now.get(field)}"
            )
    return ""


def latency_check(
    manifest: Manifest,
    first: MeasuredLatency,
    found: MeasuredLatency,
    baseline: ReferenceBaseline,
    busy_share: float,
    noise: Noise,
) -> Check:
    """What the manifest states and promises, against the latency measured now.

    It fails where even the lower bound is over, on a quiet machine: the upper bound of a device
    that this cache has hardly seen lies some percent above any latency. A cache that has not seen
    it quiet yet takes a busy machine for the quiet one: see `YOUNG_S` and `MOSTLY_BUSY`.

    Args:
        manifest: Of the package.
        first: The measurement in it.
        found: The one made now.
        baseline: What is known of the device's speed.
        busy_share: Share of the reference's visits that were disturbed; quantiles as observed
            include them.
        noise: Of the device. What a package claims beyond it widens its own bound alone, never
            what is found now.
    """
    quantile, limit = manifest.conditions.quantile, manifest.limits.get("latency_ms")
    lower, upper, is_quiet = found.lower_ms, found.upper_ms, found.is_quiet
    busy, mostly_busy = busy_share > BUSY_LIMIT, busy_share > MOSTLY_BUSY
    over: dict[str, bool] = {}  # what is said otherwise, and whether that is sure
    seconds = sum(window.seconds for window in baseline.windows)
    slower = baseline.quiet_ms / first.measurement.reference.quiet_ms
    young = seconds < YOUNG_S and BUSY_SLOWDOWN < slower <= YOUNG_SLOWDOWN

    def is_sure(most: float) -> bool:
        least = lower - (noise.jitter_ms if quantile is None else 0.0)
        judged = is_quiet and not mostly_busy
        return judged and least > most and not (young and least / slower <= most)

    text = f"{found.latency_ms:.2f} ms now"
    if first.parts:
        text = f"mean over {len(first.parts)} lengths {text}"
    if lower > (most := upper_ms(first, first.measurement.noise.larger(noise))):
        over[f"the manifest states at most {first.upper_ms:.3g} ms"] = is_sure(most)
    if quantile is not None:
        lower, upper = found.value_ms(quantile), found.held_ms(quantile)
        is_quiet = is_quiet and not busy
        runs = "all runs" if found.stream is None else f"{found.stream.queries:,} queries in a row"
        text += f", {quantile} of {runs} {lower:.2f}"
        if lower > (most := first.held_ms(quantile)):
            over[f"the manifest states a {quantile} of at most {most:.3g} ms"] = is_sure(most)
    text += f", upper bound {upper:.2f}; {first.latency_ms:.2f} ms in the manifest"
    if limit is not None:
        text += f"; limit {limit:g} ms"
        if lower > limit:
            over["it is over the limit"] = is_sure(limit)
    if not over and (limit is None or upper <= limit):
        return Check("latency", True, text if limit else f"{text}; no limit is promised")
    if any(over.values()):
        return Check("latency", False, "; ".join([text, *over]))
    if not found.is_quiet:
        level = found.level_ms / baseline.quiet_ms
        why = f"the machine was {level:.2f} times as slow as it is when quiet: verify again then"
    elif not is_quiet or (over and mostly_busy):
        why = "something else used the machine: verify again when it is quiet"
    elif over and not young:
        why = (
            "measurements of such small networks differ by more "
            f"({noise.jitter_ms:g} ms): verify again"
        )
    elif over:
        why = (
            f"in the {seconds:.0f} s that this cache has seen the device it was never quieter than "
            f"{slower:.2f} times what the package found: verify again when it is quiet"
        )
    else:
        why = "it may be under the limit or over it: verify again"
        if quantile is None:
            why += f"; this cache has seen the device for {seconds:.0f} s, more narrows the bounds"
    return Check("latency", None, f"{text}; {why}")


def memory_check(job: ModelJob, session: MeasurementSession, limit: float) -> Check:
    """Peak memory measured now, against its limit in bytes."""
    try:
        peak = session.peak_memory(job).total_bytes
    except (ProfilerError, NascError) as error:
        return Check("peak memory", None, reason_of(error))
    return Check("peak memory", peak <= limit, f"{peak:,} bytes, limit {limit:,.0f}")
