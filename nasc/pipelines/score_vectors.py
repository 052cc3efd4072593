"""Scores of sentence vectors: on STS-B, on question to paragraph, against the teacher's rankings.

Whatever makes the vectors is run by its runtime in its precision (`nasc.evaluation.encoder`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.heads import leaves_own_head, vector_size
from nasc.data.prompts import DOCUMENT, NO_PROMPTS, QUERY, Prompts, prompted
from nasc.errors import ExportError, UsageError
from nasc.evaluation.bootstrap import Estimate, mean_with_interval
from nasc.evaluation.encode_blocks import Encode, encode_blocks
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.retrieval import CUTOFF, ranking_ndcgs
from nasc.package.manifest import Manifest
from nasc.tasks import ranking, retrieval
from nasc.tasks.ranking import read_ranked_texts
from nasc.tasks.retrieval import (
    Retrieval,
    read_retrieval,
    retrieval_gains,
    retrieval_means,
    retrieval_places,
    retrieval_scores,
    sample,
)
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import DEFAULT_TEACHER_SHA256, Teacher, load_teacher
from nasc.utils.progress import Reporter

STS = "sts-b"

VECTOR_TASKS = (STS, retrieval.NAME, ranking.NAME)
"""What sentence vectors can be scored on."""

QUERY_TASKS = (retrieval.NAME, ranking.NAME)
"""Those of them in which texts ask for others."""


@dataclass(frozen=True, slots=True)
class Queries:
    """What of the queries is asked for.

    Attributes:
        most: Only so many, drawn by the seed; None takes the task's default.
        seed: Of the draw and of the intervals.
        teacher: Folder or hub id of the teacher: for ``ranking`` and for packages that are for
            queries alone, where None is the scored model's own, and for ``retrieval`` and
            ``sts-b``, where it is scored beside the model.

    Raises:
        UsageError: On numbers that make no sense.
    """

    most: int | None = None
    seed: int = 0
    teacher: str | Path | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise UsageError(f"--queries must be at least 1, got {self.most}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"a seed must be in [0, {2**32 - 1}], got {self.seed}")

    def check(self, task: str) -> None:
        """Raise where something is asked for that a task does not know.

        Raises:
            UsageError: With the tasks that do.
        """
        if self.most is not None and task not in QUERY_TASKS:
            raise UsageError(f"--queries goes with --task {' or '.join(QUERY_TASKS)}, not {task}")
        if self.teacher is not None and task not in VECTOR_TASKS:
            raise UsageError(
                f"--teacher goes with --task {', '.join(VECTOR_TASKS)}, which are about vectors, "
                f"not with {task}"
            )


@dataclass(frozen=True, slots=True)
class AgainstTeacher:
    """A score beside the teacher's on the same data.

    Texts are cut to the same length, for a teacher that reads less to its own.

    Attributes:
        teacher: The teacher's score, of its own network in fp32.
        gain: The score minus the teacher's.
        interval: Two-sided 90% bootstrap interval (low, high) of the gain, by a paired resampling
            of what is asked; None of scores that have none.
    """

    teacher: float
    gain: float
    interval: tuple[float, float] | None = None

    @property
    def share(self) -> float | None:
        """Of the teacher's score, what is left; None where that is not above 0."""
        return (self.teacher + self.gain) / self.teacher if self.teacher > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        known = {"teacher": self.teacher, "share": self.share, "gain": self.gain}
        return known if self.interval is None else known | {"interval": list(self.interval)}

    def __str__(self) -> str:
        """For people: ``teacher 0.7352, gain -0.0544 (-0.0660 to -0.0420), 92.6% of it``."""
        text = f"teacher {self.teacher:.4f}, gain {self.gain:.4f}"
        if self.interval is not None:
            text += f" ({self.interval[0]:.4f} to {self.interval[1]:.4f})"
        return text if self.share is None else f"{text}, {self.share:.1%} of it"


@dataclass(frozen=True, slots=True)
class VectorScores:
    """How sentence vectors did.

    Attributes:
        scores: By metric, the score of record first.
        examples: Pairs, or queries.
        intervals: Two-sided 90% bootstrap intervals (low, high) by metric, of some tasks.
        documents: Texts that were ranked for a query; None of tasks that rank none.
        against_teacher: By metric, where the teacher was scored on the same data.
    """

    scores: Mapping[str, float]
    examples: int
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    documents: int | None = None
    against_teacher: Mapping[str, AgainstTeacher] = field(default_factory=dict)


def teacher_of(manifest: Manifest, given: str | Path | None) -> Teacher:
    """The teacher that a package follows.

    A package names where its teacher came from; nothing is opened for that name.

    Args:
        manifest: Of the package.
        given: Folder or hub id; None finds the default teacher alone.

    Returns:
        Without a head of its own where the package has none: vectors are compared.

    Raises:
        UsageError: If it has to be named, another is, or its vectors are of another size.
        TeacherError: From its files.
    """
    record = manifest.teacher
    if given is None and record.sha256 != DEFAULT_TEACHER_SHA256:
        raise UsageError(
            f"the package follows the teacher {record.name!r}: name its folder: --teacher DIR"
        )
    teacher = load_teacher(given, bare=leaves_own_head(manifest.head))
    if teacher.sha256 != record.sha256:
        raise UsageError(
            f"the package follows the teacher {record.name!r} (weights {record.sha256[:12]}), "
            f"'{given}' has the weights {teacher.sha256[:12]}. Name the folder of its own"
        )
    size = vector_size(manifest.head, manifest.geometry.hidden)
    if teacher.vector_size != size:
        raise UsageError(
            f"the package gives vectors of {size} numbers, the teacher '{given}' of "
            f"{teacher.vector_size}: its folder's modules.json or config.json is not the one that "
            "the package was made of. Name the folder of its own"
        )
    return teacher


def score_vectors(
    encoder: Encoder,
    task: str,
    data: Path,
    queries: Queries,
    reporter: Reporter,
    teacher: Teacher | None = None,
    prompts: Prompts = NO_PROMPTS,
    *,
    query_only: bool = False,
) -> VectorScores:
    """Score sentence vectors on a task of `VECTOR_TASKS`.

    Args:
        encoder: Gives them; cuts texts to its own length.
        task: Its name.
        data: Its file.
        queries: What of it is asked.
        reporter: Told of the progress and of what was skipped.
        teacher: For ``ranking``, and where documents are embedded by it; where it is given for
            another task it is scored, too.
        prompts: Of the model: the default one stands before every text, before questions and
            paragraphs those of `nasc.data.prompts.QUERY` and `DOCUMENT`.
        query_only: Whether the teacher embeds what is found, of which it reads as much as the
            encoder does.

    Raises:
        TaskDataError: From the file.
        UsageError: If no vectors are scored on the task.
        ExportError: If a vector is zero or no number.
        ProfilerError: If the model cannot be run within its limits.
    """
    if task == STS:
        return _sts(encoder, data, reporter, prompts, teacher)
    if task == retrieval.NAME:
        return _retrieval(encoder, data, queries, reporter, prompts, teacher, query_only=query_only)
    if task != ranking.NAME or teacher is None:
        raise UsageError(f"vectors are scored on {', '.join(VECTOR_TASKS)}, not on {task!r}")
    documents = None
    if query_only:
        teacher, documents = teacher.with_prompt(QUERY), teacher.with_prompt(DOCUMENT)
    return _ranking(encoder, teacher, data, queries, reporter, prompts, documents)


def as_much_of(teacher: Teacher, encoder: Encoder) -> Encode:
    """The teacher's vectors of the part of a text that the encoder reads, too.

    Where that is longer than the teacher's own length, of as much as the teacher reads.
    """
    length = min(encoder.max_length, teacher.max_length)
    return functools.partial(teacher.vectors, max_length=length)


def _sts(
    encoder: Encoder, data: Path, reporter: Reporter, prompts: Prompts, teacher: Teacher | None
) -> VectorScores:
    pairs = read_sts(data, reporter.say)
    spearman = evaluate_sts(prompted(encoder.encode, prompts.before), pairs)
    against = {}
    if teacher is not None:
        by, progress = as_much_of(teacher, encoder), reporter.stage("The teacher's vectors")
        wanted = evaluate_sts(lambda texts: encode_blocks(by, texts, progress), pairs)
        against["spearman"] = AgainstTeacher(wanted, spearman - wanted)
    return VectorScores({"spearman": spearman}, len(pairs), against_teacher=against)


def _retrieval(
    encoder: Encoder,
    data: Path,
    queries: Queries,
    reporter: Reporter,
    prompts: Prompts,
    teacher: Teacher | None,
    *,
    query_only: bool,
) -> VectorScores:
    asked = read_retrieval(data, queries.most, seed=queries.seed)
    if prompts:
        ask, find = prompts.first_of(QUERY), prompts.first_of(DOCUMENT)
        reporter.say(f"prompts: {ask!r} before questions, {find!r} before paragraphs")

    def taught(prompt: tuple[str, ...], texts: Sequence[str], what: str) -> NDArray[np.float32]:
        assert teacher is not None
        encode = as_much_of(teacher.with_prompt(prompt), encoder)
        return encode_blocks(encode, texts, reporter.stage(f"The teacher's vectors of {what}"))

    paragraphs = None
    if query_only and teacher is not None:
        paragraphs = taught(DOCUMENT, asked.paragraphs, "paragraphs")
    found = found_places(encoder, asked, prompts, reporter, paragraphs)
    estimates = retrieval_scores(asked, found, seed=queries.seed)
    scored = _scored(estimates, len(asked.questions), len(asked.paragraphs))
    if teacher is None:
        return scored
    if paragraphs is None:
        paragraphs = taught(DOCUMENT, asked.paragraphs, "paragraphs")
    questions = taught(QUERY, asked.questions, "questions")
    best = _places(teacher.name, asked, questions, paragraphs)
    return replace(scored, against_teacher=_against(asked, found, best, queries.seed))


def found_places(
    encoder: Encoder,
    asked: Retrieval,
    prompts: Prompts,
    reporter: Reporter,
    paragraphs: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """`retrieval_places` by an encoder's vectors.

    Args:
        encoder: Gives them.
        asked: Questions and paragraphs.
        prompts: Of the model; those before questions and before paragraphs are put there.
        reporter: Told of the progress.
        paragraphs: (paragraphs, size) vectors of them by another model; None has the encoder's.

    Raises:
        ExportError: If a vector is zero or no number.
    """

    def vectors(prompt: tuple[str, ...], texts: Sequence[str], what: str) -> NDArray[np.float32]:
        encode = prompted(encoder.encode, prompts.first_of(prompt))
        return encode_blocks(encode, texts, reporter.stage(f"Vectors of {what}"))

    if paragraphs is None:
        paragraphs = vectors(DOCUMENT, asked.paragraphs, "paragraphs")
    questions = vectors(QUERY, asked.questions, "questions")
    return _places(str(encoder.path), asked, questions, paragraphs)


def _against(
    asked: Retrieval, found: NDArray[np.int64], best: NDArray[np.int64], seed: int
) -> dict[str, AgainstTeacher]:
    """Places beside the teacher's, by metric."""
    wanted, gains = retrieval_means(best), retrieval_gains(asked, found, best, seed=seed)
    return {
        name: AgainstTeacher(wanted[name], gain.value, (gain.low, gain.high))
        for name, gain in gains.items()
    }


def _places(
    whose: str, asked: Retrieval, questions: NDArray[np.float32], paragraphs: NDArray[np.float32]
) -> NDArray[np.int64]:
    """`retrieval_places`.

    Raises:
        ExportError: If a vector is zero or no number.
    """
    try:
        return retrieval_places(asked, questions, paragraphs)
    except ValueError as error:
        raise ExportError(f"'{whose}' cannot be scored: {error}") from error


def _ranking(
    encoder: Encoder,
    teacher: Teacher,
    data: Path,
    queries: Queries,
    reporter: Reporter,
    prompts: Prompts,
    documents: Teacher | None,
) -> VectorScores:
    texts = read_ranked_texts(data, reporter.say)
    chosen = sample(len(texts), queries.most or ranking.QUERIES, queries.seed)
    teach = as_much_of(teacher, encoder)
    wanted = encode_blocks(teach, texts, reporter.stage("The teacher's vectors"))
    among = None
    if documents is not None:
        find = as_much_of(documents, encoder)
        among = encode_blocks(find, texts, reporter.stage("The teacher's vectors of documents"))
    encode = prompted(encoder.encode, prompts.before)
    given = encode_blocks(encode, texts, reporter.stage("Vectors of texts"))
    reporter.stage("Rankings")(0, 1, f"{len(chosen):,} queries")
    try:
        each = ranking_ndcgs(wanted, given, chosen, documents=among)
    except ValueError as error:
        raise ExportError(f"'{encoder.path}' cannot be scored: {error}") from error
    estimate = mean_with_interval(each, seed=queries.seed)
    return _scored({f"ndcg_at_{CUTOFF}": estimate}, len(chosen), len(texts) - 1)


def _scored(estimates: Mapping[str, Estimate], queries: int, documents: int) -> VectorScores:
    return VectorScores(
        {name: one.value for name, one in estimates.items()},
        queries,
        {name: (one.low, one.high) for name, one in estimates.items()},
        documents,
    )
