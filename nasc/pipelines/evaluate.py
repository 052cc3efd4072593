"""What `nasc evaluate` does: the score of a package, a fine-tuned model or a teacher on a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import is_own_head
from nasc.architecture.space import Architecture
from nasc.errors import CodeRefused, NascError, PackageError, UsageError
from nasc.evaluation.encoder import open_here
from nasc.lowering import onnxruntime
from nasc.networks.from_teacher import teacher_network
from nasc.package.build import TOKENIZER
from nasc.package.formats import code_refused, format_of
from nasc.package.hashes import check_unchanged
from nasc.package.manifest import Manifest
from nasc.package.process import PackageProcess
from nasc.package.read_manifest import MANIFEST, read_manifest
from nasc.pipelines.score_vectors import (
    QUERY_TASKS,
    VECTOR_TASKS,
    AgainstTeacher,
    Queries,
    VectorScores,
    score_vectors,
    teacher_of,
)
from nasc.tasks import ranking
from nasc.tasks.data import check_length, default_length, load_tuned, read_task, task_name
from nasc.tasks.models import OnnxTaskModel, read_record
from nasc.teacher import Teacher, load_teacher
from nasc.teacher.folder import DEFAULT_TEACHER
from nasc.teacher.reading_library import read_by_transformers
from nasc.utils.files import check_path
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import use_fastest_threads
from profilers import WorkerLimits


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """How well a package, a fine-tuned model or a teacher does a task.

    Attributes:
        task: Name of the task.
        scores: By metric, the score of record first.
        examples: How many were scored: examples, questions, pairs of sentences, or queries.
        scored: What was scored: the ``vectors`` of a package, a ``package`` that does the task, a
            fine-tuned ``model``, or the vectors of a ``teacher``.
        folder: Folder of the package, the model or the teacher.
        intervals: Two-sided 90% bootstrap intervals (low, high) by metric, where texts are ranked.
        documents: Texts that were ranked for each query; None where none are.
        against_teacher: By metric, where the teacher was scored on the same data.
    """

    task: str
    scores: Mapping[str, float]
    examples: int
    scored: Literal["vectors", "package", "model", "teacher"]
    folder: Path
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    documents: int | None = None
    against_teacher: Mapping[str, AgainstTeacher] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        counted = "pairs" if self.scored == "vectors" else "examples"
        ranked: dict[str, Any] = {}
        if self.documents is not None:
            counted, ranked = "queries", {"documents": self.documents}
        place = "package" if self.scored == "vectors" else self.scored
        intervals = {name: list(ends) for name, ends in self.intervals.items()}
        against = {name: one.to_dict() for name, one in self.against_teacher.items()}
        return {
            "task": self.task,
            **self.scores,
            **({"intervals": intervals} if intervals else {}),
            **({"against_teacher": against} if against else {}),
            counted: self.examples,
            **ranked,
            place: str(self.folder),
        }

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        told = self.to_dict()
        told |= {name: f"{value:.4f}" for name, value in self.scores.items()}
        for name, (low, high) in told.pop("intervals", {}).items():
            told[name] = f"{told[name]} ({low:.4f} to {high:.4f})"
        told.pop("against_teacher", None)
        for name, one in self.against_teacher.items():
            told[name] = f"{told[name]}; {one}"
        return [(name, str(value)) for name, value in told.items()]


def evaluate(
    package: Path,
    task: str,
    data: Path,
    *,
    max_length: int | None = None,
    queries: Queries | None = None,
    run_timeout_s: float | None = None,
    run_code: bool = False,
    reporter: Reporter | None = None,
) -> EvaluateResult:
    """Score of a package's shipped file, a fine-tuned model or a teacher on a task.

    A package runs in the batch size that its latency is about: the vectors of an int8 model depend
    on what else is in the batch.

    Args:
        package: The folder of a package (its vectors on one of `VECTOR_TASKS`, or the task that it
            was fine-tuned on), of a fine-tuned model of transformers (every task with labels), or
            of a teacher, whose vectors are those of its own network in fp32 by onnxruntime
            (``retrieval``, ``ranking``).
        task: Name. ``retrieval`` takes a file of SQuAD: which paragraph answers a question.
            ``ranking`` takes texts without labels: how far the first ten of each ranking are those
            of the teacher.
        data: The task's file.
        max_length: Tokens that an example is cut to; None takes what the package or the
            fine-tuning used, or the teacher's own.
        queries: How many texts ask, and of whom; None takes the defaults.
        run_timeout_s: Seconds that one run of a package's model may take; None takes the default.
        run_code: Whether code that came with a package may run, with all that the user may do.
        reporter: Told of the progress and of rows that were skipped.

    Raises:
        UsageError, PackageError, TaskDataError, TeacherMissing: On what is unknown or damaged.
        CodeRefused: If the package holds code and `run_code` does not say that it may run.
        ProfilerError: If a package's model cannot be run within its limits.
    """
    reporter, queries = reporter or Silent(), queries or Queries()
    queries.check(task)
    check_path(package, "nasc evaluate DIR")
    if not (package / MANIFEST).is_file():
        if task in QUERY_TASKS and (package.is_dir() or str(package) == DEFAULT_TEACHER):
            return _teacher(package, task, data, max_length, queries, reporter)
        is_model = (package / "config.json").is_file()
        if str(package) == DEFAULT_TEACHER or (is_model and queries.teacher is not None):
            raise UsageError(
                f"--task {task} takes packages, beside which --teacher is scored, and fine-tuned "
                f"models without --teacher; '{package}' is no package. A teacher is scored on "
                f"{' or '.join(QUERY_TASKS)}"
            )
        if is_model:
            return _model(package, task, data, max_length, reporter)
        raise PackageError(
            f"no package and no model in '{package}'. Make one: nasc compile --latency-ms 20, or "
            "nasc finetune"
        )
    manifest = read_manifest(package)
    limits = None if run_timeout_s is None else WorkerLimits(run_s=run_timeout_s)
    check_unchanged(package, manifest.files)
    if refused := code_refused(manifest.conditions.runtime, run_code):
        raise CodeRefused(f"nothing of '{package}' was scored: {refused}")
    if manifest.task is None:
        return _vectors(package, manifest, task, data, max_length, queries, reporter, limits)
    _check_no_teacher(queries, package)
    return _task_package(package, manifest, task, data, max_length, reporter, limits)


def _model(
    folder: Path, task: str, data: Path, max_length: int | None, reporter: Reporter
) -> EvaluateResult:
    """Score a fine-tuned model of transformers."""
    task = task_name(task)
    read = read_task(task, data, say=reporter.say)
    model = load_tuned(folder, task)
    used = read_record(folder).get("max_length")
    length = max_length or (used if isinstance(used, int) else default_length(task))
    check_length(length, model.max_length, f"'{folder}'")
    read.check(model.tokenizer, length)
    use_fastest_threads()
    return EvaluateResult(task, read.scores(model, length), read.count, "model", folder)


def _task_package(
    folder: Path,
    manifest: Manifest,
    task: str,
    data: Path,
    max_length: int | None,
    reporter: Reporter,
    limits: WorkerLimits | None,
) -> EvaluateResult:
    """Score the shipped file of a package that does a task.

    Raises:
        UsageError: If that is another task.
    """
    task = task if task in QUERY_TASKS else task_name(task)
    if is_own_head(manifest.head):
        raise UsageError(
            f"the package '{folder}' gives scores by its teacher's own head; how far "
            "they agree with the teacher's is in its README and manifest.json"
        )
    if manifest.task is None or manifest.task.name != task:
        does = "gives vectors" if manifest.task is None else f"does {manifest.task.name}"
        raise UsageError(f"the package '{folder}' {does}, not {task}")
    length = max_length or manifest.max_length
    check_length(length, manifest.geometry.max_positions, f"'{folder}'")
    read = read_task(task, data, say=reporter.say)
    with _reading_tokenizer(folder):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    read.check(tokenizer, length)
    runtime = manifest.conditions.runtime
    with PackageProcess(limits) as process:
        encoder = process.encoder(
            folder / format_of(runtime).MODEL,
            runtime=runtime,
            batch_size=manifest.conditions.batch,
        )
        found = read.scores(OnnxTaskModel(tokenizer, encoder), length)
    return EvaluateResult(task, found, read.count, "package", folder)


def _vectors(
    folder: Path,
    manifest: Manifest,
    task: str,
    data: Path,
    max_length: int | None,
    queries: Queries,
    reporter: Reporter,
    limits: WorkerLimits | None,
) -> EvaluateResult:
    """Score the shipped file of a package that gives sentence vectors.

    Raises:
        UsageError: If the task is not about those.
    """
    if task not in VECTOR_TASKS:
        raise UsageError(
            f"this package gives sentence vectors: it can be scored on {', '.join(VECTOR_TASKS)}, "
            f"not on {task!r}. Compile one for that: nasc compile --task {task} "
            "--finetune-data DIR"
        )
    if manifest.query_only and task not in QUERY_TASKS:
        raise UsageError(
            f"{task} compares vectors of one model, and '{folder}' is for queries alone: score it "
            f"on {', '.join(QUERY_TASKS)}"
        )
    teacher = None
    if task == ranking.NAME or manifest.query_only or queries.teacher is not None:
        teacher = teacher_of(manifest, queries.teacher)
    with _reading_tokenizer(folder):
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    runtime = manifest.conditions.runtime
    with PackageProcess(limits) as process:
        encoder = process.encoder(
            folder / format_of(runtime).MODEL,
            tokenizer,
            runtime=runtime,
            max_length=max_length or manifest.max_length,
            batch_size=manifest.conditions.batch,
        )
        found = score_vectors(
            encoder,
            task,
            data,
            queries,
            reporter,
            teacher,
            manifest.prompts,
            query_only=manifest.query_only,
        )
    return _result(task, found, "vectors", folder)


def _teacher(
    folder: Path,
    task: str,
    data: Path,
    max_length: int | None,
    queries: Queries,
    reporter: Reporter,
) -> EvaluateResult:
    """Score the vectors of a teacher: its own network in fp32, by onnxruntime.

    Raises:
        TeacherError: If the folder holds none.
        UsageError: If it gives scores, or does not read texts so long.
    """
    own = _vector_teacher(folder, task)
    other = None if queries.teacher is None else _vector_teacher(queries.teacher, task)
    if other is None and task == ranking.NAME:
        other = own
    whole = Architecture.whole(own.geometry.for_space())
    with temporary_folder() as place:
        artifact = onnxruntime.lower(teacher_network(own, whole), place)
        length = max_length or own.max_length
        with open_here(artifact, own.tokenizer, max_length=length) as encoder:
            found = score_vectors(encoder, task, data, queries, reporter, other, own.prompts)
    return _result(task, found, "teacher", folder)


def _vector_teacher(source: str | Path, task: str) -> Teacher:
    """A teacher that gives vectors.

    Raises:
        TeacherError: If there is none.
        UsageError: If it gives scores.
    """
    teacher = load_teacher(source)
    if teacher.output != "embed":
        raise UsageError(
            f"the teacher '{source}' gives scores by a head of its own, not vectors, which {task} "
            "compares. Save the encoder alone (AutoModel of transformers) to look at those"
        )
    return teacher


def _check_no_teacher(queries: Queries, folder: Path) -> None:
    """Raise where a teacher is named for what gives no vectors to score beside its own.

    Raises:
        UsageError: With what to leave out.
    """
    if queries.teacher is not None:
        raise UsageError(
            f"--teacher goes with vectors, of a package or of another teacher: '{folder}' "
            "gives none. Leave it out"
        )


def _result(
    task: str, found: VectorScores, scored: Literal["vectors", "teacher"], folder: Path
) -> EvaluateResult:
    return EvaluateResult(
        task,
        found.scores,
        found.examples,
        scored,
        folder,
        found.intervals,
        found.documents,
        found.against_teacher,
    )


@contextmanager
def _reading_tokenizer(package: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a package's tokenizer into its own error.

    Raises:
        PackageError: If the tokenizer cannot be read.
    """
    try:
        with read_by_transformers(package, "no tokenizer"):
            yield
    except NascError as error:
        raise PackageError(
            f"the tokenizer of '{package}' cannot be read: {error}. See what else is changed: "
            f"nasc verify {package}"
        ) from error
