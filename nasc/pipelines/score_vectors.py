"""Scores of sentence vectors: on STS-B, on question to paragraph, against the teacher's rankings.

Whatever makes the vectors is run by its runtime in its precision (`nasc.evaluation.encoder`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nasc.data.prompts import DOCUMENT, NO_PROMPTS, QUERY, Prompts, prompted
from nasc.errors import ExportError, UsageError
from nasc.evaluation.bootstrap import Estimate, mean_with_interval
from nasc.evaluation.encode_blocks import encode_blocks
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.retrieval import CUTOFF, ranking_ndcgs
from nasc.package.manifest import Manifest
from nasc.tasks import ranking, retrieval
from nasc.tasks.ranking import read_ranked_texts
from nasc.tasks.retrieval import read_retrieval, retrieval_places, retrieval_scores, sample
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
        teacher: Folder or hub id of the teacher, for ``ranking`` and for packages that are for
            queries alone; None is the scored model's own.

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
        if self.teacher is not None and task not in QUERY_TASKS:
            raise UsageError(f"--teacher goes with --task {' or '.join(QUERY_TASKS)}, not {task}")


@dataclass(frozen=True, slots=True)
class VectorScores:
    """How sentence vectors did.

    Attributes:
        scores: By metric, the score of record first.
        examples: Pairs, or queries.
        intervals: Two-sided 90% bootstrap intervals (low, high) by metric, of some tasks.
        documents: Texts that were ranked for a query; None of tasks that rank none.
    """

    scores: Mapping[str, float]
    examples: int
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    documents: int | None = None


def teacher_of(manifest: Manifest, given: str | Path | None) -> Teacher:
    """The teacher that a package follows.

    A package names where its teacher came from; nothing is opened for that name.

    Args:
        manifest: Of the package.
        given: Folder or hub id; None finds the default teacher alone.

    Raises:
        UsageError: If it has to be named, or another is.
        TeacherError: From its files.
    """
    record = manifest.teacher
    if given is None and record.sha256 != DEFAULT_TEACHER_SHA256:
        raise UsageError(
            f"the package follows the teacher {record.name!r}: name its folder: --teacher DIR"
        )
    teacher = load_teacher(given)
    if teacher.sha256 != record.sha256:
        raise UsageError(
            f"the package follows the teacher {record.name!r} (weights {record.sha256[:12]}), "
            f"'{given}' has the weights {teacher.sha256[:12]}. Name the folder of its own"
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
        teacher: For ``ranking``, and where documents are embedded by it.
        prompts: Of the model: the default one stands before every text, before questions and
            paragraphs those of `nasc.data.prompts.QUERY` and `DOCUMENT`.
        query_only: Whether the teacher embeds what is found.

    Raises:
        TaskDataError: From the file.
        UsageError: If no vectors are scored on the task.
        ExportError: If a vector is zero or no number.
        ProfilerError: If the model cannot be run within its limits.
    """
    documents = None
    if query_only and teacher is not None:
        teacher, documents = teacher.with_prompt(QUERY), teacher.with_prompt(DOCUMENT)
    if task == STS:
        pairs = read_sts(data, reporter.say)
        encode = prompted(encoder.encode, prompts.before)
        return VectorScores({"spearman": evaluate_sts(encode, pairs)}, len(pairs))
    if task == retrieval.NAME:
        return _retrieval(encoder, data, queries, reporter, prompts, documents)
    if task != ranking.NAME or teacher is None:
        raise UsageError(f"vectors are scored on {', '.join(VECTOR_TASKS)}, not on {task!r}")
    return _ranking(encoder, teacher, data, queries, reporter, prompts, documents)


def _retrieval(
    encoder: Encoder,
    data: Path,
    queries: Queries,
    reporter: Reporter,
    prompts: Prompts,
    documents: Teacher | None,
) -> VectorScores:
    asked = read_retrieval(data, queries.most, seed=queries.seed)
    ask, found_by = prompts.first_of(QUERY), prompts.first_of(DOCUMENT)
    if prompts:
        reporter.say(f"prompts: {ask!r} before questions, {found_by!r} before paragraphs")
    paragraphs = encode_blocks(
        prompted(encoder.encode, found_by) if documents is None else documents.vectors,
        asked.paragraphs,
        reporter.stage("Vectors of paragraphs"),
    )
    questions = encode_blocks(
        prompted(encoder.encode, ask), asked.questions, reporter.stage("Vectors of questions")
    )
    try:
        found = retrieval_places(asked, questions, paragraphs)
    except ValueError as error:
        raise ExportError(f"'{encoder.path}' cannot be scored: {error}") from error
    estimates = retrieval_scores(asked, found, seed=queries.seed)
    return _scored(estimates, len(asked.questions), len(asked.paragraphs))


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

    # Both read the same part of a text: a package's length, which is its teacher's or less.
    length = min(encoder.max_length, teacher.geometry.max_positions)

    teach = functools.partial(teacher.vectors, max_length=length)
    wanted = encode_blocks(teach, texts, reporter.stage("The teacher's vectors"))
    among = None
    if documents is not None:
        find = functools.partial(documents.vectors, max_length=length)
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
