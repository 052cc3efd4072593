"""What compiled code is said to take and give."""

from __future__ import annotations

import pytest

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.export.onnx import INPUTS, build
from nasc.lowering.description import Interface
from nasc.networks.network import random_network

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=32, intermediate=256, vocab_size=100, max_positions=64
)


@pytest.mark.parametrize("shape", [None, (2, 16)])
def test_axes_of_a_graph_are_numbers_or_free(shape: tuple[int, int] | None) -> None:
    network = random_network(Architecture((Block(64, ("mha",)),)), GEOMETRY)
    found = Interface.of(build(network, shape=shape))
    axes = list(shape or (None, None))
    assert found.inputs == [{"name": name, "type": "int64", "axes": axes} for name in INPUTS]
    assert found.outputs[0] == {
        "name": "sentence_embedding",
        "type": "float32",
        "axes": [shape and shape[0], 64],
    }
    assert found.metadata["nasc.architecture"] == "64: M @ fp32"
