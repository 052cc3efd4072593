"""What `nasc finetune` does: a model of transformers, fine-tuned on a task with labels."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nasc.errors import NascError
from nasc.hf.training import check_installed
from nasc.tasks.data import (
    check_length,
    default_length,
    load_model,
    load_tuned,
    read_task,
    task_name,
)
from nasc.tasks.finetune import RECIPE, FinetuneConfig
from nasc.tasks.finetune import finetune as tune
from nasc.teacher import default_teacher_folder
from nasc.utils.files import cache_folder, content_key, locked
from nasc.utils.outputs import check_folder, claimed, filling, full_path
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import use_fastest_threads


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """A fine-tuned model of transformers.

    Attributes:
        model: Folder of the model.
        task: Name of the task that it does.
        examples: Labelled examples that it was trained on.
        scores: On the dev file by metric, the score of record first; empty without a dev file.
    """

    model: Path
    task: str
    examples: int
    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "model": str(self.model),
            "task": self.task,
            "examples": self.examples,
            "scores": dict(self.scores),
        }


def finetune(
    model: str | None,
    task: str,
    train: Path,
    output: Path,
    *,
    dev: Path | None = None,
    distill_from: str | None = None,
    config: FinetuneConfig | None = None,
    examples: int | None = None,
    force: bool = False,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> FinetuneResult:
    """Fine-tune a model of transformers, a subnet or a teacher, on a task.

    Args:
        model: Folder or hub id; None is the default teacher.
        task: ``squad``, or a name of `nasc.tasks.glue.TASKS`.
        train: File of labelled examples.
        output: Folder of the fine-tuned model.
        dev: File of examples that it is scored on; None scores nothing.
        distill_from: Folder of a model fine-tuned on the same task; None: labels only.
        config: How; None takes the defaults.
        examples: Only so many of the training file, spread over it; None takes all.
        force: Replace what nasc wrote into the folder before; other files stay.
        cache: Cache folder; keeps checkpoints until the result is written.
        reporter: Told of the progress.

    Raises:
        UsageError: If the task is unknown, the folder in use, or teacher and model do not fit.
        TaskDataError: From the files.
        TeacherMissing: If a model cannot be read.
        TrainingDiverged: If the loss is not finite.
    """
    check_folder(output, force=force)
    with claimed(output):
        check_folder(output, force=force)  # a run may have ended just now
        return _finetune(
            model,
            task,
            train,
            output,
            dev=dev,
            distill_from=distill_from,
            config=config,
            examples=examples,
            cache_dir=cache_folder(cache),
            reporter=reporter or Silent(),
        )


def _finetune(
    model: str | None,
    task: str,
    train: Path,
    output: Path,
    *,
    dev: Path | None,
    distill_from: str | None,
    config: FinetuneConfig | None,
    examples: int | None,
    cache_dir: Path,
    reporter: Reporter,
) -> FinetuneResult:
    """`finetune` with the folder claimed; all files are read before anything is trained."""
    check_installed()
    config, task = config or FinetuneConfig(), task_name(task)
    length = config.max_length or default_length(task)
    given = read_task(task, train, examples, dev=dev, say=reporter.say)
    held_out = None if dev is None else read_task(task, dev, say=reporter.say)
    start = model or default_teacher_folder()
    student = load_model(start, task, config.seed)
    check_length(length, student.max_length, f"'{start}'")
    for data in (given, held_out):
        if data is not None:
            data.check(student.tokenizer, length)
    teacher = None
    if distill_from is not None:
        teacher = load_tuned(distill_from, task)
        check_length(length, teacher.max_length, f"'{distill_from}'")
    if student.new:
        reporter.say(f"the head for {task} is new: {', '.join(student.new)} are not of '{start}'")
    about = {
        "recipe": RECIPE,
        "model": student.fingerprint,
        "task": task,
        "data": given.key,
        "teacher": None if teacher is None else teacher.fingerprint,
        "config": dataclasses.asdict(config),
        "output": str(full_path(output)),
    }
    use_fastest_threads()
    work_dir = cache_dir / "finetuning" / content_key(about)
    with locked(work_dir, "this fine-tuning", reporter.say):
        tune(
            student,
            given.rows(student, length),
            config,
            work_dir=work_dir,
            teacher=teacher,
            progress=reporter.stage(f"Fine-tuning on {task}, {given.count:,} examples"),
        )
        reporter.stage(f"Scores on {task}")(0, 1, "")
        found = {} if held_out is None else dict(held_out.scores(student, length))
        record = {
            "task": task,
            "model": model,
            "distilled_from": distill_from,
            "examples": given.count,
            "max_length": length,
            "scores": found,
            "config": dataclasses.asdict(config),
        }
        try:
            with filling(output) as part:
                student.save(part, record)
        except (OSError, SafetensorError) as error:
            raise NascError(
                f"cannot write '{output}': {error}. Free the disk and run the same command: it "
                "goes on from the last checkpoint"
            ) from error
    shutil.rmtree(work_dir, ignore_errors=True)
    return FinetuneResult(output, task, given.count, found)
