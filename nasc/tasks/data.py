"""A task's file, whatever the task: what a model reads of it, and how well it did."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from nasc.architecture.heads import SPANS, classify
from nasc.errors import TaskDataError, UsageError
from nasc.tasks import squad
from nasc.tasks.glue import Examples, find_task, read_examples
from nasc.tasks.metrics import scores
from nasc.tasks.models import Reader, Row, TaskModel, read_record
from nasc.utils.files import content_key
from nasc.utils.progress import Say

SQUAD_LENGTH = 384
"""Tokens of a window over a passage, question included (Google's run_squad.py)."""

STRIDE_SHARE = 3
"""Windows share a third of their tokens: 128 of 384, as there."""

EXAMPLE_LENGTH = 128
"""Tokens of an example of GLUE."""

MRPC_TRAIN, MRPC_TEST = "msr_paraphrase_train", "msr_paraphrase_test"
"""MRPC as Microsoft publishes it, both with labels."""

_SQUAD_FILES = {"train": ("train-v1.1*.json",), "dev": ("dev-v1.1*.json",)}
_GLUE_FILES = {
    "train": ("train.tsv", "train.jsonl", f"{MRPC_TRAIN}.txt"),
    "dev": ("dev.tsv", "dev.jsonl", "dev_matched.tsv", "dev_matched.jsonl", f"{MRPC_TEST}.txt"),
}
"""Names of the published files, plain or with .gz."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskData:
    """One file of a task.

    Attributes:
        count: Examples or questions.
        key: Tells one content from another.
        check: Raises TaskDataError where a tokenizer cannot cut them to so many tokens.
        rows: What a model reads of them, cut to so many tokens.
        scores: Of a model, the score of record first.
    """

    count: int
    key: str
    check: Callable[[PreTrainedTokenizerBase, int], None]
    rows: Callable[[Reader, int], list[Row]]
    scores: Callable[[Reader, int], Mapping[str, float]]


def task_name(name: str) -> str:
    """A task's own name, of any way to write it.

    Raises:
        UsageError: If there is none.
    """
    return squad.NAME if name.lower() == squad.NAME else find_task(name).name


def task_head(name: str) -> str:
    """The head that a task needs: see `nasc.architecture.heads`."""
    return SPANS if name == squad.NAME else classify(find_task(name).outputs)


def task_labels(name: str) -> tuple[str, ...]:
    """Names of a task's classes; empty of regressions and spans."""
    return () if name == squad.NAME else find_task(name).labels


def task_paired(name: str) -> bool:
    """Whether an example of a task is two texts."""
    return name == squad.NAME or len(find_task(name).texts) == 2


def task_metrics(name: str) -> tuple[str, ...]:
    """Names of a task's scores, the score of record first."""
    return ("f1", "exact_match") if name == squad.NAME else find_task(name).metrics


def default_length(name: str) -> int:
    """Tokens that an example of a task is cut to."""
    return SQUAD_LENGTH if name == squad.NAME else EXAMPLE_LENGTH


def task_files(name: str, folder: Path) -> tuple[Path, Path]:
    """The training and the dev file in a folder of a task's published files.

    Raises:
        TaskDataError: If one is missing.
    """
    names = _SQUAD_FILES if name == squad.NAME else _GLUE_FILES
    found = []
    for part, allowed in names.items():
        paths = (p for file in allowed for end in ("", ".gz") for p in folder.glob(file + end))
        present = next((path for path in paths if path.is_file()), None)
        if present is None:
            raise TaskDataError(
                f"no {part} file of {name} in '{folder}'; looked for {', '.join(allowed)}, plain "
                "or with .gz. Name the folder of the task's published files, or both files: "
                "--finetune-data FILE --dev-data FILE"
            )
        found.append(present)
    return found[0], found[1]


def read_task(
    name: str,
    path: Path,
    most: int | None = None,
    *,
    dev: Path | None = None,
    say: Say | None = None,
) -> TaskData:
    """A file of a task.

    Args:
        name: The task's own.
        path: The file.
        most: At most so many of its examples, spread over the file; None takes all.
        dev: The dev file, where this one is for training: of MRPC as Microsoft publishes it GLUE
            took its dev file out of the training file, so what stands there is left out here.
        say: Told of rows that were skipped or left out.

    Raises:
        UsageError: If the task is unknown.
        TaskDataError: From the file.
    """
    if name == squad.NAME:
        questions = squad.read_squad(path)
        return _questions([questions[i] for i in _spread(len(questions), most)])
    found = read_examples(find_task(name), path, say)
    if dev is not None and path.name.startswith(MRPC_TRAIN):
        found = _without(found, read_examples(found.task, dev), say)
    examples = _only(found, _spread(len(found), most))

    def rows(model: Reader, max_length: int) -> list[Row]:
        return model.example_rows(examples, max_length)

    def judge(model: Reader, max_length: int) -> Mapping[str, float]:
        given = model.run(rows(model, max_length))
        outputs = np.stack([row["logits"] for row in given])
        return scores(examples.task, outputs, examples)

    def check(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        special = tokenizer.num_special_tokens_to_add(pair=task_paired(name))
        if max_length <= special:
            raise TaskDataError(
                f"{max_length} tokens leave no room for an example of {name}: the tokenizer adds "
                f"{special} of its own. Take more (--max-length; nasc compile: --finetune-length)"
            )

    key = content_key({"texts": examples.texts, "labels": examples.labels.tolist()})
    return TaskData(len(examples), key, check, rows, judge)


def _without(examples: Examples, held_out: Examples, say: Say | None) -> Examples:
    apart = set(held_out.texts)
    kept = [i for i, texts in enumerate(examples.texts) if texts not in apart]
    left = len(examples) - len(kept)
    if left and say is not None:
        say(f"{left:,} training examples stand in the dev file too: left out")
    return _only(examples, kept)


def _spread(count: int, most: int | None) -> list[int]:
    """Places of `most` among so many at even distances: published files go article by article."""
    chosen = count if most is None else min(most, count)
    return [i * count // chosen for i in range(chosen)]


def _only(examples: Examples, places: list[int]) -> Examples:
    texts = tuple(examples.texts[i] for i in places)
    return dataclasses.replace(examples, texts=texts, labels=examples.labels[places])


def _questions(questions: list[squad.Question]) -> TaskData:
    def check(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        squad.check_room(tokenizer, questions, max_length, max_length // STRIDE_SHARE)

    def windows(model: Reader, max_length: int) -> list[squad.Window]:
        stride = max_length // STRIDE_SHARE
        return squad.windows(model.tokenizer, questions, max_length, stride)

    def rows(model: Reader, max_length: int) -> list[Row]:
        return model.window_rows(windows(model, max_length))

    def judge(model: Reader, max_length: int) -> Mapping[str, float]:
        parts = windows(model, max_length)
        given = model.run(model.window_rows(parts))
        pairs = [(row["start_logits"], row["end_logits"]) for row in given]
        return squad.squad_scores(questions, squad.answers(questions, parts, pairs))

    key = content_key({"questions": [dataclasses.astuple(q) for q in questions]})
    return TaskData(len(questions), key, check, rows, judge)


def load_model(folder: str | Path, name: str, seed: int = 0) -> TaskModel:
    """A model of transformers to be fine-tuned on a task: see `TaskModel.for_classes`."""
    if name == squad.NAME:
        return TaskModel.for_spans(folder, seed)
    return TaskModel.for_classes(folder, find_task(name), seed)


def load_tuned(folder: str | Path, name: str) -> TaskModel:
    """A model that was fine-tuned on a task, with all of its head.

    Raises:
        UsageError: If it was not, or on another task.
        TeacherMissing: If there is none, or it cannot be read.
    """
    how = f"--task {name} --train FILE --output DIR"
    recorded = read_record(folder).get("task", name)
    if recorded != name:
        raise UsageError(
            f"'{folder}' is fine-tuned on {recorded}, not on {name}. Fine-tune a model on that: "
            f"nasc finetune {folder} {how}"
        )
    found = load_model(folder, name)
    if found.new:
        raise UsageError(
            f"'{folder}' is not fine-tuned on {name}: {', '.join(found.new[:2])} of its head are "
            f"missing or of another size. Fine-tune it first: nasc finetune {folder} {how}"
        )
    return found


def check_length(max_length: int, most: int | None, who: str, option: str = "--max-length") -> None:
    """Raise if examples are longer than what a model reads.

    Args:
        max_length: Tokens that examples are cut to.
        most: Tokens that the model reads; None where it does not say.
        who: Reads them, for the message.
        option: That cuts them.

    Raises:
        UsageError: With what is allowed.
    """
    if most is not None and max_length > most:
        raise UsageError(
            f"examples of {max_length} tokens: {who} reads {most} at most. Cut them: "
            f"{option} {most}"
        )
