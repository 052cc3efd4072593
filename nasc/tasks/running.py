"""Fine-tuning and evaluation from files to folders: what the commands do, for every task."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasc.errors import NascError
from nasc.files import content_key, locked
from nasc.reporting import Reporter
from nasc.tasks import squad
from nasc.tasks.finetune import FinetuneConfig, check_installed, finetune
from nasc.tasks.glue import find_task, read_examples
from nasc.tasks.metrics import scores
from nasc.tasks.models import RECORD, Row, TaskModel
from nasc.teacher import default_teacher_folder
from nasc.threads import use_fastest_threads

SQUAD_LENGTH = 384
"""Tokens of a window over a passage, question included (Google's run_squad.py)."""

STRIDE_SHARE = 3
"""Windows share a third of their tokens: 128 of 384, as there."""

EXAMPLE_LENGTH = 128
"""Tokens of an example of GLUE."""


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """One file of a task.

    Attributes:
        count: Examples or questions.
        key: Tells one content from another.
        rows: What a model reads of them, cut to so many tokens.
        scores: Of a model, the score of record first.
    """

    count: int
    key: str
    rows: Callable[[TaskModel, int], list[Row]]
    scores: Callable[[TaskModel, int], Mapping[str, float]]


def _read(task: str, path: Path, most: int | None = None) -> _Data:
    """A file of a task, at most so many of its examples.

    Raises:
        UsageError: If the task is unknown.
        TaskDataError: From the file.
    """
    if task == squad.NAME:
        return _questions(squad.read_squad(path)[:most])
    found = read_examples(find_task(task), path)
    examples = dataclasses.replace(found, texts=found.texts[:most], labels=found.labels[:most])

    def rows(model: TaskModel, max_length: int) -> list[Row]:
        return model.example_rows(examples, max_length)

    def judge(model: TaskModel, max_length: int) -> Mapping[str, float]:
        given = model.run(rows(model, max_length))
        outputs = np.stack([row["logits"] for row in given])
        return scores(examples.task, outputs, examples)

    key = content_key({"texts": examples.texts, "labels": examples.labels.tolist()})
    return _Data(len(examples), key, rows, judge)


def _questions(questions: list[squad.Question]) -> _Data:
    def windows(model: TaskModel, max_length: int) -> list[squad.Window]:
        stride = max_length // STRIDE_SHARE
        return squad.windows(model.tokenizer, questions, max_length, stride)

    def rows(model: TaskModel, max_length: int) -> list[Row]:
        return model.window_rows(windows(model, max_length))

    def judge(model: TaskModel, max_length: int) -> Mapping[str, float]:
        parts = windows(model, max_length)
        given = model.run(model.window_rows(parts), batch_size=16)
        pairs = [(row["start_logits"], row["end_logits"]) for row in given]
        return squad.squad_scores(questions, squad.answers(questions, parts, pairs))

    key = content_key({"questions": [dataclasses.astuple(q) for q in questions]})
    return _Data(len(questions), key, rows, judge)


def _load(folder: str | Path, task: str, seed: int = 0) -> TaskModel:
    if task == squad.NAME:
        return TaskModel.for_spans(folder, seed)
    return TaskModel.for_classes(folder, find_task(task), seed)


def default_length(task: str) -> int:
    """Tokens that an example of a task is cut to."""
    return SQUAD_LENGTH if task == squad.NAME else EXAMPLE_LENGTH


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
    config = config or FinetuneConfig()
    length = config.max_length or default_length(task)
    given = _read(task, train, examples)
    held_out = None if dev is None else _read(task, dev)
    student = _load(model or default_teacher_folder(), task, config.seed)
    teacher = None if distill_from is None else _load(distill_from, task)
    about = {
        "model": model,
        "task": task,
        "data": given.key,
        "teacher": distill_from,
        "config": dataclasses.asdict(config),
        "output": str(output.absolute()),
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
            student.save(output, record)
        except OSError as error:
            raise NascError(
                f"cannot write '{output}': {error.strerror or error}. Free the disk and run the "
                "same command: it goes on from the last checkpoint"
            ) from error
    shutil.rmtree(work_dir, ignore_errors=True)
    return {"model": str(output), "task": task, "examples": given.count, "scores": found}


def run_evaluate(folder: Path, task: str, data: Path, max_length: int | None) -> dict[str, Any]:
    """See `nasc.api.evaluate`."""
    read = _read(task, data)
    if max_length is None:
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            max_length = int(record["max_length"])
        except (OSError, ValueError, KeyError, TypeError):
            max_length = default_length(task)
    use_fastest_threads()
    found = read.scores(_load(folder, task), max_length)
    return {"task": task, **found, "examples": read.count, "model": str(folder)}
