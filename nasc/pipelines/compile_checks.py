"""What does not go together in `nasc compile`, found before anything is measured."""

from __future__ import annotations

from nasc.architecture.heads import ANSWERS, SCORES, TOKENS
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import PackageError, UsageError
from nasc.pipelines.options import (
    ANSWER_METRICS,
    CLASS_METRICS,
    SCORE_METRICS,
    TOKEN_METRICS,
    VECTOR_METRICS,
    Options,
)
from nasc.solver.problem import Limits


def check_packable(context: RunContext, runtime: str) -> None:
    """Raise before anything is measured where no package can be written here for a device.

    Raises:
        PackageError: With the reason.
        profilers.ProfilerError: If the device cannot be reached.
    """
    if refusal := context.sessions.why_not_packed(runtime):
        raise PackageError(
            f"no package for {runtime} can be written for device {context.device.name!r}: {refusal}"
        )


def check_mixture(settings: Settings, options: Options) -> None:
    """Raise where a mixture of lengths goes with nothing that is asked for.

    Raises:
        UsageError: With what to leave out.
    """
    if options.quantile is not None:
        other = f"--quantile {options.quantile}"
        if options.protocol is not None:
            other = f"--protocol {options.protocol}"
        raise UsageError(
            f"--lengths {settings.lengths} holds the mean over a mixture to --latency-ms, "
            f"{other} the runs of one length: give one of them"
        )
    if options.task is not None:
        raise UsageError(
            f"--lengths {settings.lengths} is not offered with --task: examples are of two texts, "
            "or cut in their own way. Give --seq-len"
        )


def check_vocabulary(settings: Settings, options: Options) -> None:
    """Raise where a cut vocabulary does not go with what is asked for.

    Raises:
        UsageError: With what to leave out.
    """
    if options.task is not None:
        raise UsageError(
            f"--vocab-from {settings.vocab_from} is not offered with --task, whose examples are "
            "learnt by the whole vocabulary: leave one of them out"
        )


def check_query_only(options: Options) -> None:
    """Raise where a network for queries alone does not go with what is asked for.

    Raises:
        UsageError: With what to leave out.
    """
    if options.task is not None:
        raise UsageError(
            f"--query-only is about sentence vectors, and --task {options.task.name} is not: give "
            "one of them"
        )
    if options.sts_data is not None:
        raise UsageError(
            "--sts-data compares vectors of a package with each other, and with --query-only they "
            "are compared with the teacher's: leave one of them out"
        )


def check_estimate(limits: Limits, options: Options) -> None:
    """Raise for what only a measurement can hold.

    Raises:
        UsageError: Naming it.
    """
    measured = {
        "--peak-memory-bytes": limits.peak_memory_bytes,
        "--protocol": options.protocol,
        "--quantile": options.quantile,
    }
    for name, value in measured.items():
        if value is not None:
            raise UsageError(
                f"{name} {value:{'g' if isinstance(value, float) else ''}} is measured on the "
                "device, which --estimate does not ask: leave one of them out"
            )


def check_quality_asked(context: RunContext, options: Options) -> None:
    """Raise before the slow part for figures that the teacher's outputs do not have.

    Raises:
        UsageError: With those that they have.
    """
    if options.task is not None or not (options.min_quality or options.sts_data):
        return
    teacher, gives = context.teacher, "vectors"
    known: tuple[str, ...] = VECTOR_METRICS
    if teacher.output != "embed":
        one = len(teacher.labels) == 1
        gives, known = {
            SCORES: (
                ("scores of pairs", SCORE_METRICS) if one else ("scores of classes", CLASS_METRICS)
            ),
            TOKENS: ("scores of tokens", TOKEN_METRICS),
            ANSWERS: ("answers to questions", ANSWER_METRICS),
        }[teacher.output]
    for name in options.min_quality:
        if name not in known:
            raise UsageError(
                f"--min-quality {name}: the teacher {teacher.name!r} gives {gives}, whose "
                f"figures are {', '.join(known)}"
            )
    if gives != "vectors" and options.sts_data is not None:
        raise UsageError(
            f"--sts-data is of vectors, the teacher {teacher.name!r} gives {gives}: leave it out"
        )
