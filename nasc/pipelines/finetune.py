"""Fine-tuning and evaluation from files to folders: what the commands do, for every task."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer

from nasc.errors import NascError, PackageError, UsageError
from nasc.hf.training import check_installed
from nasc.package.build import MODEL
from nasc.package.manifest import Manifest
from nasc.package.process import PackageProcess
from nasc.tasks.data import (
    check_length,
    default_length,
    load_model,
    load_tuned,
    read_task,
    task_name,
)
from nasc.tasks.finetune import RECIPE, FinetuneConfig, finetune
from nasc.tasks.models import OnnxTaskModel, read_record
from nasc.teacher import default_teacher_folder
from nasc.teacher.reading_library import read_by_transformers
from nasc.utils.files import content_key, locked
from nasc.utils.outputs import filling, full_path
from nasc.utils.progress import Reporter
from nasc.utils.torch_device import use_fastest_threads
from profilers import WorkerLimits


def run_finetune(
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
) -> dict[str, Any]:
    """See `nasc.api.finetune`; all files are read before anything is trained."""
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
        finetune(
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
    return {"model": str(output), "task": task, "examples": given.count, "scores": found}


def run_evaluate(
    folder: Path, task: str, data: Path, max_length: int | None, reporter: Reporter
) -> dict[str, Any]:
    """See `nasc.api.evaluate`."""
    task = task_name(task)
    read = read_task(task, data, say=reporter.say)
    model = load_tuned(folder, task)
    used = read_record(folder).get("max_length")
    length = max_length or (used if isinstance(used, int) else default_length(task))
    check_length(length, model.max_length, f"'{folder}'")
    read.check(model.tokenizer, length)
    use_fastest_threads()
    found = read.scores(model, length)
    return {"task": task, **found, "examples": read.count, "model": str(folder)}


def run_evaluate_package(
    folder: Path,
    manifest: Manifest,
    task: str,
    data: Path,
    max_length: int | None,
    reporter: Reporter,
    limits: WorkerLimits | None = None,
) -> dict[str, Any]:
    """See `nasc.api.evaluate`: the shipped file of a package that does a task.

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
    try:
        with read_by_transformers(folder, "no tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except NascError as error:
        raise PackageError(
            f"the tokenizer of '{folder}' cannot be read: {error}. See what else is changed: "
            f"nasc verify {folder}"
        ) from error
    read.check(tokenizer, length)
    with PackageProcess(limits) as process:
        encoder = process.encoder(folder / MODEL, batch_size=manifest.conditions.batch)
        found = read.scores(OnnxTaskModel(tokenizer, encoder), length)
    return {"task": task, **found, "examples": read.count, "package": str(folder)}
