"""Tiny networks with weights large enough that every part of them matters."""

from collections.abc import Callable

import numpy as np
import pytest

from nasc.architecture.layers import layers
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.networks.network import Network, tensor_shapes

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=16, intermediate=256, vocab_size=100, max_positions=64
)

MakeNetwork = Callable[..., Network]


def make(blocks: str, precision: str = "fp32", head: str = "embed", seed: int = 0) -> Network:
    """A network of blocks such as ``64: mha ffn | 32: sep3``."""
    parsed = []
    for text in blocks.split("|"):
        hidden, names = text.split(":")
        parsed.append(Block(int(hidden), tuple(names.split())))
    architecture = Architecture(tuple(parsed), precision)
    rng = np.random.default_rng(seed)
    tensors = []
    for layer in layers(architecture, GEOMETRY, head):
        found = {}
        for name, shape in tensor_shapes(layer, GEOMETRY).items():
            spread = shape[-1] ** -0.5 if len(shape) > 1 else 0.3
            value = rng.normal(0, spread, shape)
            found[name] = (value + (name == "ln_weight")).astype(np.float32)
        tensors.append(found)
    return Network(architecture, GEOMETRY, head, tuple(tensors))


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    return make


@pytest.fixture(scope="session")
def token_lists() -> list[list[int]]:
    """Forty texts of 3 to 30 tokens out of the tiny vocabulary."""
    rng = np.random.default_rng(1)
    return [rng.integers(1, 100, rng.integers(3, 31)).tolist() for _ in range(40)]
