"""What `nasc evaluate` does: the score of a package or a fine-tuned model on a task with labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from nasc.errors import CodeRefused, NascError, PackageError, UsageError
from nasc.package.build import TOKENIZER
from nasc.package.formats import code_refused, format_of
from nasc.package.hashes import check_unchanged
from nasc.package.manifest import MANIFEST, Manifest, read_manifest
from nasc.package.process import PackageProcess
from nasc.tasks.data import check_length, default_length, load_tuned, read_task, task_name
from nasc.tasks.models import OnnxTaskModel, read_record
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher.reading_library import read_by_transformers
from nasc.utils.files import check_path
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import use_fastest_threads
from profilers import WorkerLimits


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """How well a package or a fine-tuned model does a task.

    Attributes:
        task: Name of the task.
        scores: By metric, the score of record first.
        examples: How many were scored: examples, questions, or pairs of sentences.
        scored: What was scored: the ``vectors`` of a package, a ``package`` that does the task, or
            a fine-tuned ``model``.
        folder: Folder of the package or the model.
    """

    task: str
    scores: Mapping[str, float]
    examples: int
    scored: Literal["vectors", "package", "model"]
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        counted = "pairs" if self.scored == "vectors" else "examples"
        place = "model" if self.scored == "model" else "package"
        return {
            "task": self.task,
            **self.scores,
            counted: self.examples,
            place: str(self.folder),
        }


def evaluate(
    package: Path,
    task: str,
    data: Path,
    *,
    max_length: int | None = None,
    run_timeout_s: float | None = None,
    run_code: bool = False,
    reporter: Reporter | None = None,
) -> EvaluateResult:
    """Score of a package's shipped file, or of a fine-tuned model, on a task with labels.

    A package runs in the batch size that its latency is about: the vectors of an int8 model depend
    on what else is in the batch.

    Args:
        package: The folder of a package (``sts-b`` by the similarity of its vectors, or the task
            that it was fine-tuned on) or of a fine-tuned model of transformers (every task).
        task: Name.
        data: The task's file.
        max_length: Tokens that an example is cut to; None takes what the package or the
            fine-tuning used.
        run_timeout_s: Seconds that one run of a package's model may take; None takes the default.
        run_code: Whether code that came with a package may run, with all that the user may do.
        reporter: Told of rows that were skipped.

    Raises:
        UsageError, PackageError, TaskDataError, TeacherMissing: On what is unknown or damaged.
        CodeRefused: If the package holds code and `run_code` does not say that it may run.
        ProfilerError: If a package's model cannot be run within its limits.
    """
    reporter = reporter or Silent()
    check_path(package, "nasc evaluate DIR")
    if not (package / MANIFEST).is_file():
        if (package / "config.json").is_file():
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
    score = _vectors if manifest.task is None else _task_package
    return score(package, manifest, task, data, max_length, reporter, limits)


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
    task = task_name(task)
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
    reporter: Reporter,
    limits: WorkerLimits | None,
) -> EvaluateResult:
    """Score the shipped file of a package that gives sentence vectors.

    Raises:
        UsageError: If the task is not about their similarity.
    """
    if task != "sts-b":
        raise UsageError(
            f"this package gives sentence vectors: it can be scored on sts-b, not on {task!r}. "
            f"Compile one for that: nasc compile --task {task} --finetune-data DIR"
        )
    pairs = read_sts(data, reporter.say)
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
        score = evaluate_sts(encoder.encode, pairs)
    return EvaluateResult(task, {"spearman": score}, len(pairs), "vectors", folder)


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
