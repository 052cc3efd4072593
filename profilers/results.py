"""What a measurement returns, and how it is saved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device_profiles import UNSTATED, Noise
from device_profiles.reading import shown
from profilers import plain
from profilers.errors import InvalidSetting, MeasurementInconsistent, RecordDamaged
from profilers.heating import told_of_load
from profilers.jobs import RuntimeOptions
from profilers.samples import RoundSample, Visit
from profilers.statistic import (
    LEVEL_QUANTILE,
    STATISTIC,
    Scale,
    observed_quantile,
    relative_latency,
    student95,
    visits_upper,
)
from profilers.telemetry import disturbances

FORMAT_VERSION = 3
FIRST_VERSION = 2
"""The oldest that is read. Version 2 had another statistic of record (paired-ratio-median), whose
figures are read as they were stated and cannot be derived from its samples any more."""

MAX_VISITS = 200_000
"""Visits in a record; the longest measurements of many models take some ten thousand."""

MAX_MODELS = 10_000
"""Models in a record."""


@dataclass(frozen=True, slots=True)
class ModelMeasurement:
    """One model's latency.

    Attributes:
        name: Name of the model's job.
        content_hash: Hash of the model's files and inputs, see `ModelJob.content_hash`.
        latency_ms: Latency in milliseconds: the statistic of record.
        lower_ms: One-sided 95% lower bound, in milliseconds, of a repetition in another half
            minute.
        upper_ms: One-sided 95% upper bound, in milliseconds, of a repetition in another half
            minute: it covers the error of the ratio and how far the reference's quiet time may lie
            off.
        ratio: Latency in units of the reference: the statistic of record.
        ratio_lower: One-sided 95% lower bound of a repetition of `ratio`.
        ratio_upper: One-sided 95% upper bound of a repetition of `ratio`.
        level_ms: The reference's time that `ratio` is in units of, in milliseconds: the quiet time,
            or a longer one where the machine did not come near it.
        is_quiet: Whether the machine came near the reference's quiet time often enough.
        half_width: Relative half-width of the ratio's estimate, what the stopping rule looks at.
        p50_ms: Median of all runs as observed, in milliseconds, disturbances included.
        p90_ms: 90% quantile of all runs as observed, in milliseconds, disturbances included.
        p99_ms: 99% quantile of all runs as observed, in milliseconds, disturbances included.
        rounds_used: Number of rounds that the statistic of record rests on.
        converged: Whether `half_width` reached the protocol's target on the quiet machine.
        samples: Every visit of the model, with the reference around it.
    """

    name: str
    content_hash: str
    latency_ms: float
    lower_ms: float
    upper_ms: float
    ratio: float
    ratio_lower: float
    ratio_upper: float
    level_ms: float
    is_quiet: bool
    half_width: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    rounds_used: int
    converged: bool
    samples: tuple[RoundSample, ...]

    @property
    def samples_ms(self) -> tuple[tuple[float, ...], ...]:
        """Wall time of every run, by visit, in milliseconds as observed."""
        return tuple(sample.runs_ms for sample in self.samples)

    def observed_ms(self, quantile: str) -> float:
        """The quantile "p50", "p90" or "p99" of all runs as observed."""
        runs = [run for sample in self.samples for run in sample.runs_ms]
        return observed_quantile(runs, quantile)

    def observed_upper_ms(self, quantile: str) -> float:
        """One-sided 95% upper bound of "p50", "p90" or "p99"; infinite with too few visits."""
        return visits_upper(self.samples, quantile)

    @property
    def repetition_ms(self) -> float:
        """Milliseconds that a repetition's `upper_ms` lies below with about 95% probability."""
        return self.upper_ms * self.ratio_upper / self.ratio

    def check_consistency(self) -> None:
        """Holds the figures against the raw runs, without any statistic in between.

        Raises:
            MeasurementInconsistent: The latency is below the fastest run's own time, or the upper
                bound below a tenth of them: neither can be true of this file on this device.
        """
        own = np.array([run for sample in self.samples for run in sample.own_ms])
        low = float(np.quantile(own, LEVEL_QUANTILE))
        problems = [
            f"{what} is {stated:.4g} ms, {fact:.4g} ms"
            for what, stated, fact in (
                ("the latency", self.latency_ms, float(own.min())),
                ("the upper bound", self.upper_ms, low),
            )
            if stated < fact * (1 - 1e-9)
        ]
        if problems:
            raise MeasurementInconsistent(
                f"the measurement of {self.name!r} contradicts its own runs: {problems[0]} is the "
                f"{'fastest of' if self.latency_ms < own.min() else 'fast tenth of'} {len(own)} "
                "runs. Something disturbs the device: measure again when it is quiet"
            )

    @property
    def deviation(self) -> float:
        """Relative standard error of `ratio`; infinite with one round."""
        if self.rounds_used < 2:
            return math.inf
        return self.half_width / student95(self.rounds_used - 1)

    @classmethod
    def of(
        cls,
        name: str,
        content_hash: str,
        samples: Sequence[RoundSample],
        scale: Scale,
        *,
        noise: Noise,
        converged: bool,
    ) -> ModelMeasurement:
        """Derives everything from the raw samples.

        Args:
            name: The job's name.
            content_hash: The job's content.
            samples: At least one round.
            scale: The reference's quiet time.
            noise: Of the device.
            converged: See the class.
        """
        estimate = relative_latency(samples, scale.quiet_ms, noise=noise)
        latency_ms = estimate.latency_ms
        reach = math.hypot(estimate.upper / estimate.value - 1.0, scale.reach)
        runs = [run for sample in samples for run in sample.runs_ms]
        return cls(
            name=name,
            content_hash=content_hash,
            latency_ms=latency_ms,
            lower_ms=latency_ms / (1.0 + reach),
            upper_ms=latency_ms * (1.0 + reach),
            ratio=estimate.value,
            ratio_lower=estimate.lower,
            ratio_upper=estimate.upper,
            level_ms=estimate.quiet_ms,
            is_quiet=estimate.is_quiet,
            half_width=estimate.half_width,
            p50_ms=observed_quantile(runs, "p50"),
            p90_ms=observed_quantile(runs, "p90"),
            p99_ms=observed_quantile(runs, "p99"),
            rounds_used=estimate.rounds_used,
            converged=converged,
            samples=tuple(samples),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        data: dict[str, Any] = {
            name: getattr(self, name) for name in self.__slots__ if name != "samples"
        }
        data["samples"] = [sample.to_dict() for sample in self.samples]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelMeasurement:
        """Reads what `to_dict` wrote; of `FIRST_VERSION` too, whose machine counts as quiet.

        Raises:
            KeyError, TypeError, ValueError: A field is missing or wrong, or they contradict each
                other.
        """
        data = dict(plain.record(data, "a model"))
        if "level_ms" not in data:
            ratio = plain.number(data["ratio"], "a model.ratio", above=0)
            data["level_ms"] = plain.number(data["latency_ms"], "a model.latency_ms") / ratio
            data["is_quiet"] = True
        fields = plain.fields(cls, data, "a model")
        listed = plain.items(data["samples"], "samples", MAX_VISITS, 1)
        samples = tuple(RoundSample.from_dict(item) for item in listed)
        for before, after in itertools.pairwise(samples):
            if after.round < before.round or after.instance < before.instance:
                raise ValueError(f"round {after.round} comes after round {before.round}")
            if after.round == before.round and after.instance != before.instance:
                raise ValueError(f"round {after.round} ran in two processes")
        return cls(samples=samples, **fields)


@dataclass(frozen=True, slots=True)
class ReferenceMeasurement:
    """The reference network in the same rounds.

    Attributes:
        scale: Quiet time of the reference, and how far that of another half minute may lie above
            it.
        given: Whether `scale` was recorded earlier, not determined in this measurement.
        observed_ms: Milliseconds that this measurement alone would have taken for the reference's
            quiet time.
        seconds: Seconds for which the reference was watched.
        content_hash: Hash that tells which reference network it was, see `reference_hash`.
        samples: Every visit of the reference.
    """

    scale: Scale
    given: bool
    observed_ms: float
    seconds: float
    content_hash: str
    samples: tuple[Visit, ...]

    @property
    def quiet_ms(self) -> float:
        """Quiet time of the reference in milliseconds."""
        return self.scale.quiet_ms

    @property
    def samples_ms(self) -> tuple[tuple[float, ...], ...]:
        """Wall time of every run, by visit, in milliseconds as observed."""
        return tuple(visit.runs_ms for visit in self.samples)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return {
            "quiet_ms": self.scale.quiet_ms,
            "upper_ms": self.scale.upper_ms,
            "given": self.given,
            "observed_ms": self.observed_ms,
            "seconds": self.seconds,
            "content_hash": self.content_hash,
            "samples": [visit.to_list() for visit in self.samples],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReferenceMeasurement:
        """Reads what `to_dict` wrote; of `FIRST_VERSION` too, whose quiet time had no upper end.

        Raises:
            KeyError, TypeError, ValueError: A field is missing or wrong.
        """
        data = {"upper_ms": data["quiet_ms"], "seconds": 0.0} | dict(
            plain.record(data, "reference")
        )
        fields = plain.fields(cls, data, "reference")
        plain.number(fields["observed_ms"], "reference.observed_ms", above=0)
        ends = (plain.number(data[name], f"reference.{name}") for name in ("quiet_ms", "upper_ms"))
        listed = plain.items(data["samples"], "reference.samples", MAX_VISITS, 1)
        visits = tuple(Visit.from_list(item) for item in listed)
        return cls(scale=Scale(*ends), samples=visits, **fields)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The latencies of some models on one device, measured together.

    Attributes:
        models: Latency of each model, in the order of the jobs.
        reference: What was seen of the reference network.
        context: Device fingerprint, processor, governor, load, runtime and version, affinity, time
            (see `profilers.context.read_context`), and the device's name.
        options: Settings of the runtime.
        protocol: Settings of the measurement, as plain data.
        rounds: Number of rounds taken, those of a resumed journal included.
        drift_ratio: Slow (90%) visits of the reference over its fast (10%) ones.
        drift: Whether the clock moved: `drift_ratio` is above `profilers.protocol.DRIFT_LIMIT`.
        busy_share: Share of the reference's visits that were preempted or 10% over its quiet time.
        busy: Whether something else uses the machine: `busy_share` is above
            `profilers.protocol.BUSY_LIMIT`.
        converged: Whether every model reached the target half-width.
        duration_s: Seconds that the measurement took, those of a resumed journal not included.
        statistic: Name of the statistic of record.
        version: Version of the format that the measurement was read from; others than
            `FORMAT_VERSION` have another statistic.
        noise: Constants of the device that the bounds were computed with.
    """

    models: tuple[ModelMeasurement, ...]
    reference: ReferenceMeasurement
    context: Mapping[str, Any]
    options: RuntimeOptions
    protocol: Mapping[str, Any]
    rounds: int
    drift_ratio: float
    drift: bool
    busy_share: float
    busy: bool
    converged: bool
    duration_s: float
    statistic: str = STATISTIC
    version: int = FORMAT_VERSION
    noise: Noise = field(default_factory=Noise)

    def __getitem__(self, name: str) -> ModelMeasurement:
        """The model of that name.

        Raises:
            InvalidSetting: No model has it.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise InvalidSetting(
            f"no model {name!r} in this measurement; it has: "
            f"{', '.join(model.name for model in self.models)}."
        )

    def warnings(self) -> list[str]:
        """What a reader should know: drift, a busy machine, wide estimates, load beforehand."""
        found = [
            (self.drift, f"the clock drifted ({self.drift_ratio:.2f}x)"),
            (self.busy, f"the machine is busy ({self.busy_share:.0%} of runs disturbed)"),
            (not self.converged, "not every estimate reached its width"),
        ]
        return [
            *(text for flag, text in found if flag),
            *disturbances(self.context.get("telemetry")),
            *told_of_load(self.context.get("sustained")),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON data, with the format's version.

        The noise is left out where it is that of files that state none, see `UNSTATED`.
        """
        noise = {} if self.noise == UNSTATED else {"noise": self.noise.to_dict()}
        return {
            "format": "profilers.measurement",
            "version": self.version,
            "statistic": self.statistic,
            "models": [model.to_dict() for model in self.models],
            "reference": self.reference.to_dict(),
            "context": dict(self.context),
            "options": self.options.to_dict(),
            "protocol": dict(self.protocol),
            "rounds": self.rounds,
            "drift_ratio": self.drift_ratio,
            "drift": self.drift,
            "busy_share": self.busy_share,
            "busy": self.busy,
            "converged": self.converged,
            "duration_s": self.duration_s,
        } | noise

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Reads what `to_dict` wrote.

        Raises:
            RecordDamaged: Another format or version, or a field is missing or wrong.
        """
        try:
            data = plain.record(data, "a measurement")
            form, version = data["format"], plain.whole(data["version"], "version")
            if form != "profilers.measurement" or not FIRST_VERSION <= version <= FORMAT_VERSION:
                raise RecordDamaged(
                    f"this is no measurement of version {FIRST_VERSION} to {FORMAT_VERSION}: "
                    f"format {shown(form)}, version {version}. Measure again, or read it with the "
                    "release that wrote it."
                )
            models = plain.items(data["models"], "models", MAX_MODELS, 1)
            return cls(
                models=tuple(ModelMeasurement.from_dict(item) for item in models),
                reference=ReferenceMeasurement.from_dict(data["reference"]),
                context=dict(plain.record(data["context"], "context")),
                options=RuntimeOptions.from_dict(data["options"]),
                protocol=dict(plain.record(data["protocol"], "protocol")),
                noise=_noise(data.get("noise", {})),
                **plain.fields(cls, data, "the measurement"),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise RecordDamaged(
                f"the saved measurement is damaged: {type(error).__name__}: {error}. Measure again."
            ) from error


def _noise(stated: Any) -> Noise:
    """What a saved measurement was computed with."""
    return Noise.from_dict(UNSTATED.to_dict() | stated if isinstance(stated, dict) else stated)
