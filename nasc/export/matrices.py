"""How the matrices of a network, and its word embedding, are written into a graph."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from onnx import TensorProto

from nasc.architecture.layers import group_size
from nasc.errors import ExportError
from nasc.export.graph import GraphBuilder
from nasc.export.quantization import (
    ZERO_4BIT,
    quantize_matrix,
    quantize_rows,
    quantize_rows_4bit,
)
from nasc.networks.network import Array


class Matrices(Protocol):
    """One way to write them; made anew for every graph."""

    def linear(self, g: GraphBuilder, x: str, name: str, weight: Array, bias: Array) -> str:
        """Append the product of activations with a matrix transposed, plus a bias.

        Args:
            g: The graph.
            x: Name of the activations, (tokens, inputs).
            name: Of the layer in the graph: what its tensors' names begin with.
            weight: (outputs, inputs).
            bias: (outputs,).

        Returns:
            Name of the output, (tokens, outputs).
        """

    def rows(self, g: GraphBuilder, name: str, table: Array, ids: str) -> str:
        """Append the choice of rows out of a table.

        Args:
            g: The graph.
            name: Of the table in the graph.
            table: (rows, hidden).
            ids: Name of the numbers of rows, (batch, seq_len).

        Returns:
            Name of the output, (batch, seq_len, hidden).
        """


class Float:
    """Weights in fp32. What a runtime stores and computes them in is its own affair."""

    def linear(self, g: GraphBuilder, x: str, name: str, weight: Array, bias: Array) -> str:
        """See `Matrices`."""
        b = g.weight(f"{name}_bias", bias)
        return g.node("Gemm", x, g.weight(f"{name}_weight", weight), b, transB=1)

    def rows(self, g: GraphBuilder, name: str, table: Array, ids: str) -> str:
        """See `Matrices`."""
        return g.node("Gather", g.weight(name, table), ids)


class DynamicInt8:
    """Weights and activations in int8; the activations' scale is found in every run."""

    def __init__(self) -> None:
        """Nothing is quantized yet."""
        self._quantized: tuple[str, list[str]] = ("", [])

    def linear(self, g: GraphBuilder, x: str, name: str, weight: Array, bias: Array) -> str:
        """See `Matrices`."""
        b = g.weight(f"{name}_bias", bias)
        if self._quantized[0] != x:
            self._quantized = (x, g.nodes("DynamicQuantizeLinear", x, outputs=3))
        xq, x_scale, x_zero = self._quantized[1]
        quantized, scales = quantize_matrix(weight)
        wq = g.weight(f"{name}_weight", quantized.T)
        product = g.node("MatMulInteger", xq, wq, x_zero, g.constant(np.int8(0)))
        scale = g.node("Mul", x_scale, g.weight(f"{name}_scale", scales))
        product = g.node("Mul", g.node("Cast", product, to=TensorProto.FLOAT), scale)
        return g.node("Add", product, b)

    def rows(self, g: GraphBuilder, name: str, table: Array, ids: str) -> str:
        """See `Matrices`."""
        quantized, scales = quantize_rows(table)
        rows = g.node("Gather", g.weight(name, quantized), ids)
        scale = g.node("Gather", g.weight(f"{name}_scale", scales[:, None]), ids)
        return g.node("Mul", g.node("Cast", rows, to=TensorProto.FLOAT), scale)


class DynamicInt8Words4(DynamicInt8):
    """The same with the word embedding in 4 bits."""

    def rows(self, g: GraphBuilder, name: str, table: Array, ids: str) -> str:
        """See `Matrices`."""
        packed, scales = quantize_rows_4bit(table)
        columns = table.shape[1]
        both = g.node("Gather", g.weight(name, packed), ids)
        low = g.node("BitwiseAnd", both, g.constant(np.uint8(15)))
        high = g.node("BitShift", both, g.constant(np.uint8(4)), direction="RIGHT")
        bits = g.node("Cast", g.node("Concat", low, high, axis=-1), to=TensorProto.FLOAT)
        grouped = g.ints(0, 0, -1, group_size(columns))
        values = g.node("Sub", g.node("Reshape", bits, grouped), g.constant(np.float32(ZERO_4BIT)))
        scale = g.node("Gather", g.weight(f"{name}_scale", scales[:, :, None]), ids)
        found = g.node("Mul", values, g.node("Cast", scale, to=TensorProto.FLOAT))
        return g.node("Reshape", found, g.ints(0, 0, columns))


class Int8Weights:
    """Weights in int8, multiplied back to floats before they are used.

    Runtimes that know the pattern keep the weights in int8 and choose themselves what the
    product is computed in.
    """

    def linear(self, g: GraphBuilder, x: str, name: str, weight: Array, bias: Array) -> str:
        """See `Matrices`."""
        b = g.weight(f"{name}_bias", bias)
        return g.node("Gemm", x, _widened(g, f"{name}_weight", weight), b, transB=1)

    def rows(self, g: GraphBuilder, name: str, table: Array, ids: str) -> str:
        """See `Matrices`."""
        return g.node("Gather", _widened(g, name, table), ids)


def _widened(g: GraphBuilder, name: str, matrix: Array) -> str:
    """A matrix in int8, one scale a row, as floats again."""
    quantized, scales = quantize_rows(matrix)
    wide = g.node("Cast", g.weight(name, quantized), to=TensorProto.FLOAT)
    return g.node("Mul", wide, g.weight(f"{name}_scale", scales[:, None]))


def matrices_for(precision: str) -> Matrices:
    """How they are written for onnxruntime, whose optimiser knows these forms.

    Raises:
        ExportError: If they are not written in this precision.
    """
    known: dict[str, type[Float] | type[DynamicInt8]] = {
        "fp32": Float,
        "int8": DynamicInt8,
        "int8-emb4": DynamicInt8Words4,
    }
    if precision not in known:
        raise ExportError(
            f"no ONNX graph is written in the precision {precision!r}; known: {', '.join(known)}"
        )
    return known[precision]()
