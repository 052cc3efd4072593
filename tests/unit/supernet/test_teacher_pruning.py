"""Pruned teachers: their weights, their loss, and which operations are left out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_toy import sentences, toy_space

from nasc.architecture.heads import Pooling
from nasc.architecture.space import PRESETS, Architecture, SearchSpace
from nasc.errors import InfeasibleLimits
from nasc.evaluation.agreement import pooled_cosine
from nasc.networks.torch_network import TorchNetwork
from nasc.solver.problem import Solution
from nasc.supernet.teacher_pruning import (
    FINALISTS,
    Kept,
    PrunedLoss,
    architecture_of,
    prune,
    pruned_network,
)
from nasc.teacher import Teacher, load_teacher

COUNT = 4  # two layers


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(teacher_folder())


@pytest.fixture(scope="module")
def space(teacher: Teacher) -> SearchSpace:
    return toy_space(teacher)


def count(kept: Kept) -> float:
    return float(sum(kept))


def every() -> list[tuple[bool, ...]]:
    return list(itertools.product((True, False), repeat=COUNT))


def test_the_text_tells_what_is_left(space: SearchSpace) -> None:
    def text(*kept: bool) -> str:
        return str(architecture_of(space, kept, "int8"))

    assert text(True, True, True, True) == "keep | keep @ int8"
    assert text(False, False, True, False) == "skip | 32: M @ int8"
    assert text(False, True, True, True) == "32: F | keep @ int8"


@pytest.mark.parametrize("pooling", [Pooling(), Pooling("cls"), Pooling("max", scaled=False)])
def test_weights_are_the_teachers_own(
    teacher: Teacher, space: SearchSpace, pooling: Pooling
) -> None:
    texts = sentences(20)
    teacher = dataclasses.replace(teacher, pooling=pooling)
    whole = pruned_network(teacher, space, (True,) * COUNT, "fp32", teacher.head())
    tokens = teacher.tokenize(texts)
    batch = tokens.batch(range(20))
    with torch.no_grad():
        found = TorchNetwork(whole)(batch.input_ids, batch.attention_mask).numpy()
    np.testing.assert_allclose(found, teacher.vectors(texts), atol=1e-5)


@pytest.mark.parametrize("pooling", [Pooling(), Pooling("cls"), Pooling("max", scaled=False)])
def test_losses_are_those_of_the_networks(
    teacher: Teacher, space: SearchSpace, pooling: Pooling
) -> None:
    texts = sentences(20)
    teacher = dataclasses.replace(teacher, pooling=pooling)
    tokens = teacher.tokenize(texts)
    loss = PrunedLoss(teacher, space, [tokens.batch(i) for i in tokens.buckets(7)])
    wanted = teacher.vectors(texts)
    order = every()
    np.random.default_rng(0).shuffle(order)
    for kept in map(tuple, order):
        module = TorchNetwork(pruned_network(teacher, space, kept, "fp32", teacher.head()))
        batch = tokens.batch(range(20))
        with torch.no_grad():
            vectors = module(batch.input_ids, batch.attention_mask).numpy()
        kept = tuple(bool(k) for k in kept)
        assert loss(kept) == pytest.approx(1 - pooled_cosine(wanted, vectors), abs=1e-5)
    assert loss((True,) * COUNT) == pytest.approx(0, abs=1e-5)


COSTS = {"mha": 1.0, "ffn": 2.0}


def latency_ms(architecture: Architecture) -> float:
    return sum(COSTS[o] for block in architecture.blocks for o in block.operations)


def limited(limit: float) -> Callable[[Architecture], Solution]:
    def solution(architecture: Architecture) -> Solution:
        if latency_ms(architecture) > limit:
            raise InfeasibleLimits("too slow", certificate=None)
        return Solution(
            architecture, "onnxruntime", 0.0, {"latency_ms": latency_ms(architecture)}, {}
        )

    return solution


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 3.0, 4.0, 5.0])
def test_what_is_found_is_the_best_that_fits(space: SearchSpace, limit: float) -> None:
    """With independent losses; a beam of three sees all there is of four operations."""
    weight = (0.9, 0.2, 0.5, 0.4)

    def loss(kept: tuple[bool, ...]) -> float:
        return sum(w for w, k in zip(weight, kept, strict=True) if not k)

    found = prune(space, "fp32", loss, loss, latency_ms, limited(limit))
    fits = [k for k in every() if latency_ms(architecture_of(space, k, "fp32")) <= limit]
    assert found is not None
    assert found.loss == pytest.approx(min(map(loss, fits)))
    assert found.solution.architecture == architecture_of(space, found.kept, "fp32")


def deep(space: SearchSpace, layers: int, blocks: int) -> SearchSpace:
    geometry = dataclasses.replace(space.geometry, layers=layers)
    return dataclasses.replace(
        space, geometry=geometry, n_blocks=blocks, slots=2 * layers // blocks - 1
    )


def test_the_loss_is_taken_of_those_that_are_roughly_the_best(space: SearchSpace) -> None:
    """And it decides: what is rough only says which."""
    space, taken = deep(space, 6, 3), set[Kept]()
    weight = np.random.default_rng(0).permutation(12) + 1.0

    def lost(kept: Kept) -> float:
        return float(weight[~np.array(kept)].sum())

    def loss(kept: Kept) -> float:
        taken.add(kept)
        return lost(kept)

    def rough(kept: Kept) -> float:
        return lost(kept) if sum(kept) > 6 else lost(kept) + 1e-3 * lost(kept) ** 2

    found = prune(space, "fp32", loss, rough, latency_ms, limited(9.0))
    every_one = prune(space, "fp32", lost, lost, latency_ms, limited(9.0))
    assert found is not None
    assert every_one is not None
    assert (found.kept, found.loss) == (every_one.kept, every_one.loss)
    levels = {sum(kept) for kept in taken}
    assert max(sum(sum(k) == n for k in taken) for n in levels) <= 2 * FINALISTS


def test_the_search_ends_where_what_is_left_is_not_wanted(space: SearchSpace) -> None:
    space, taken = deep(space, 6, 3), list[Kept]()

    def loss(kept: Kept) -> float:
        taken.append(kept)
        return kept.count(False) / 10

    whole = latency_ms(space.teacher)
    found = prune(space, "fp32", loss, loss, latency_ms, limited(whole / 2))
    assert found is not None
    wanted = prune(space, "fp32", loss, loss, latency_ms, limited(whole / 2), None, found.loss)
    assert wanted == found
    less = found.loss - 0.05
    assert prune(space, "fp32", loss, loss, latency_ms, limited(whole / 2), None, less) is None
    taken.clear()
    assert prune(space, "fp32", loss, loss, latency_ms, limited(whole / 2), None, 0.15) is None
    assert max(kept.count(False) for kept in taken) == 2


@pytest.mark.parametrize(("layers", "grain"), [(12, 1), (14, 2)])
def test_deep_teachers_lose_whole_layers(space: SearchSpace, layers: int, grain: int) -> None:
    space = deep(space, layers, layers // 2)
    weight = np.arange(2 * layers) % 7 + 1.0

    def lost(kept: Kept) -> float:
        return float(weight[~np.array(kept)].sum())

    whole = latency_ms(space.teacher)
    found = prune(space, "fp32", lost, lost, latency_ms, limited(whole - 1.0))
    assert found is not None
    assert found.kept.count(False) == grain
    pairs = zip(found.kept[::2], found.kept[1::2], strict=True)
    assert all(a == b for a, b in pairs) == (grain == 2)


def test_spaces_without_pruned_teachers_have_none(space: SearchSpace) -> None:
    limits = limited(3.0)
    assert (
        prune(PRESETS["nas-bert"], "fp32", lambda kept: 0.0, lambda kept: 0.0, latency_ms, limits)
        is None
    )
    narrow = space.restrict(hidden_sizes=(8, 16))
    found = prune(narrow, "fp32", count, count, latency_ms, limits)
    assert found is not None
    assert {str(b) for b in found.solution.architecture.blocks} <= {"keep", "skip"}


def test_nothing_fits_nothing_is_found(space: SearchSpace) -> None:
    assert (
        prune(space, "fp32", lambda kept: 0.0, lambda kept: 0.0, latency_ms, limited(-1.0)) is None
    )
