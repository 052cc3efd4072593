"""The manifest of a package: what it is, what it promises, and the evidence for both.

Saved as manifest.json and measurements.json, together in the form that manifest.schema.json beside
this module describes.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import importlib.resources
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from device_profiles.reading import FileRefused, fits_pattern, read_json, shown
from device_profiles.sustained import load_words
from nasc.architecture.heads import (
    check_head,
    gives_scores,
    is_own_head,
    is_task_head,
    scores_tokens,
)
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.data.prompts import NO_PROMPTS, Prompts
from nasc.errors import NascError, PackageError, UsageError
from nasc.evaluation.parity_report import Parity, ReducedPrecisionReport, parity_from_dict
from nasc.latency.lengths import LengthMixture
from nasc.lowering.tuned_kernels import TunedKernels
from nasc.package.measurements import (
    FIRST_VERSION,
    MEASURED,
    MEASUREMENTS,
    has_measurements,
    joined,
)
from nasc.utils.files import sha256_of
from nasc.utils.printable import is_printable, printable
from nasc.version import __version__
from profilers import (
    InputSpec,
    Measurement,
    ModelJob,
    ModelMeasurement,
    ProfilerError,
    SingleStream,
)
from profilers.mlperf import NAME, QUANTILE
from profilers.statistic import weighted_quantile

MANIFEST = "manifest.json"

FORMAT = "nasc.package"

SCHEMA_VERSION = 7
"""Raised with every change of the manifest's form."""

MAX_BYTES = 32 << 20
"""What a manifest may hold; one with the samples of 300 rounds has 1 MB (2026)."""

MAX_VALUES = 200_000
"""Numbers, texts and the like in a manifest: what can be checked one by one within seconds. One
with the samples of 36 rounds has 14,000 (2026); the p99 of a short network takes 100 rounds."""

MAX_INPUT_VALUES = 1 << 22
"""Values that the inputs of a measurement may hold: 8,192 sentences of 512 tokens."""

MAX_WORDS = 10_000
"""Characters of a text in a manifest."""

READ_VERSIONS = (2, 3, 4, 5, 6, 7)
"""Forms that are read. 3 allows for files in a folder of the package, 4 for precisions other than
fp32 and int8, 5 for heads of other poolings than the mean,
scaled, other activations than the exact GELU, and embeddings of their own size; 6 for tuning
records, words in 4 bits, prompts, and a vocabulary that was cut; 7 has what was measured in a file
of its own (`nasc.package.measurements`)."""

_LIBRARIES = ("torch", "onnx", "onnxruntime", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a latency limit is about. Tokenisation is never part of it.

    Attributes:
        device: Name of the device profile.
        runtime: What runs the model, ``onnxruntime`` for example.
        batch: Sentences in a run.
        seq_len: Tokens of each.
        threads: Threads that share one operator.
        statistic: The statistic of record.
        quantile: None holds the statistic of record to the limit; p50, p90 or p99 that one.
        fixed_shape: Whether the model takes inputs of this batch and length alone.
        lengths: Of the texts, where a latency is the mean over a mixture of them; `seq_len` is the
            longest then. None: all are of `seq_len`.
        protocol: By whose rules the quantile is taken; None: as `profilers` takes it.
        sustained_minutes: Minutes that the device was kept under load before it was measured; None:
            none.

    Raises:
        PackageError: If these contradict each other.
    """

    device: str
    runtime: str
    batch: int
    seq_len: int
    threads: int
    statistic: str
    quantile: str | None = None
    fixed_shape: bool = False
    lengths: LengthMixture | None = None
    protocol: str | None = None
    sustained_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.protocol is not None and (self.protocol, self.quantile) != (NAME, QUANTILE):
            raise PackageError(f"conditions: {self.quantile} by protocol {self.protocol!r}")
        if self.lengths is None:
            return
        if (self.batch, self.seq_len, self.fixed_shape) != (1, self.lengths.longest, False):
            raise PackageError(
                f"conditions: a mixture of lengths up to {self.lengths.longest} with batch "
                f"{self.batch}, length {self.seq_len}, fixed shape {self.fixed_shape}"
            )
        if self.quantile is not None:
            raise PackageError(f"conditions: the mean over a mixture has no {self.quantile}")

    @property
    def shape(self) -> tuple[int, int] | None:
        """(batch, seq_len) of the only inputs that the model takes; None if any."""
        return (self.batch, self.seq_len) if self.fixed_shape else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a shape is spoken of where it is fixed."""
        values = dataclasses.asdict(self) | {"tokenisation_included": False}
        if not self.fixed_shape:
            del values["fixed_shape"]
        del values["lengths"]
        if self.lengths is not None:
            values["lengths"] = self.lengths.to_dict()
        for name in ("protocol", "sustained_minutes"):
            if values[name] is None:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Conditions:
        """Read what `to_dict` gave.

        Raises:
            NascError: If it contradicts itself.
        """
        values = dict(raw)
        del values["tokenisation_included"]
        if "lengths" in values:
            values["lengths"] = LengthMixture.from_dict(values["lengths"])
        return cls(**values)

    def __str__(self) -> str:
        held = self.quantile or self.statistic
        if self.protocol is not None:
            held += f" by protocol {self.protocol}"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        shape = f"batch {self.batch}, {self.seq_len} tokens"
        if self.lengths is not None:
            shape = f"batch {self.batch}, {self.lengths.words()}"
        if self.fixed_shape:
            shape += " and no other shape"
        load = "" if self.sustained_minutes is None else f"{load_words(self.sustained_minutes)}, "
        return (
            f"device {self.device}, {self.runtime}, {shape}, {threads}, {load}"
            f"tokenisation not included, statistic: {held}"
        )


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


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Most memory that a process held while it loaded and ran the model, in bytes.

    Attributes:
        predicted_bytes: Before the network was built; None where it was not predicted.
        measured_bytes: On the device; None where the device does not tell.
    """

    predicted_bytes: int | None = None
    measured_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TeacherRecord:
    """Whom the network was trained to follow.

    Attributes:
        name: Short name.
        sha256: Of its weights.
        source: Where it came from.
    """

    name: str
    sha256: str
    source: str

    def __post_init__(self) -> None:
        _make_printable(self, "name", "source")


@dataclass(frozen=True, slots=True)
class TextRecord:
    """The text that the network was trained and judged on; the untouched teacher only judged.

    Attributes:
        description: In words.
        sha256: Of the sentences.
    """

    description: str
    sha256: str

    def __post_init__(self) -> None:
        _make_printable(self, "description")


@dataclass(frozen=True, slots=True)
class VocabularyRecord:
    """The part of the teacher's vocabulary that a package has.

    Attributes:
        text: That it was cut to, in words.
        sha256: Of the texts.
        tokens: Kept.
        of_tokens: That there were.
        heldout_tokens: Tokens, before the cut, of the tenth of the text that chose nothing.
        changed_tokens: Those of them in words that are read otherwise by what is left.

    Raises:
        PackageError: If the counts contradict each other.
    """

    text: str
    sha256: str
    tokens: int
    of_tokens: int
    heldout_tokens: int
    changed_tokens: int

    def __post_init__(self) -> None:
        _make_printable(self, "text")
        if not 0 < self.tokens < self.of_tokens or self.changed_tokens > self.heldout_tokens:
            raise PackageError(f"manifest: counts of the vocabulary contradict each other: {self}")

    def __str__(self) -> str:
        """In words, for people."""
        share = self.changed_tokens / self.heldout_tokens if self.heldout_tokens else 0.0
        return (
            f"{self.tokens:,} of {self.of_tokens:,} tokens, cut to {self.text}; {share:.2%} of the "
            "tokens of its held-out tenth are read otherwise"
        )


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What was trained for the network.

    Attributes:
        distill_steps: Optimizer steps of the network by itself, its part of the halving included;
            0 of the untouched teacher.
        supernet_steps: Of the supernet that was searched; None where none was.
        supernet_text: What that was trained on, in words.
        supernet_operations: Symbols of the operations that it holds.
    """

    distill_steps: int = 0
    supernet_steps: int | None = None
    supernet_text: str | None = None
    supernet_operations: str | None = None

    def __post_init__(self) -> None:
        _make_printable(self, "supernet_text", "supernet_operations")

    def __str__(self) -> str:
        """In words, for people."""
        text = f"{self.distill_steps:,} steps by itself"
        if self.supernet_steps is None:
            return text
        text += f"; out of a supernet of {self.supernet_steps:,} steps on {self.supernet_text}"
        if self.supernet_operations is not None:
            text += f", operations {self.supernet_operations}"
        return text


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The task that a package does.

    Attributes:
        name: As in `nasc.tasks`.
        labels: Names of the classes in the order of the scores; empty of regressions and spans.
        paired: Whether it is about two texts: sentence and sentence, question and passage.
        activation: What a CrossEncoder puts over the scores, out of
            `nasc.architecture.heads.SCORE_ACTIVATIONS`; empty where there is none.
    """

    name: str
    labels: tuple[str, ...] = ()
    paired: bool = False
    activation: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; packages of before know no activation."""
        found = dataclasses.asdict(self) | {"labels": list(self.labels)}
        if not self.activation:
            del found["activation"]
        return found


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of the package.

    Attributes:
        sha256: Of its bytes.
        size_bytes: How many.
    """

    sha256: str
    size_bytes: int


def _make_printable(record: Any, *names: str) -> None:
    """Turn the named texts of a frozen record into what a terminal and a README may show."""
    for name in names:
        value = getattr(record, name)
        if value is not None:
            object.__setattr__(record, name, printable(value)[:MAX_WORDS])


def installed_versions() -> dict[str, str]:
    """Versions of NASC, Python and the libraries that a package depends on."""
    found = {"nasc": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        found[name] = importlib.metadata.version(name)
    return found


def utc_now() -> str:
    """The time in seconds, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that a package says of itself.

    Attributes:
        architecture: Blocks and precision.
        geometry: Of the teacher.
        head: See `nasc.architecture.heads`.
        max_length: Tokens that the package's tokenizer cuts a text to.
        limits: Upper limits asked for by name (``latency_ms``, ``size_bytes``, ``params``,
            ``peak_memory_bytes``).
        conditions: What the latency is about.
        task: What the head is for; None of vectors and states.
        predicted: Latency from the table; None where none was predicted.
        latency_table: What is to be said of the latency tables that the network was chosen by
            (`LatencyTable.note`); None if nothing is.
        latency_not_stated: Why nothing is said of a latency, of a folder that was written beside
            the package that was measured; None of others.
        beside_sha256: Of manifest.json of that package, which is the hash of its build.
        estimate: That its latency was estimated from what is stated of the device, in words, and
            nothing was measured there; None if it was not.
        tuned: By which tuning records its kernels were compiled; None where by none.
        measured: Latency of this file on the device; None where it was not measured.
        tokenisation_ms: Time to tokenise one text of `conditions.seq_len` tokens, in
            milliseconds; stands beside the latency and is no part of it. None if unknown.
        peak_memory: Predicted and measured.
        quality: Figures on held-out text and on tasks, by name.
        parity: Agreement of the file with the network it was made from.
        attempts: Networks that were measured on the way, in order, as plain data.
        evidence: As plain data, as far as there is any: ``table``, the rows of the latency table
            that predict it (`nasc.latency.rows_used`), and ``search``, what was optimal over what
            and the next best (`nasc.selection.evidence`).
        conformance: How far the file is from its network in fp32 at each length, as plain data
            (`nasc.evaluation.parity.conformance`).
        licences: Of what is inside, as plain data: what, licence, source.
        teacher: Whom it follows.
        text: What it was trained on.
        training: How long.
        prompts: The teacher's, by which texts may begin; the default one was before all texts that
            it was trained and judged on.
        query_only: Whether it is for queries alone: documents are found by its teacher's vectors,
            with which all figures of quality compare its own.
        seeds: Of everything random, by what they were for.
        vocabulary: What was cut of the teacher's vocabulary; None where nothing was.
        size_bytes: Of the files that the runtime opens; `build_package` sets it.
        params: Parameters; `build_package` sets it.
        files: Every other file of the package but SHA256SUMS; `build_package` sets it.
        versions: Of NASC, Python and libraries.
        created: When, UTC.

    Raises:
        PackageError: If a value makes no sense.
    """

    architecture: Architecture
    geometry: Geometry
    head: str
    max_length: int
    limits: Mapping[str, float]
    conditions: Conditions
    teacher: TeacherRecord
    text: TextRecord
    task: TaskRecord | None = None
    predicted: PredictedLatency | None = None
    latency_table: str | None = None
    latency_not_stated: str | None = None
    beside_sha256: str | None = None
    estimate: str | None = None
    tuned: TunedKernels | None = None
    measured: MeasuredLatency | None = None
    tokenisation_ms: float | None = None
    peak_memory: PeakMemory = field(default_factory=PeakMemory)
    quality: Mapping[str, Any] = field(default_factory=dict)
    parity: Parity | ReducedPrecisionReport | None = None
    attempts: Sequence[Mapping[str, Any]] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    conformance: Sequence[Mapping[str, Any]] = ()
    licences: Sequence[Mapping[str, str]] = ()
    training: TrainingRecord = TrainingRecord()
    prompts: Prompts = NO_PROMPTS
    query_only: bool = False
    seeds: Mapping[str, int] = field(default_factory=dict)
    vocabulary: VocabularyRecord | None = None
    size_bytes: int = 0
    params: int = 0
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=installed_versions)
    created: str = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        _make_printable(self, "latency_table", "latency_not_stated", "estimate")
        try:
            check_head(self.head)
        except UsageError as error:
            raise PackageError(f"manifest: {error}") from error
        cut = self.vocabulary
        if cut is not None and cut.tokens != self.geometry.vocab_size:
            raise PackageError(
                f"manifest: {cut.tokens} tokens are kept of the vocabulary, the network has "
                f"{self.geometry.vocab_size} words"
            )
        if self.estimate is not None and self.measured is not None:
            raise PackageError("manifest: its latency was estimated, and it was measured")
        scored = is_own_head(self.head) or is_task_head(self.head)
        if scored != (self.task is not None):
            raise PackageError(f"manifest: head {self.head!r} with task {self.task}")
        if self.query_only and scored:
            raise PackageError(f"manifest: head {self.head!r} for queries alone")
        if not 3 <= self.max_length <= self.geometry.max_positions:
            raise PackageError(
                f"manifest: max_length must be 3 to {self.geometry.max_positions}, "
                f"got {self.max_length}"
            )

        if self.measured is not None:
            by_protocol = self.conditions.protocol is not None
            if by_protocol != (self.measured.stream is not None):
                raise PackageError("manifest: conditions and measurement are of two protocols")
        mixture = self.conditions.lengths
        if mixture is not None and mixture.longest > self.max_length:
            raise PackageError(
                f"manifest: texts of {mixture.longest} tokens in the mixture of lengths, texts are "
                f"cut to {self.max_length}"
            )

    @property
    def states_latency(self) -> bool:
        """Whether anything is said of its latency: measured, predicted, estimated or promised."""
        said = (self.measured, self.predicted, self.estimate, self.limits.get("latency_ms"))
        return any(one is not None for one in said)

    @property
    def states_measurable(self) -> bool:
        """Whether anything is said that only a measurement tells: its latency, memory or time."""
        said = (
            self.limits.get("peak_memory_bytes"),
            self.peak_memory.measured_bytes,
            self.tokenisation_ms,
        )
        return self.states_latency or any(one is not None for one in said)

    @property
    def scores_pairs(self) -> bool:
        """Whether it has the head of a teacher that scores two texts at a time."""
        return self.task is not None and self.task.paired and gives_scores(self.head)

    @property
    def golden_pairs(self) -> bool:
        """Whether golden.json holds pairs: the teacher's head takes two texts at a time."""
        answers = self.task is not None and self.task.paired and scores_tokens(self.head)
        return self.scores_pairs or answers

    @property
    def precision(self) -> str:
        """Of the architecture."""
        return self.architecture.precision

    def to_dict(self) -> dict[str, Any]:
        """Plain data of the form that the schema describes."""
        blocks = [dataclasses.asdict(block) for block in self.architecture.blocks]
        for block in blocks:
            block["operations"] = list(block["operations"])
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "architecture": {"text": str(self.architecture), "blocks": blocks},
            "precision": self.precision,
            "geometry": self.geometry.to_dict(),
            "head": self.head,
            "task": None if self.task is None else self.task.to_dict(),
            "max_length": self.max_length,
            **self._stated_prompts(),
            **({"query_only": True} if self.query_only else {}),
            "limits": dict(self.limits),
            "conditions": self.conditions.to_dict(),
            "predicted": None if self.predicted is None else dataclasses.asdict(self.predicted),
            **({} if self.latency_table is None else {"latency_table": self.latency_table}),
            **{
                name: value
                for name in ("latency_not_stated", "beside_sha256", "estimate")
                if (value := getattr(self, name)) is not None
            },
            **({} if self.tuned is None else {"tuned": self.tuned.to_dict()}),
            "measured": None if self.measured is None else self.measured.to_dict(),
            "tokenisation_ms": self.tokenisation_ms,
            "size_bytes": self.size_bytes,
            "params": self.params,
            "peak_memory": dataclasses.asdict(self.peak_memory),
            "quality": dict(self.quality),
            "parity": None if self.parity is None else self.parity.to_dict(),
            "attempts": [dict(attempt) for attempt in self.attempts],
            **({"evidence": dict(self.evidence)} if self.evidence else {}),
            **(
                {"conformance": [dict(row) for row in self.conformance]} if self.conformance else {}
            ),
            **({"licences": [dict(one) for one in self.licences]} if self.licences else {}),
            "teacher": dataclasses.asdict(self.teacher),
            "text": dataclasses.asdict(self.text),
            "training": dataclasses.asdict(self.training),
            "seeds": dict(self.seeds),
            **(
                {}
                if self.vocabulary is None
                else {"vocabulary": dataclasses.asdict(self.vocabulary)}
            ),
            "versions": dict(self.versions),
            "files": {name: dataclasses.asdict(record) for name, record in self.files.items()},
        }

    def _stated_prompts(self) -> dict[str, Any]:
        """Under the key ``prompts``; nothing where there are none."""
        if not self.prompts.texts:
            return {}
        texts = {name: json.dumps(text) for name, text in self.prompts.texts}
        return {"prompts": {"texts": texts, "default": self.prompts.default}}

    def to_plain(self) -> dict[str, Any]:
        """Plain data as the files of a manifest hold them.

        Raises:
            PackageError: If a value does not fit the schema, or is infinite or no number.
        """
        raw = _printable(self.to_dict())
        _refuse_infinite(raw, "")
        plain: dict[str, Any] = json.loads(json.dumps(raw))
        check_schema(plain)
        return plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Manifest:
        """Read what `to_dict` gave.

        Raises:
            PackageError: If it does not fit the schema or contradicts itself.
        """
        _check_values(raw)
        check_schema(raw)
        try:
            blocks = tuple(
                Block(b["hidden"], tuple(b["operations"]), b["kept"])
                for b in raw["architecture"]["blocks"]
            )
            architecture = Architecture(blocks, raw["precision"])
            task = raw.get("task")
            predicted, measured, parity = raw["predicted"], raw["measured"], raw["parity"]
            manifest = cls(
                architecture=architecture,
                geometry=Geometry(**raw["geometry"]),
                head=raw["head"],
                task=None
                if task is None
                else TaskRecord(**task | {"labels": tuple(task["labels"])}),
                max_length=raw["max_length"],
                prompts=_prompts(raw.get("prompts")),
                query_only=raw.get("query_only", False),
                limits=raw["limits"],
                conditions=Conditions.from_dict(raw["conditions"]),
                predicted=None if predicted is None else PredictedLatency(**predicted),
                latency_table=raw.get("latency_table"),
                latency_not_stated=raw.get("latency_not_stated"),
                beside_sha256=raw.get("beside_sha256"),
                estimate=raw.get("estimate"),
                tuned=TunedKernels.from_dict(raw["tuned"]) if "tuned" in raw else None,
                measured=None if measured is None else MeasuredLatency.from_dict(measured),
                tokenisation_ms=raw["tokenisation_ms"],
                peak_memory=PeakMemory(**raw["peak_memory"]),
                quality=raw["quality"],
                parity=None if parity is None else parity_from_dict(parity),
                attempts=tuple(raw["attempts"]),
                evidence=raw.get("evidence", {}),
                conformance=tuple(raw.get("conformance", ())),
                licences=tuple(raw.get("licences", ())),
                teacher=TeacherRecord(**raw["teacher"]),
                text=TextRecord(**raw["text"]),
                training=TrainingRecord(**raw["training"]),
                seeds=raw["seeds"],
                vocabulary=VocabularyRecord(**raw["vocabulary"]) if "vocabulary" in raw else None,
                size_bytes=raw["size_bytes"],
                params=raw["params"],
                files={name: FileRecord(**record) for name, record in raw["files"].items()},
                versions=raw["versions"],
                created=raw["created"],
            )
        except (NascError, ProfilerError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PackageError(f"the manifest contradicts itself: {error}") from error
        if raw["architecture"]["text"] != str(architecture):
            raise PackageError(
                "the manifest contradicts itself: its architecture is "
                f"'{raw['architecture']['text']}' in text and '{architecture}' in blocks"
            )
        return manifest


def _prompts(raw: Mapping[str, Any] | None) -> Prompts:
    """Prompts, each of which a manifest holds as JSON: a line break in one is none of its own."""
    if raw is None:
        return NO_PROMPTS
    wrong = [text for text in raw["texts"].values() if not text.startswith('"')]
    if wrong:
        raise ValueError(f"the prompt {shown(wrong[0])} is no text in JSON")
    texts = tuple((name, json.loads(text)) for name, text in raw["texts"].items())
    return Prompts(texts, raw["default"])


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a package.

    Args:
        folder: The package.

    Raises:
        PackageError: If there is none, or it is damaged.
    """
    return Manifest.from_dict(read_plain_manifest(folder))


def read_plain_manifest(folder: str | Path) -> Any:
    """The manifest of a package, both of its files, as plain data not yet checked for its form.

    Raises:
        PackageError: If there is none, a file is no JSON of bounded size and finite numbers, or
            they are of two builds.
    """
    path = Path(os.path.expanduser(folder)).absolute() / MANIFEST
    if not path.exists():
        raise PackageError(
            f"no package in '{path.parent}': there is no {MANIFEST}. Make one: nasc compile "
            "--latency-ms 20"
        )
    try:
        build = read_json(path, MAX_BYTES)
        version = build.get("schema_version") if isinstance(build, dict) else None
        beside = path.with_name(MEASUREMENTS)
        is_whole = type(version) is not int or version < FIRST_VERSION
        if is_whole and (type(version) is int or not os.path.lexists(beside)):
            _check_listed(build, False)
            return build
        if not os.path.lexists(beside):
            raise PackageError(f"{MEASUREMENTS} is missing. Get the package anew")
        whole = joined(build, read_json(beside, MAX_BYTES), sha256_of(path))
        _check_listed(whole, True)
        return whole
    except (OSError, FileRefused) as error:
        raise PackageError(
            f"the manifest cannot be read: {error}. Get the package anew, or make another: "
            "nasc compile --latency-ms 20"
        ) from error


def _check_listed(plain: Any, apart: bool) -> None:
    """Refuse a manifest whose files do not go with where its measurements are."""
    files = plain.get("files") if isinstance(plain, dict) else None
    if isinstance(files, dict) and has_measurements(files) != apart:
        lists = "lists no" if apart else "lists a"
        raise PackageError(f"the manifest {lists} {MEASURED}, and is of another form. It is forged")


def _unless_too_many(keyword: str) -> Any:
    """A keyword about each entry, which looks at none where there are more than may be.

    jsonschema looks at all entries also of a list or an object that is too large.
    """
    check = jsonschema.Draft202012Validator.VALIDATORS[keyword]

    def checked(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
        most = schema.get("maxItems" if isinstance(instance, list) else "maxProperties")
        if most is None or not isinstance(instance, (list, dict)) or len(instance) <= most:
            yield from check(validator, value, instance, schema)

    return checked


_PER_ENTRY = ("items", "propertyNames", "additionalProperties")

_Bounded: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {"pattern": fits_pattern} | {name: _unless_too_many(name) for name in _PER_ENTRY},
)


@functools.cache
def _validator() -> Any:
    text = importlib.resources.files("nasc.package").joinpath("manifest.schema.json").read_text()
    return _Bounded(json.loads(text))


def check_schema(raw: object) -> None:
    """Raise unless plain data have the form of a manifest.

    Raises:
        PackageError: Naming the version, or the first field that does not fit.
    """
    version = raw.get("schema_version") if isinstance(raw, Mapping) else None
    if type(version) is int and version not in READ_VERSIONS:
        raise PackageError(
            f"the manifest has schema version {version}, this nasc ({__version__}) reads "
            f"{', '.join(map(str, READ_VERSIONS))}. Use the release that wrote it"
        )
    error = jsonschema.exceptions.best_match(_validator().iter_errors(raw))
    if error is not None:
        raise PackageError(
            f"the manifest does not fit its schema: {error.json_path[:200]}: {error.message[:300]}"
        )


def _printable(value: Any) -> Any:
    """Plain data whose texts, keys included, can be shown."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _printable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(inner) for inner in value]
    return value


def _check_values(raw: object) -> None:
    """Raise where plain data holds more than a manifest may, whatever its form.

    Raises:
        PackageError: On too many values, an endless number, or text that a terminal would obey.
    """
    _refuse_infinite(raw, "")
    level, count = [raw], 0
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below += value.keys()
                below += value.values()
            elif isinstance(value, (list, tuple)):
                below += value
            elif isinstance(value, str) and not all(map(is_printable, value)):
                raise PackageError(
                    f"the manifest holds control characters: {shown(value)}. A package "
                    "of nasc compile has none: do not trust this one"
                )
        count += len(below)
        if count > MAX_VALUES:
            raise PackageError(f"the manifest holds more than {MAX_VALUES:,} values")
        level = below


def _refuse_infinite(value: object, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise PackageError(
            f"manifest{place} is {value}: a package states finite figures only. A latency "
            "without a bound was measured too briefly: measure more rounds"
        )
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_infinite(inner, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _refuse_infinite(inner, f"{place}[{index}]")
