"""Networks of random weights, for measuring."""

from __future__ import annotations

import pytest

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.networks.network import random_network


@pytest.mark.parametrize("hidden", [64, 512, 768])
def test_no_two_matrices_are_alike(hidden: int) -> None:
    """Runtimes store equal ones once: the network would find its weights in the cache."""
    geometry = Geometry(2, hidden, 32, 4 * hidden, 100, 16)
    network = random_network(Architecture((Block(hidden, ("mha", "ffn") * 2),)), geometry)
    weights = [
        tensor.tobytes()
        for layer in network.tensors
        for tensor in layer.values()
        if tensor.ndim > 1
    ]
    assert len(weights) > 10
    assert len(set(weights)) == len(weights)
