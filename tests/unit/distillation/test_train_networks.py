"""`scripts/train_networks.py`: where a training begins, and what is recorded of it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.networks.network import Network
from nasc.supernet.supernet import Supernet
from nasc.teacher import load_teacher

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "train_networks.py"))


@pytest.fixture(scope="module")
def space(teacher_folder: Callable[..., Path]) -> SearchSpace:
    geometry = load_teacher(teacher_folder()).geometry.for_space()
    return SearchSpace("toy", geometry, 2, 3, (16, 32))


@pytest.fixture(scope="module")
def network(teacher_folder: Callable[..., Path], space: SearchSpace) -> Network:
    """`16: F M F | 32: M F`: embedding, border, three, border, two, head."""
    blocks = Block(16, ("ffn", "mha", "ffn")), Block(32, ("mha", "ffn"))
    return Supernet(space, load_teacher(teacher_folder())).extract(Architecture(blocks))


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("16: F M F | 32: M F", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("16: M F | 32: M F", [0, 1, 3, 4, 5, 6, 7, 8]),
        ("16: F M | 32: F", [0, 1, 2, 3, 5, 7, 8]),
        ("16: F | 32: M", [0, 1, 4, 5, 6, 8]),
    ],
)
def test_operations_are_left_out_where_they_stand(
    network: Network, space: SearchSpace, wanted: str, kept: list[int]
) -> None:
    found = SCRIPT["with_operations_left_out"](network, space.parse(wanted))
    assert found.architecture == space.parse(wanted)
    assert len(found.tensors) == len(kept)
    assert all(own is network.tensors[n] for own, n in zip(found.tensors, kept, strict=True))


@pytest.mark.parametrize(
    "wanted",
    [
        "32: F M F | 32: M F",
        "16: F M F | 32: F M",
        "16: F F F | 32: M F",
        "16: F M F | 32: M F F",
        "16: F M F | skip",
        "16: F M F | 32: M F @ int8",
    ],
)
def test_another_network_is_none_with_operations_left_out(
    network: Network, space: SearchSpace, wanted: str
) -> None:
    assert SCRIPT["with_operations_left_out"](network, space.parse(wanted)) is None


@pytest.mark.parametrize("cache", ["--cache /x/y", "--cache=/x/y", "--cache ''"])
def test_no_cache_is_recorded(cache: str) -> None:
    command = f"python scripts/train_networks.py --steps 3 {cache} --output a.safetensors '16: F'"
    before = {"command": command, "seed": 0}
    found = SCRIPT["without_cache"]({"command": command, "joined": 0.2, "before": before})
    without = "python scripts/train_networks.py --steps 3 --output a.safetensors '16: F'"
    assert found == {
        "command": without,
        "joined": 0.2,
        "before": {"command": without, "seed": 0},
    }
