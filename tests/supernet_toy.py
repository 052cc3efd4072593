"""A small space for the tiny teacher, its supernet in known states, and text."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasc.architecture.space import SearchSpace
from nasc.data.tokens import Tokens
from nasc.supernet.initialize import initialize
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher, load_teacher

WORDS = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different sentences of 3 to 20 words that the tiny tokenizers know."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(rng.choices(WORDS, k=rng.randint(3, 20))) + "."] = None
    return list(found)


def toy_space(teacher: Teacher, **changes: object) -> SearchSpace:
    """Two blocks of four slots, hidden sizes up to the teacher's, all operations."""
    values = {"n_blocks": 2, "slots": 4, "hidden_sizes": (8, 16, 32)} | changes
    return SearchSpace("toy", teacher.geometry.for_space(), **values)  # type: ignore[arg-type]


def random_supernet(teacher: Teacher, seed: int = 0, **changes: object) -> Supernet:
    """All weights random, biases and norms too: a mixed-up tensor shows."""
    supernet = Supernet(toy_space(teacher, **changes), teacher)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in supernet.blocks.named_parameters():
            scale = 0.3 if value.dim() == 1 else value.shape[-1] ** -0.5
            value.copy_(scale * torch.randn(value.shape, generator=generator))
            if name.endswith("ln_weight"):
                value += 1
    return supernet


def initialized_supernet(
    teacher: Teacher, tokens: Tokens, seed: int = 0, **changes: object
) -> Supernet:
    """As at the beginning of a training."""
    supernet = Supernet(toy_space(teacher, **changes), teacher)
    batch = tokens.batch(range(64))
    initialize(supernet, batch.input_ids, batch.attention_mask, seed)
    return supernet


_BEGINNINGS: dict[str, tuple[dict[str, torch.Tensor], list[bool]]] = {}


def beginning(teacher: Teacher, tokens: Tokens) -> Supernet:
    """An initialised supernet of fewer operations; made once, then copied."""
    operations = ("mha", "ffn", "sep3")
    if teacher.sha256 not in _BEGINNINGS:
        first = initialized_supernet(teacher, tokens, operations=operations)
        _BEGINNINGS[teacher.sha256] = (state(first), [b.from_end for b in first.blocks])
    supernet = Supernet(toy_space(teacher, operations=operations), teacher)
    weights, ends = _BEGINNINGS[teacher.sha256]
    supernet.blocks.load_state_dict(weights)
    for block, from_end in zip(supernet.blocks, ends, strict=True):
        block.from_end = from_end
    return supernet


def state(supernet: Supernet) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in supernet.blocks.state_dict().items()}


@pytest.fixture(scope="session")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    """A tiny teacher of four layers."""
    return load_teacher(teacher_folder(layers=4))


@pytest.fixture(scope="session")
def tokens(teacher: Teacher) -> Tokens:
    """Text for it."""
    return teacher.tokenize(sentences(96))
