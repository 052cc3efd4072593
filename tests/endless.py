"""ONNX files that a runtime should not be trusted with: shared by several tests."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    output: onnx.ValueInfoProto,
    tensors: list[onnx.TensorProto],
) -> Path:
    shape = ["batch", "seq_len"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(nodes, "hostile", inputs, [output], tensors)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def write_endless(path: Path) -> Path:
    """A model whose Loop never ends."""
    shape = ["batch", "seq_len"]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.INT64, shape),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.INT64, shape),
        ],
    )
    nodes = [
        helper.make_node("Add", ["input_ids", "attention_mask"], ["both"]),
        helper.make_node("Loop", ["", "true", "both"], ["out"], body=body),
    ]
    output = helper.make_tensor_value_info("out", TensorProto.INT64, shape)
    return _save(path, nodes, output, [helper.make_tensor("true", TensorProto.BOOL, [], [True])])


def write_greedy(path: Path, values: int) -> Path:
    """A model of some bytes that fills memory with so many floats for each token."""
    nodes = [
        helper.make_node("Add", ["input_ids", "attention_mask"], ["both"]),
        helper.make_node("Mul", ["both", "zero"], ["none"]),
        helper.make_node("Add", ["none", "many"], ["sizes"]),
        helper.make_node("Reshape", ["sizes", "flat"], ["list"]),
        helper.make_node(
            "ConstantOfShape",
            ["list"],
            ["out"],
            value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ),
    ]
    tensors = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("many", TensorProto.INT64, [], [values]),
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
    ]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["values"])
    return _save(path, nodes, output, tensors)
