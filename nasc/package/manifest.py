"""The manifest of a package: what it is, what it promises, and the evidence for both.

Saved as manifest.json and measurements.json, together in the form that manifest.schema.json beside
this module describes.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from device_profiles.reading import shown
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
from nasc.lowering.tuned_kernels import TunedKernels
from nasc.package.conditions import Conditions
from nasc.package.manifest_schema import (
    FORMAT,
    SCHEMA_VERSION,
    check_schema,
    check_values,
    printable_data,
    refuse_infinite,
)
from nasc.package.measured_latency import MeasuredLatency, PredictedLatency
from nasc.package.records import (
    FileRecord,
    PeakMemory,
    TaskRecord,
    TeacherRecord,
    TextRecord,
    TrainingRecord,
    VocabularyRecord,
    make_printable,
)
from nasc.version import __version__
from profilers import ProfilerError

_LIBRARIES = ("torch", "onnx", "onnxruntime", "transformers", "tokenizers", "numpy")


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
    training: TrainingRecord = field(default_factory=TrainingRecord)
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
        make_printable(self, "latency_table", "latency_not_stated", "estimate")
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
        raw = printable_data(self.to_dict())
        refuse_infinite(raw, "")
        plain: dict[str, Any] = json.loads(json.dumps(raw))
        check_schema(plain)
        return plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Manifest:
        """Read what `to_dict` gave.

        Raises:
            PackageError: If it does not fit the schema or contradicts itself.
        """
        check_values(raw)
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
