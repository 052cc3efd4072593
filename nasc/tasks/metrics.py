"""The metrics of GLUE's tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from nasc.evaluation.agreement import rank_correlation
from nasc.tasks.glue import Examples, Task

_CLASS_METRICS = {"accuracy": accuracy_score, "f1": f1_score, "matthews": matthews_corrcoef}


def scores(task: Task, outputs: NDArray[np.floating], examples: Examples) -> Mapping[str, float]:
    """The task's metrics, the one of record first.

    Args:
        task: Which.
        outputs: (n, outputs of the task), of a model.
        examples: The n examples.

    Raises:
        ValueError: If the shapes do not agree.
    """
    if outputs.shape != (len(examples), task.outputs):
        raise ValueError(f"outputs of shape {outputs.shape} for {len(examples)} examples")
    labels = examples.labels
    if task.labels:
        guesses = outputs.argmax(1)
        return {name: float(_CLASS_METRICS[name](labels, guesses)) for name in task.metrics}
    values = np.asarray(outputs[:, 0], np.float64)
    wanted = np.asarray(labels, np.float64)
    flat = min(np.ptp(values), np.ptp(wanted)) < 1e-7
    pearson = 0.0 if flat else float(pearsonr(values, wanted).statistic)
    return {"spearman": rank_correlation(values, wanted), "pearson": pearson}
