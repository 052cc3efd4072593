"""Narrowed teachers: the weights that a supernet of one block would begin with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_toy import sentences

from nasc.architecture.heads import Pooling
from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.evaluation.agreement import pooled_cosine
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.network import Network, random_network
from nasc.supernet.initialize import initialize
from nasc.supernet.projection import leading
from nasc.supernet.supernet import Supernet
from nasc.supernet.teacher_narrowing import narrowed_network
from nasc.supernet.train import train_length
from nasc.teacher import Teacher, load_teacher

TEXTS = sentences(64)
FAMILIES = ("bert", "electra", "mpnet", "modernbert")


@pytest.fixture(scope="module", params=FAMILIES)
def any_teacher(request: pytest.FixtureRequest, teacher_folder: Callable[..., Path]) -> Teacher:
    more = {"embedding": 24} if request.param == "electra" else {}
    return load_teacher(teacher_folder(request.param, **more))


def narrowed(teacher: Teacher, hidden: int, texts: list[str] = TEXTS) -> Network:
    return narrowed_network(teacher, hidden, texts, "int8", teacher.head())


def supernet_start(teacher: Teacher, hidden: int) -> Network:
    """Through a supernet, whose block is the whole teacher."""
    geometry = teacher.geometry.for_space()
    operations = ("mha", "ffn")
    space = SearchSpace(
        "one", geometry, 1, 2 * geometry.layers, (hidden,), operations, False, False
    )
    supernet = Supernet(space, teacher)
    tokens = teacher.tokenize(TEXTS, max_length=train_length(teacher))
    batch = tokens.batch(range(len(TEXTS)))
    initialize(supernet, batch.input_ids, batch.attention_mask, 0)
    block = Block(hidden, operations * geometry.layers)
    return supernet.extract(Architecture((block,), "int8"))


def signed(states: torch.Tensor, hidden: int) -> torch.Tensor:
    """Directions whose signs are no matter of rounding: layer normalisation sees them."""
    found = leading(states, hidden)
    largest = found.abs().argmax(0)
    return found * found.gather(0, largest[None]).sign()


def test_it_begins_as_a_supernet_of_one_block(
    any_teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind of layers and positions."""
    for module in ("initialize", "teacher_narrowing"):
        monkeypatch.setattr(f"nasc.supernet.{module}.leading", signed)
    ours, theirs = narrowed(any_teacher, 16), supernet_start(any_teacher, 16)
    assert ours.architecture == theirs.architecture
    assert str(ours.architecture) == "16: M F M F @ int8"
    assert [t.keys() for t in ours.tensors] == [t.keys() for t in theirs.tensors]
    texts = sentences(20, seed=1)
    found, wanted = (
        pooled_vectors(any_teacher, one.with_precision("fp32"), texts) for one in (ours, theirs)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_it_begins_near_the_teacher_and_the_nearer_the_wider(any_teacher: Teacher) -> None:
    texts = sentences(20, seed=1)
    wanted = any_teacher.vectors(texts)

    def cosine(network: Network) -> float:
        vectors = pooled_vectors(any_teacher, network.with_precision("fp32"), texts)
        return pooled_cosine(wanted, vectors)

    found = [cosine(narrowed(any_teacher, hidden)) for hidden in (8, 16, 24)]
    noise = random_network(
        Architecture.narrowed(any_teacher.geometry.for_space(), 24),
        any_teacher.geometry.for_space(),
        any_teacher.head(),
        vocab_rows=any_teacher.geometry.vocab_size,
    )
    assert cosine(noise) < found[0] < found[1] < found[2] < 1


def test_same_text_same_network_and_its_head(teacher_folder: Callable[..., Path]) -> None:
    teacher = dataclasses.replace(
        load_teacher(teacher_folder()), pooling=Pooling("cls", scaled=False)
    )
    one, again = narrowed(teacher, 16), narrowed(teacher, 16)
    assert one.sha256() == again.sha256()
    assert one.head == "embed-cls-unscaled"
    assert one.sha256() != narrowed(teacher, 16, sentences(64, seed=3)).sha256()
