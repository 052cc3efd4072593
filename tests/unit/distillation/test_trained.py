"""Trained networks in one file: what comes back, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.distillation import trained
from nasc.distillation.train import trainable
from nasc.distillation.trained import (
    TrainedNetwork,
    read_trained,
    shipped_networks,
    write_trained,
)
from nasc.errors import CheckpointError, UsageError
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.network import Network
from nasc.supernet.checkpoint import read
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher, load_teacher

TEXTS = ["the cat sat on the mat", "a dog", "rain fell on the hills all day"]


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(teacher_folder())


@pytest.fixture(scope="module")
def space(teacher: Teacher) -> SearchSpace:
    return SearchSpace("toy", teacher.geometry.for_space(), 2, 2, (16, 32))


def networks(space: SearchSpace, teacher: Teacher) -> tuple[TrainedNetwork, ...]:
    """Two networks of a space, of random weights."""
    rng = np.random.default_rng(0)
    found = []
    for operations in (("mha",), ("ffn", "mha")):
        block = Block(space.hidden_sizes[0], operations)
        network = Supernet(space, teacher).extract(Architecture((block,) * space.n_blocks))
        learnt = [
            {name for name, value in own.named_parameters() if value.requires_grad}
            for own in trainable(network).tensors
        ]
        tensors = tuple(
            {
                name: rng.normal(0, 0.3, value.shape).astype(np.float32)
                if name in changed
                else value
                for name, value in own.items()
            }
            for own, changed in zip(network.tensors, learnt, strict=True)
        )
        whole = Network(network.architecture, network.geometry, network.head, tensors)
        found.append(TrainedNetwork(whole, 70, "a text", {"seed": 3}, {"mrr_at_10": 0.5}))
    return tuple(found)


def test_networks_come_back_as_they_were_but_for_eight_bits(
    space: SearchSpace, teacher: Teacher, tmp_path: Path
) -> None:
    path, given = tmp_path / "trained.safetensors", networks(space, teacher)
    write_trained(path, teacher, space, given)
    found = read_trained(path, teacher)
    assert [str(one.network.architecture) for one in found] == [
        str(one.network.architecture) for one in given
    ]
    assert [(one.steps, one.text, one.recipe, one.scores) for one in found] == [
        (70, "a text", {"seed": 3}, {"mrr_at_10": 0.5})
    ] * 2
    for ours, theirs in zip(found, given, strict=True):
        wanted = pooled_vectors(teacher, theirs.network, TEXTS)
        cosine = (pooled_vectors(teacher, ours.network, TEXTS) * wanted).sum(1)
        assert (cosine / np.linalg.norm(wanted, axis=1) ** 2).min() > 0.99


def test_what_is_the_teacher_s_is_not_stored(
    space: SearchSpace, teacher: Teacher, tmp_path: Path
) -> None:
    path = tmp_path / "trained.safetensors"
    write_trained(path, teacher, space, networks(space, teacher))
    stored = {name.rpartition(".")[2] for name in read(path).tensors}
    assert "q_weight" in stored
    assert not stored & {"word", "position", "segment"}


def test_equal_networks_are_equal_files(
    space: SearchSpace, teacher: Teacher, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_trained(tmp_path / name, teacher, space, networks(space, teacher))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_of_another_teacher_they_are_refused(
    space: SearchSpace, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trained.safetensors"
    write_trained(path, teacher, space, networks(space, teacher))
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    assert len(shipped_networks(teacher)) == 2
    monkeypatch.setattr(Teacher, "sha256", "0" * 64)
    assert shipped_networks(teacher) == ()
    with pytest.raises(CheckpointError, match="Give the same --teacher"):
        read_trained(path, teacher)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("architecture", "keep | keep | nothing", "do not fit"),
        ("architecture", 7, "holds no trained networks"),
        ("steps", -1, "holds no trained networks"),
        ("text", "a\nb", "holds no trained networks"),
        ("scores", {"a": "b"}, "holds no trained networks"),
    ],
)
def test_a_file_that_lies_is_refused(
    space: SearchSpace,
    teacher: Teacher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: object,
    says: str,
) -> None:
    path, write = tmp_path / "trained.safetensors", trained.write

    def lying(path: Path, tensors: object, header: dict[str, object]) -> None:
        rows = header["networks"]
        assert isinstance(rows, list)
        rows[0][key] = value
        write(path, tensors, header)  # type: ignore[arg-type]

    monkeypatch.setattr(trained, "write", lying)
    write_trained(path, teacher, space, networks(space, teacher))
    with pytest.raises(CheckpointError, match=says):
        read_trained(path, teacher)


def test_a_network_whose_weights_are_another_s_is_refused(
    space: SearchSpace, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "trained.safetensors", trained.write

    def swapped(path: Path, tensors: dict[str, object], header: dict[str, object]) -> None:
        names = {"0": "1", "1": "0"}
        write(path, {names[n[0]] + n[1:]: v for n, v in tensors.items()}, header)  # type: ignore[misc]

    monkeypatch.setattr(trained, "write", swapped)
    write_trained(path, teacher, space, networks(space, teacher))
    with pytest.raises(CheckpointError, match="do not fit"):
        read_trained(path, teacher)


def test_a_network_of_another_space_is_not_written(
    space: SearchSpace, teacher: Teacher, tmp_path: Path
) -> None:
    few = space.restrict(operations=("ffn",))
    with pytest.raises(UsageError, match="is not in space"):
        write_trained(tmp_path / "x", teacher, few, networks(space, teacher))
