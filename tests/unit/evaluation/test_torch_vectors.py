"""Vectors of a network in torch, by which networks are compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.from_teacher import teacher_network
from nasc.supernet.space_for import space_for
from nasc.teacher import load_teacher

TEXTS = ["the quick fox", "a lazy dog sleeps", "the dog and the fox of the forest"]


@pytest.mark.parametrize("labels", [0, 1])
def test_in_bfloat16_vectors_and_scores_are_nearly_those_in_float32(
    teacher_folder: Callable[..., Path], tmp_path: Path, labels: int
) -> None:
    folder = Path(shutil.copytree(teacher_folder(), tmp_path / "teacher"))
    if labels:
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels)
        model.save_pretrained(folder)
    teacher = load_teacher(folder)
    whole = space_for(teacher, None).teacher
    network = teacher_network(teacher, whole, teacher.head())
    exact = pooled_vectors(teacher, network, TEXTS)
    found = pooled_vectors(teacher, network, TEXTS, bf16=True)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.05
    assert (found * exact).sum(1) == pytest.approx(np.square(exact).sum(1), rel=0.01)
    # What is behind the layers is computed in float32: a bfloat16 has 8 bits.
    assert np.any(found.view(np.uint32) & 0xFFFF)
