"""What `nasc compile` is asked for, beside limits and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nasc.errors import UsageError
from nasc.package.formats import FORMATS, is_package
from nasc.supernet.budget import check_budget
from profilers.mlperf import MIN_DURATION_S, NAME, QUANTILE, check_duration

if TYPE_CHECKING:
    from nasc.tasks.shipping import TaskOptions

DISTILL_MINUTES = 2.5
"""Default budget of the chosen network."""

VECTOR_METRICS = ("pooled_cosine", "similarity_spearman", "ranking_ndcg")
CLASS_METRICS = ("class_agreement",)
SCORE_METRICS = ("score_spearman", "ranking_ndcg")
TOKEN_METRICS = ("token_f1", "entity_f1")
ANSWER_METRICS = ("answer_f1", "answer_agreement")
QUALITY_METRICS = tuple(
    dict.fromkeys(
        (*VECTOR_METRICS, *CLASS_METRICS, *SCORE_METRICS, *TOKEN_METRICS, *ANSWER_METRICS)
    )
)
"""Of vectors, and by the teacher's own head of scores of classes, of one score of two texts, of
classes of tokens, of answers."""

RETRIEVAL_METRICS = ("mrr_at_10", "recall_at_1", "recall_at_10")
"""Of vectors where questions are given whose paragraphs are to be found
(`nasc.tasks.retrieval.METRICS`)."""


def check_protocol(protocol: str, quantile: str | None) -> None:
    """Raise unless a protocol is known and reports a quantile.

    Raises:
        UsageError: If not.
    """
    if protocol != NAME:
        raise UsageError(f"unknown protocol {protocol!r}; known: {NAME}")
    if quantile not in (None, QUANTILE):
        raise UsageError(
            f"--protocol {NAME} is about {QUANTILE}, not {quantile}: leave --quantile {quantile} "
            "out, or the protocol"
        )


@dataclass(frozen=True, slots=True)
class Options:
    """What `compile` does beyond searching.

    Attributes:
        distill_minutes: Budget of the chosen network; None takes `DISTILL_MINUTES`.
        distill_steps: Optimizer steps of the chosen network instead.
        quantile: None holds the statistic of record to the latency limit; p50, p90 or p99
            of the observed runs that one.
        protocol: None holds a statistic of the measurement to the latency limit;
            ``mlperf-single-stream`` the figure of that scenario, p90 (`profilers.mlperf`).
        min_duration_s: Seconds that its runs last at least; None takes MLPerf's own.
        min_quality: By metric of `QUALITY_METRICS`, or of `RETRIEVAL_METRICS` with
            `retrieval_data`, what the package must reach.
        sts_data: STS file; int8 may cost at most 0.01 of the score on it.
        retrieval_data: File of SQuAD; the package states how well it finds its paragraphs, of
            `nasc.tasks.retrieval.QUERIES` questions at most, drawn by the seed.
        output: Folder of the package; None names one in the current folder.
        force: Replace an existing package.
        formats: What is written, out of `nasc.package.formats.FORMATS`: see `folders`. The
            package of the runtime that was measured is in any case.
        task: What the package is to do besides giving vectors; it is fine-tuned on that.
        sign: Private key (elliptic, PEM) that all that is written is signed with; None signs
            nothing.

    Raises:
        UsageError: On values that make no sense.
    """

    distill_minutes: float | None = None
    distill_steps: int | None = None
    quantile: str | None = None
    protocol: str | None = None
    min_duration_s: float | None = None
    min_quality: Mapping[str, float] = field(default_factory=dict)
    sts_data: Path | None = None
    retrieval_data: Path | None = None
    output: Path | None = None
    force: bool = False
    formats: tuple[str, ...] = ()
    task: TaskOptions | None = None
    sign: Path | None = None

    def __post_init__(self) -> None:
        if self.distill_minutes is not None:
            check_budget(self.distill_minutes)
            if self.distill_steps is not None:
                raise UsageError("give --distill-minutes or --distill-steps, not both")
        if self.quantile not in (None, "p50", "p90", "p99"):
            raise UsageError(f"unknown quantile {self.quantile!r}; allowed: p50, p90, p99")
        if self.protocol is not None:
            check_protocol(self.protocol, self.quantile)
            object.__setattr__(self, "quantile", QUANTILE)
        if self.min_duration_s is not None:
            if self.protocol is None:
                raise UsageError(f"--min-duration goes with --protocol {NAME}: give that too")
            check_duration(self.min_duration_s)
        if self.task is not None and self.vector_data:
            raise UsageError(
                f"{self.vector_data[0]} judges sentence vectors; --task has data: give one"
            )
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
        known = self.task.metrics if self.task is not None else QUALITY_METRICS + RETRIEVAL_METRICS
        for name, value in self.min_quality.items():
            if name not in known:
                raise UsageError(f"unknown quality {name!r}; known: {', '.join(known)}")
            if not -1 <= value <= 1:
                raise UsageError(f"a quality to reach must be in [-1, 1], got {name} {value}")
            if name in RETRIEVAL_METRICS and self.retrieval_data is None:
                raise UsageError(
                    f"--min-quality {name} is about questions and the paragraphs that answer them: "
                    "give a file of SQuAD, --retrieval-data FILE"
                )

    def folders(self, runtime: str) -> tuple[str, ...]:
        """Those of `formats` that are written beside the package: each in a folder of its own.

        Args:
            runtime: That the package is for; a format that is that package goes into no other.
        """
        return tuple(name for name in self.formats if not is_package(name, runtime))

    @property
    def vector_data(self) -> tuple[str, ...]:
        """Options given with labelled data that sentence vectors are judged by."""
        given = {"--sts-data": self.sts_data, "--retrieval-data": self.retrieval_data}
        return tuple(name for name, path in given.items() if path is not None)

    @property
    def duration_s(self) -> float:
        """Seconds that a run of the protocol lasts at least."""
        return MIN_DURATION_S if self.min_duration_s is None else self.min_duration_s

    @property
    def waits_for(self) -> str | None:
        """The quantile whose bound the measurement itself has to find."""
        return self.quantile if self.protocol is None else None
