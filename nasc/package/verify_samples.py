"""Whether the figures of a measurement follow from its raw samples."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from device_profiles import Noise
from nasc.package.measured_latency import MeasuredLatency
from profilers import (
    Measurement,
    MeasurementInconsistent,
    ModelMeasurement,
    RuntimeOptions,
)
from profilers.protocol import (
    BUSY_LIMIT,
    DRIFT_LIMIT,
    busy_share,
    drift_ratio,
    quiet_reference_ms,
)
from profilers.results import FORMAT_VERSION

OLDER_STATISTICS = {2: "paired-ratio-median"}
"""The statistics of record of older formats of a measurement, which their figures follow."""


def underivable(measured: MeasuredLatency) -> list[str]:
    """Figures of a measurement that its raw samples do not give, or that contradict them.

    Quantiles of the runs are what they are, in every format, and no figure is below what the runs
    took themselves. All others follow from the samples in the present format only.
    """
    found: list[str] = []
    for model in measured.models:
        name = f"of {model.name}, " if measured.parts else ""
        found += [name + text for text in _underivable(model, measured.measurement)]
    return found


def _underivable(model: ModelMeasurement, measurement: Measurement) -> list[str]:
    """The same of one model."""
    pairs: dict[str, tuple[Any, Any]] = {
        f"{quantile}_ms": (getattr(model, f"{quantile}_ms"), model.observed_ms(quantile))
        for quantile in ("p50", "p90", "p99")
    }
    if measurement.version == FORMAT_VERSION:
        pairs |= _derived(model, measurement)
    found = [
        f"{name} is {stated:g}, the raw samples give {value:g}"
        for name, (stated, value) in pairs.items()
        if not abs(stated - value) <= 1e-6 * abs(value)
    ]
    try:
        model.check_consistency()
    except MeasurementInconsistent as error:
        found.append(str(error))
    return found


def _derived(model: ModelMeasurement, measurement: Measurement) -> dict[str, tuple[Any, Any]]:
    """All figures that follow from a measurement's samples: as stated, and as derived anew."""
    reference, width = measurement.reference, measurement.protocol.get("target_half_width")
    again = _again(model, measurement, measurement.noise)
    narrow = isinstance(width, int | float) and again.half_width <= width
    again = dataclasses.replace(again, converged=again.is_quiet and narrow)
    names = [one.name for one in dataclasses.fields(again)]
    pairs = {
        name: (getattr(model, name), getattr(again, name))
        for name in names
        if name not in ("name", "content_hash", "samples")
    }
    drift, busy = drift_ratio(reference.samples), busy_share(reference.samples)
    rounds = {one.round for each in measurement.models for one in each.samples}
    return pairs | {
        "reference.observed_ms": (reference.observed_ms, quiet_reference_ms(reference.samples)),
        "drift_ratio": (measurement.drift_ratio, drift),
        "drift": (measurement.drift, drift > DRIFT_LIMIT),
        "busy_share": (measurement.busy_share, busy),
        "busy": (measurement.busy, busy > BUSY_LIMIT),
        "rounds": (measurement.rounds, len(rounds)),
        "converged, of all models": (
            measurement.converged,
            all(one.converged for one in measurement.models),
        ),
    }


def _again(model: ModelMeasurement, measurement: Measurement, noise: Noise) -> ModelMeasurement:
    """A model's figures out of its samples, on the scale of its measurement."""
    scale = measurement.reference.scale
    return ModelMeasurement.of(
        model.name, model.content_hash, model.samples, scale, noise=noise, converged=False
    )


def upper_ms(measured: MeasuredLatency, noise: Noise) -> float:
    """The upper bound of a stated latency by a noise that is at least the stated one.

    Args:
        measured: As stated; of older formats the bound stands as it is.
        noise: At least that of the measurement in each constant.
    """
    measurement = measured.measurement
    if noise == measurement.noise or measurement.version != FORMAT_VERSION:
        return measured.upper_ms
    again = [_again(model, measurement, noise) for model in measured.models]
    return max(measured.upper_ms, measured.with_models(again).upper_ms)


def other_references(measured: MeasuredLatency) -> list[str]:
    """Whether the samples name times of the reference that its own visits do not have."""
    visits = measured.measurement.reference.samples
    pairs = itertools.pairwise(visit.median_ms for visit in visits)
    known = {(round(before, 9), round(after, 9)) for before, after in pairs}
    strange = sum(
        (round(one.reference_before_ms, 9), round(one.reference_after_ms, 9)) not in known
        for model in measured.models
        for one in model.samples
    )
    if not strange:
        return []
    return [f"{strange} samples lie between runs of the reference that it did not make"]


def differences(stated: RuntimeOptions, own: RuntimeOptions) -> list[tuple[str, Any, Any]]:
    """The settings in which two differ: their name, and both values."""
    one, other = stated.to_dict(), own.to_dict()
    names = dict.fromkeys([*one, *other])
    return [
        (name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    ]
