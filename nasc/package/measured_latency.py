"""The latency of a package: as its table foretold it, and as it was measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.errors import PackageError
from nasc.latency.lengths import LengthMixture
from profilers import InputSpec, Measurement, ModelJob, ModelMeasurement, SingleStream
from profilers.statistic import weighted_quantile

MAX_INPUT_VALUES = 1 << 22
"""Values that the inputs of a measurement may hold: 8,192 sentences of 512 tokens."""


@dataclass(frozen=True, slots=True)
class PredictedLatency:
    """What the latency table foretold, in milliseconds.

    Attributes:
        latency_ms: The prediction.
        low_ms: Lower end of its interval.
        high_ms: Upper end. The search holds the limit against it or against what a repeated
            measurement's bound would be, whichever is higher.
    """

    latency_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """One length of a mixture, as it was measured.

    Attributes:
        job: Name of the model with inputs of this length within the measurement.
        seq_len: Tokens of its inputs.
        share: Share of the texts that count as being of this length.
    """

    job: str
    seq_len: int
    share: float


@dataclass(frozen=True, slots=True)
class MeasuredLatency:
    """A measurement of the package's own file, with all raw samples and their context.

    Of a mixture of lengths every figure is the mean over it, and so are the bounds: errors of its
    lengths count as having one cause.

    Attributes:
        job: Name of the model within the measurement; of a mixture with the longest inputs.
        inputs: What the model was fed; of a mixture the longest.
        measurement: The measurement.
        parts: The lengths of a mixture, the shortest first; empty where all texts are of one.
        stream: A run of MLPerf's single-stream scenario, whose p90 is held to the limit; None where
            it was not asked for.
    """

    job: str
    inputs: Mapping[str, InputSpec]
    measurement: Measurement
    parts: tuple[MeasuredPart, ...] = ()
    stream: SingleStream | None = None

    def __post_init__(self) -> None:
        known = {model.name for model in self.measurement.models}
        for job in (self.job, *(part.job for part in self.parts)):
            if job not in known:
                raise PackageError(f"the measurement holds no model named {job!r}")
        for name, spec in self.inputs.items():
            if math.prod(spec.shape) > MAX_INPUT_VALUES:
                raise PackageError(
                    f"the input {name!r} of shape {list(spec.shape)} holds more than "
                    f"{MAX_INPUT_VALUES:,} values"
                )
        if self.parts and (
            self.parts[-1].job != self.job
            or any(len(spec.shape) != 2 for spec in self.inputs.values())
            or not math.isclose(sum(part.share for part in self.parts), 1.0)
        ):
            raise PackageError("the lengths of the measured mixture contradict each other")

    @classmethod
    def of(cls, job: ModelJob, measurement: Measurement) -> MeasuredLatency:
        """The part of a measurement that is about one job."""
        return cls(job.name, dict(job.inputs), measurement)

    @classmethod
    def of_mixture(
        cls, jobs: Sequence[ModelJob], measurement: Measurement, lengths: LengthMixture
    ) -> MeasuredLatency:
        """The part of a measurement that is about one model.

        Args:
            jobs: One for each length of the mixture, the shortest first.
            measurement: In which they were measured.
            lengths: The mixture.
        """
        of_length = zip(jobs, lengths.lengths, lengths.shares, strict=True)
        parts = tuple(MeasuredPart(job.name, length, share) for job, length, share in of_length)
        return cls(jobs[-1].name, dict(jobs[-1].inputs), measurement, parts)

    def jobs(self, model: Path) -> list[ModelJob]:
        """What was measured, of a file."""
        if not self.parts:
            return [ModelJob(self.job, model, self.inputs)]
        return [
            ModelJob(
                part.job,
                model,
                {
                    name: dataclasses.replace(spec, shape=(spec.shape[0], part.seq_len))
                    for name, spec in self.inputs.items()
                },
            )
            for part in self.parts
        ]

    @property
    def model(self) -> ModelMeasurement:
        """The latency; of a mixture that of the longest inputs."""
        return self.measurement[self.job]

    @property
    def models(self) -> tuple[ModelMeasurement, ...]:
        """The latency at each length of a mixture, or that at the only one."""
        return tuple(model for model, _ in self._weighed())

    def lengths(self) -> list[dict[str, Any]]:
        """Figures at each length of a mixture as plain data, the shortest first."""
        return [
            {
                "seq_len": part.seq_len,
                "share": part.share,
                "latency_ms": model.latency_ms,
                "lower_ms": model.lower_ms,
                "upper_ms": model.upper_ms,
            }
            for part, model in zip(self.parts, self.models, strict=bool(self.parts))
        ]

    def with_models(self, models: Sequence[ModelMeasurement]) -> MeasuredLatency:
        """The same with other figures of its models."""
        measurement = dataclasses.replace(self.measurement, models=tuple(models))
        return dataclasses.replace(self, measurement=measurement)

    def _weighed(self) -> list[tuple[ModelMeasurement, float]]:
        parts = self.parts or (MeasuredPart(self.job, 0, 1.0),)
        return [(self.measurement[part.job], part.share) for part in parts]

    @property
    def latency_ms(self) -> float:
        """The statistic of record in milliseconds."""
        return sum(share * model.latency_ms for model, share in self._weighed())

    @property
    def lower_ms(self) -> float:
        """Its one-sided 95% lower bound."""
        return sum(share * model.lower_ms for model, share in self._weighed())

    @property
    def upper_ms(self) -> float:
        """Its one-sided 95% upper bound."""
        return sum(share * model.upper_ms for model, share in self._weighed())

    @property
    def is_quiet(self) -> bool:
        """Whether the machine came near the reference's quiet time often enough."""
        return all(model.is_quiet for model in self.models)

    @property
    def level_ms(self) -> float:
        """The reference's time that it was measured at, in milliseconds."""
        return max(model.level_ms for model in self.models)

    @property
    def p50_ms(self) -> float:
        """Median of all runs as observed, in milliseconds."""
        return self.observed_ms("p50") if self.parts else self.model.p50_ms

    @property
    def mean_p50_ms(self) -> float | None:
        """Of a mixture the mean of the medians at each length; None of a single length."""
        if not self.parts:
            return None
        return sum(share * model.p50_ms for model, share in self._weighed())

    @property
    def p90_ms(self) -> float:
        """90% quantile of all runs as observed, in milliseconds."""
        return self.observed_ms("p90") if self.parts else self.model.p90_ms

    @property
    def p99_ms(self) -> float:
        """99% quantile of all runs as observed, in milliseconds."""
        return self.observed_ms("p99") if self.parts else self.model.p99_ms

    def observed_ms(self, quantile: str) -> float:
        """A quantile of all runs as observed; of a mixture by the shares of its lengths."""
        if not self.parts:
            return self.model.observed_ms(quantile)
        runs, weights = [], []
        for model, share in self._weighed():
            own = [run for visit in model.samples_ms for run in visit]
            runs += own
            weights += [share / len(own)] * len(own)
        return weighted_quantile(runs, weights, quantile)

    def observed_upper_ms(self, quantile: str) -> float:
        """One-sided 95% upper bound of a quantile; a mixture has none."""
        return math.inf if self.parts else self.model.observed_upper_ms(quantile)

    def value_ms(self, quantile: str | None) -> float:
        """The statistic of record, or a quantile of the runs as observed, in milliseconds."""
        if quantile is None:
            return self.latency_ms
        return self.observed_ms(quantile) if self.stream is None else self.stream.percentile_ms

    def held_ms(self, quantile: str | None) -> float:
        """What is held to a limit, in milliseconds: the one-sided 95% upper bound.

        Of single-stream it is the estimate of early stopping.
        """
        if quantile is None:
            return self.upper_ms
        return self.observed_upper_ms(quantile) if self.stream is None else self.stream.estimate_ms

    def repetition_ms(self, quantile: str | None) -> float:
        """What `held_ms` of another measurement may come to, in milliseconds."""
        if quantile is None:
            return sum(share * model.repetition_ms for model, share in self._weighed())
        return self.held_ms(quantile) ** 2 / self.value_ms(quantile)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the figures, then the whole measurement they come from."""
        names = ("latency_ms", "lower_ms", "upper_ms", "p50_ms", "p90_ms", "p99_ms")
        return {name: getattr(self, name) for name in names} | {
            "job": self.job,
            "inputs": {name: spec.to_dict() for name, spec in self.inputs.items()},
            **({"parts": [dataclasses.asdict(part) for part in self.parts]} if self.parts else {}),
            **({} if self.stream is None else {"single_stream": self.stream.to_dict()}),
            "measurement": self.measurement.to_dict(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> MeasuredLatency:
        """Read what `to_dict` gave."""
        inputs = {name: InputSpec.from_dict(spec) for name, spec in raw["inputs"].items()}
        parts = tuple(MeasuredPart(**part) for part in raw.get("parts", ()))
        stream = raw.get("single_stream")
        return cls(
            raw["job"],
            inputs,
            Measurement.from_dict(raw["measurement"]),
            parts,
            None if stream is None else SingleStream.from_dict(stream),
        )
