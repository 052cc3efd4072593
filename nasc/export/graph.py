"""A small builder of ONNX graphs: constants, nodes, names. Knows no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""First opset with Gelu. onnxruntime reads it since 1.17 (January 2024)."""

IR_VERSION = 9
"""The IR of opset 20 (ONNX 1.15)."""


class GraphBuilder:
    """Collects nodes and constants in order; equal small constants are stored once."""

    def __init__(self) -> None:
        """An empty graph."""
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def weight(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """A named tensor of the model."""
        self._initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def constant(self, value: np.ndarray[Any, Any] | np.generic) -> str:
        """A small constant, shared by all that ask for the same."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._small:
            self._small[key] = self.weight(f"constant_{len(self._small)}", array)
        return self._small[key]

    def ints(self, *values: int) -> str:
        """A constant vector of int64."""
        return self.constant(np.array(values, np.int64))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; gives that output's name."""
        return self.nodes(operator, *inputs, outputs=1, **attributes)[0]

    def nodes(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Append a node with several outputs; gives their names."""
        name = f"{operator}_{len(self._nodes)}"
        names = [name if i == 0 else f"{name}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name, **attributes))
        return names

    def rename_last(self, name: str) -> None:
        """Give the output of the last node another name, that of a graph output."""
        self._nodes[-1].output[0] = name

    def model(
        self,
        inputs: dict[str, list[str | int]],
        outputs: dict[str, list[str | int]],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The finished model.

        Args:
            inputs: Name and shape, symbols or numbers, of each int64 input.
            outputs: Name and shape of each float output.
            metadata: Written into the model's metadata_props.
        """
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            self._initializers,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nasc",
        )
        helper.set_model_props(model, metadata)
        return model
