"""ONNX files run by torch, one operator after the other: what the reference network is made of.

Networks that ship are compiled (`profilers.runtimes.torch`); this is for the reference network, and
for graphs of the same few operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profilers.errors import ModelRejected
from profilers.runtimes.described import Values, onnx_values

Attributes = Mapping[str, Any]


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if c is None:
        return (a @ b).mul(alpha)
    return torch.addmm(c, a, b, alpha=alpha, beta=beta)


def _layer_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", -1)
    shape = x.shape[axis:]
    return functional.layer_norm(x, shape, scale, bias, attributes.get("epsilon", 1e-5))


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(shape.tolist())]
    return x.reshape(sizes)


def _unsqueeze(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _squeeze(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze([axis % x.ndim for axis in axes.tolist()])


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    spatial = x.ndim - 2
    pads = attributes.get("pads", [0] * 2 * spatial)
    begin, end = pads[:spatial], pads[spatial:]
    around = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    ones = [1] * spatial
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[spatial]
    return convolve(
        functional.pad(x, around) if begin != end else x,
        weight,
        bias,
        stride=attributes.get("strides", ones),
        padding=begin if begin == end else 0,
        dilation=attributes.get("dilations", ones),
        groups=attributes.get("group", 1),
    )


_OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda _, a, b: a + b,
    "Conv": _conv,
    "Div": lambda _, a, b: a / b,
    "Erf": lambda _, x: torch.erf(x),
    "Gemm": _gemm,
    "Identity": lambda _, x: x,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda _, a, b: a @ b,
    "Mul": lambda _, a, b: a * b,
    "Relu": lambda _, x: functional.relu(x),
    "Reshape": _reshape,
    "Softmax": lambda attributes, x: x.softmax(attributes.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": lambda _, a, b: a - b,
    "Transpose": lambda attributes, x: x.permute(
        attributes.get("perm", list(reversed(range(x.ndim))))
    ),
    "Unsqueeze": _unsqueeze,
}


class OnnxGraph:
    """A graph of those operators.

    Attributes:
        inputs: See `RuntimeSession.describe_inputs`.
        outputs: See `RuntimeSession.describe_outputs`.
        metadata: What the file's maker wrote into it.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        """Reads a file.

        Args:
            path: Of the ONNX file.
            device: That computes. Integers, which say how, stay on the processor.

        Raises:
            ModelRejected: If it is no ONNX file, or has other operators.
        """
        import onnx

        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception as error:  # of many kinds, by what is wrong with the file
            raise ModelRejected(f"it is no ONNX file that can be read: {error}") from error
        graph = model.graph
        names = {tensor.name for tensor in graph.initializer}
        self.inputs: Values = onnx_values(v for v in graph.input if v.name not in names)
        self.outputs: Values = onnx_values(graph.output)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        unknown = sorted({n.op_type for n in graph.node if n.domain} | _unknown(graph.node))
        if unknown:
            raise ModelRejected(
                f"of its operators torch runs {', '.join(unknown)[:200]} from no ONNX file here; "
                f"it runs {', '.join(_OPERATORS)}. Take another runtime: --runtime onnxruntime"
            )
        self._constants: dict[str, Tensor] = {}
        for tensor in graph.initializer:
            value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            moved = value if not value.is_floating_point() else value.to(device)
            self._constants[tensor.name] = moved
        self._nodes = [
            (
                _OPERATORS[node.op_type],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
                tuple(node.input),
                node.output[0],
            )
            for node in graph.node
        ]

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """What it computes of its inputs, both in their order."""
        values = self._constants | dict(zip(self.inputs, tensors, strict=True))
        for operator, attributes, inputs, output in self._nodes:
            given = [values[name] if name else None for name in inputs]
            values[output] = operator(attributes, *given)
        return [values[name] for name in self.outputs]


def _unknown(nodes: Sequence[Any]) -> set[str]:
    return {node.op_type for node in nodes if node.op_type not in _OPERATORS}
