"""The tasks of GLUE (Wang et al., ICLR 2019): their files, their labels and their metrics.

Metrics are those of NAS-BERT: accuracy, but Matthews' correlation for CoLA and Spearman's for
STS-B; MNLI is the matched part. F1 stands beside accuracy where GLUE names both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.reading import shown
from nasc.errors import TaskDataError, UsageError
from nasc.tasks.tables import columns, read_rows
from nasc.utils.progress import Say

_ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True, slots=True)
class Task:
    """What a task's files hold and how it is judged.

    Attributes:
        name: As on the command line.
        texts: For each sentence of an example the names that its column may have.
        label: The names that the label's column may have.
        labels: Classes in order; empty: the label is a number (regression).
        metrics: Names; the first is the score of record.
        head: Names of the columns where published files have no head line.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]
    label: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    head: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Numbers that a model gives: one a class, or one."""
        return len(self.labels) or 1


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "cola",
            (("sentence",),),
            ("label",),
            ("0", "1"),
            ("matthews", "accuracy"),
            ("source", "label", "mark", "sentence"),
        ),
        Task("sst-2", (("sentence",),), ("label",), ("0", "1"), ("accuracy",)),
        Task(
            "mrpc",
            (("#1 String", "sentence1"), ("#2 String", "sentence2")),
            ("Quality", "label"),
            ("0", "1"),
            ("accuracy", "f1"),
        ),
        Task(
            "sts-b",
            (("sentence1",), ("sentence2",)),
            ("score", "label"),
            (),
            ("spearman", "pearson"),
        ),
        Task(
            "qqp",
            (("question1",), ("question2",)),
            ("is_duplicate", "label"),
            ("0", "1"),
            ("accuracy", "f1"),
        ),
        Task(
            "mnli",
            (("sentence1", "premise"), ("sentence2", "hypothesis")),
            ("gold_label", "label"),
            ("entailment", "neutral", "contradiction"),
            ("accuracy",),
        ),
        Task("qnli", (("question",), ("sentence",)), ("label",), _ENTAILMENT, ("accuracy",)),
        Task(
            "rte",
            (("sentence1",), ("sentence2",)),
            ("label",),
            _ENTAILMENT,
            ("accuracy",),
        ),
        Task("wnli", (("sentence1",), ("sentence2",)), ("label",), ("0", "1"), ("accuracy",)),
    )
}
"""By name."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled examples of a task.

    Attributes:
        task: Which.
        texts: n tuples of one or two sentences.
        labels: (n,) classes, or numbers of a regression.
    """

    task: Task
    texts: tuple[tuple[str, ...], ...]
    labels: NDArray[np.int64] | NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.texts)


def find_task(name: str) -> Task:
    """A task by name, however it is written: ``sst-2``, ``SST2``.

    Raises:
        UsageError: If there is none.
    """
    plain = {re.sub(r"\W|_", "", known): task for known, task in TASKS.items()}
    try:
        return plain[re.sub(r"\W|_", "", name.lower())]
    except KeyError:
        raise UsageError(f"unknown task {name!r}; known: {', '.join(TASKS)}, squad") from None


def read_examples(task: Task, path: str | Path, say: Say | None = None) -> Examples:
    """Examples from a file in a published format: see `nasc.tasks.tables.read_rows`.

    Args:
        task: Which.
        path: The file, or a data set's part.
        say: Told of rows that were skipped.

    Raises:
        TaskDataError: As there, or if a column or a value is missing, a label unknown or no
            number, or there is no example at all.
    """
    what, path = f"{task.name.upper()} data", Path(path)
    rows, skipped = read_rows(path, what)
    if task.head and not set(task.label) & set(columns(rows)):
        rows, skipped = read_rows(path, what, task.head)
    names = columns(rows)
    if not rows:
        raise TaskDataError(f"{what} '{path}' holds no examples")
    wanted = [*task.texts, task.label]
    chosen = [next((name for name in allowed if name in names), None) for allowed in wanted]
    missing = [" or ".join(w) for w, c in zip(wanted, chosen, strict=True) if c is None]
    if missing:
        raise TaskDataError(
            f"{what} '{path}' has no column {', '.join(missing)}; it holds: "
            f"{', '.join(names)[:200]}"
        )
    if skipped and say is not None:
        say(f"{skipped:,} rows of '{path}' were skipped: wrong number of columns")
    *texts, label = [str(c) for c in chosen]
    for number, row in rows:
        if (lacking := next((c for c in (*texts, label) if c not in row), None)) is not None:
            raise TaskDataError(f"{what} '{path}', line {number}: no value of {lacking}")
    found = [_label(task, row[label], f"{what} '{path}', line {number}") for number, row in rows]
    labels = np.array(found)
    return Examples(
        task,
        tuple(tuple(row[t] for t in texts) for _, row in rows),
        labels.astype(np.int64) if task.labels else labels,
    )


def _label(task: Task, text: str, where: str) -> float:
    if task.labels:
        # JSON lines of other sources number the classes.
        names = {name: i for i, name in enumerate(task.labels)}
        names |= {str(i): i for i in range(len(task.labels))}
        if text not in names:
            raise TaskDataError(
                f"{where}: unknown label {shown(text)}; known: {', '.join(task.labels)}. Files of "
                "the test sets have no labels"
            )
        return names[text]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TaskDataError(f"{where}: the label {shown(text)} is no number")
    return value
