"""The emitter: the one place that turns a network into an ONNX graph.

The graphs measured for the latency table and the graph of the package both come from
here. Standard ONNX operators only. What was chosen by measuring (onnxruntime 1.32, one
thread; benchmarks/export/emitter_patterns.py):

* Activations are (batch * seq_len, hidden) wherever a matrix follows, so that matrix and
  bias are one Gemm: faster than MatMul + Add on three axes. Separate Gelu nodes then
  stay unfused, which is faster than the fused BiasGelu.
* Query, key and value are three products: one merged product and a Split is slower.
* The depthwise convolution runs as a two-dimensional one of height 1, between transposes
  of three axes: faster than Conv on three axes and than sums of shifted copies, and less
  than half of the time that transposes of four axes take.
* int8 is dynamic (DynamicQuantizeLinear, MatMulInteger), which onnxruntime fuses with
  the bias: faster than a static QuantizeLinear/DequantizeLinear graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from nasc.architecture.heads import (
    SPANS,
    gives_answers,
    gives_scores,
    gives_states,
    gives_vector,
    head_outputs,
    maps_tokens,
    pooling_of,
    scores_tokens,
    vector_size,
)
from nasc.architecture.layers import Layer
from nasc.architecture.space import GELU, SEPCONV_PAIRS, kernel_size
from nasc.errors import ExportError
from nasc.export.graph import GraphBuilder
from nasc.export.matrices import Matrices, matrices_for
from nasc.networks.network import Array, Network, Tensors
from nasc.utils.masking import MASKED
from nasc.utils.relative_positions import distance_buckets

EMITTER_VERSION = 3
"""Raised with every change of the emitted graphs: latency tables are keyed by it."""

INPUTS = ("input_ids", "attention_mask")

ONE_TOKEN = "last_hidden_state"
"""Second output of the head ``embed``: the vector as the hidden state of a text's one token.
Libraries that pool hidden states themselves (optimum, and with it sentence-transformers) know no
other output; pooling by the first token gives the vector."""

_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    GELU: ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}
"""Operator and attributes of each of `nasc.architecture.space.ACTIVATIONS`."""

_DENSE = {"identity": "", "tanh": "Tanh", "relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid"}
"""Operators of `nasc.architecture.heads.DENSE_ACTIVATIONS`; identity needs none."""

_PADDING = -1e9
"""Added to states of padding before the largest is taken (sentence-transformers' own constant)."""


ANSWER_OUTPUTS = ("start_logits", "end_logits")
"""Outputs of a teacher's head that answers questions, as transformers and optimum name them."""


def output_name(head: str) -> str:
    """Name of the first output of a head's graph."""
    if gives_answers(head):
        return ANSWER_OUTPUTS[0]
    if gives_vector(head) and not gives_scores(head):
        return "sentence_embedding"
    if gives_states(head):
        return "last_hidden_state"
    return "span_logits" if head == SPANS else "logits"


def build(
    network: Network,
    *,
    matrices: Matrices | None = None,
    shape: tuple[int, int] | None = None,
    shifts: Collection[int] = (),
) -> onnx.ModelProto:
    """ONNX model of a network.

    Inputs ``input_ids`` and ``attention_mask``, int64 (batch, seq_len), both axes free or both
    fixed; output ``sentence_embedding`` (batch, hidden), ``last_hidden_state``
    (batch, seq_len, hidden), ``logits`` (batch, outputs) or of each token (batch, seq_len,
    outputs), ``span_logits`` (batch, 2, seq_len) or `ANSWER_OUTPUTS`, each (batch, seq_len), float;
    after ``sentence_embedding`` also `ONE_TOKEN`, (batch, 1, hidden).
    Token types are 0 (folded into the positions), but 1 behind the first `Geometry.separator` of a
    geometry that has one. onnxruntime's symbolic shape inference knows the shape of every tensor.

    Args:
        network: With its weights.
        matrices: How its matrices are written; None writes those of its precision as
            `matrices_for` says.
        shape: (batch, seq_len) of every run; None leaves both free.
        shifts: Kernel sizes of depthwise convolutions that are written as sums of shifted copies.

    Raises:
        ExportError: If networks are not written in its precision, or it has fewer positions than
            the shape.
    """
    batch, seq_len = _axes(network, shape)
    matrices = matrices or matrices_for(network.architecture.precision)
    emitter = _Emitter(network, matrices, shifts)
    for index, (layer, tensors) in enumerate(zip(network.layers, network.tensors, strict=True)):
        emitter.emit(index, layer, tensors)
    output = output_name(network.head)
    size = vector_size(network.head, network.geometry.hidden)
    axes: list[str | int] = [batch, head_outputs(network.head) or size]
    if gives_states(network.head) or scores_tokens(network.head):
        axes.insert(1, seq_len)
    elif network.head == SPANS:
        axes.append(seq_len)
    outputs = {output: axes}
    if gives_answers(network.head):
        outputs = dict.fromkeys(ANSWER_OUTPUTS, axes[:2])
        emitter.split_answers()
    else:
        emitter.graph.rename_last(output)
    if gives_vector(network.head) and not gives_scores(network.head):
        emitter.graph.node("Unsqueeze", output, emitter.graph.ints(1))
        emitter.graph.rename_last(ONE_TOKEN)
        outputs[ONE_TOKEN] = [batch, 1, size]
    return emitter.graph.model(
        {name: [batch, seq_len] for name in INPUTS},
        outputs,
        {
            "nasc.architecture": str(network.architecture),
            "nasc.head": network.head,
            "nasc.emitter_version": str(EMITTER_VERSION),
            "nasc.max_positions": str(network.geometry.max_positions),
        },
    )


def _axes(network: Network, shape: tuple[int, int] | None) -> tuple[str | int, str | int]:
    """Sizes or names of the axes of the inputs."""
    if shape is None:
        return "batch", "seq_len"
    batch, seq_len = shape
    if batch < 1 or not 1 <= seq_len <= network.geometry.max_positions:
        raise ExportError(
            f"a graph of {batch} x {seq_len} tokens cannot be written: a batch holds 1 text at "
            f"least, a text 1 to {network.geometry.max_positions} tokens"
        )
    return batch, seq_len


def emit(network: Network, path: Path) -> int:
    """Write the model of a network to a file, for onnxruntime; gives its size in bytes.

    Raises:
        ExportError: See `build`.
        OSError: If the file cannot be written.
    """
    return path.write_bytes(build(network).SerializeToString())


class _Emitter:
    """Appends layer after layer; `x` names the current activations (tokens, hidden)."""

    def __init__(self, network: Network, matrices: Matrices, shifts: Collection[int]) -> None:
        self.graph = GraphBuilder()
        self._head_size = network.geometry.head_size
        self._activation = _ACTIVATIONS[network.geometry.activation]
        self._eps = network.layer_norm_eps
        self._matrices = matrices
        self._shifts = shifts
        self._x = ""
        self._shapes: dict[tuple[int, ...], str] = {}
        self._name = ""
        g = self.graph
        self._size = g.node("Shape", "input_ids")
        mask = g.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        self._mask_row = g.node("Unsqueeze", mask, g.ints(1))
        self._score_bias = ""
        self._pre_norm = network.geometry.pre_norm
        self._turns: dict[bytes, tuple[str, str]] = {}
        self._windows: dict[int, str] = {}
        self._places = ""
        self._buckets = ""
        self._positions = network.geometry.max_positions
        self._separator = network.geometry.separator
        self._token_mask = ""

    def emit(self, index: int, layer: Layer, tensors: Tensors) -> None:
        self._name = f"{index}.{layer.kind}"
        kinds: dict[str, Callable[[Layer, Tensors], str]] = {
            "embedding": self._embedding,
            "border": self._border,
            "mha": self._mha,
            "ffn": self._ffn,
        }
        other = self._head(layer.head) if layer.head else self._sepconv
        self._x = kinds.get(layer.kind, other)(layer, tensors)

    def _head(self, head: str) -> Callable[[Layer, Tensors], str]:
        if gives_vector(head):
            return self._head_embed
        if gives_states(head):
            return self._head_hidden
        if scores_tokens(head):
            return self._head_tokens
        return self._head_spans if head == SPANS else self._head_classify

    # Parts that several layers use

    def _weight(self, name: str, value: NDArray[Any]) -> str:
        return self.graph.weight(f"{self._name}.{name}", value)

    def _shape(self, *trailing: int) -> str:
        """The shape (batch, seq_len, *trailing) as a tensor."""
        if trailing not in self._shapes:
            g = self.graph
            self._shapes[trailing] = g.node("Concat", self._size, g.ints(*trailing), axis=0)
        return self._shapes[trailing]

    def _to_tokens(self, x: str, hidden: int) -> str:
        return self.graph.node("Reshape", x, self.graph.ints(-1, hidden))

    def _linear(self, x: str, name: str, weight: Array, bias: Array) -> str:
        """Product of x (tokens, inputs) with weight (outputs, inputs) transposed, plus bias."""
        return self._matrices.linear(self.graph, x, f"{self._name}.{name}", weight, bias)

    def _exact_linear(self, x: str, name: str, weight: Array, bias: Array) -> str:
        """As `_linear`, in fp32 whatever the network's precision."""
        w, b = self._weight(f"{name}_weight", weight), self._weight(f"{name}_bias", bias)
        return self.graph.node("Gemm", x, w, b, transB=1)

    def _column_mask(self) -> str:
        """The mask as (batch, seq_len, 1)."""
        if not self._token_mask:
            self._token_mask = self.graph.node("Transpose", self._mask_row, perm=[0, 2, 1])
        return self._token_mask

    def _pool(self, x: str, hidden: int, mode: str = "mean") -> str:
        """The rows of each text's real tokens, x (tokens, hidden), as one: (batch, hidden).

        The arithmetic of `nasc.utils.torch_pooling.pool`.
        """
        g = self.graph
        x = g.node("Reshape", x, self._shape(hidden))
        if mode == "cls":
            return g.node("Gather", x, g.constant(np.int64(0)), axis=1)
        if mode == "max":
            padding = g.node("Sub", g.constant(np.float32(1)), self._column_mask())
            lowered = g.node("Mul", padding, g.constant(np.float32(_PADDING)))
            # Symbolic shape inference does not know ReduceMax with its axes as an input.
            columns = g.node("Transpose", g.node("Add", x, lowered), perm=[0, 2, 1])
            return g.node("Squeeze", g.node("GlobalMaxPool", columns), g.ints(2))
        total = g.node("Squeeze", g.node("MatMul", self._mask_row, x), g.ints(1))
        count = g.node("ReduceSum", self._mask_row, g.ints(2), keepdims=0)
        if mode == "sqrt_len":
            count = g.node("Sqrt", count)
        return g.node("Div", total, g.node("Max", count, g.constant(np.float32(1))))

    def _normalize(self, x: str, tensors: Tensors, name: str = "ln") -> str:
        return self.graph.node(
            "LayerNormalization",
            x,
            self._weight(f"{name}_weight", tensors[f"{name}_weight"]),
            self._weight(f"{name}_bias", tensors[f"{name}_bias"]),
            axis=-1,
            epsilon=self._eps,
        )

    def _read(self, tensors: Tensors) -> str:
        """What a layer reads: the activations, normalised where that comes first."""
        if not self._pre_norm:
            return self._x
        if tensors.get("normed", np.ones(1))[0]:
            return self._normalize(self._x, tensors)
        scaled = self.graph.node("Mul", self._x, self._weight("ln_weight", tensors["ln_weight"]))
        return self.graph.node("Add", scaled, self._weight("ln_bias", tensors["ln_bias"]))

    def _residual(self, update: str, tensors: Tensors) -> str:
        total = self.graph.node("Add", update, self._x)
        return total if self._pre_norm else self._normalize(total, tensors)

    def _finished(self, x: str, tensors: Tensors) -> str:
        """States at the teacher's size, normalised behind all layers where the head does so."""
        return self._normalize(x, tensors, "norm") if "norm_weight" in tensors else x

    # Layers

    def _embedding(self, layer: Layer, tensors: Tensors) -> str:
        g = self.graph
        word = self._matrices.rows(g, f"{self._name}.word", tensors["word"], "input_ids")
        rows = word
        if "position" in tensors:
            shape = g.node("Shape", word, start=1)
            table = self._weight("position", tensors["position"])
            position = g.node("Slice", table, g.ints(0, 0), shape, g.ints(0, 1))
            # Of the slice, shape inference knows no more than that it may be shorter than the text.
            position = g.node("Reshape", position, shape)
            rows = g.node("Add", word, position)
        if self._separator is not None:
            segment = self._weight("segment", tensors["segment"])
            rows = g.node("Add", rows, g.node("Mul", self._segments(self._separator), segment))
        x = self._to_tokens(rows, len(tensors["ln_weight"]))
        x = self._normalize(x, tensors)
        if "map_weight" not in tensors:
            return x
        return self._linear(x, "map", tensors["map_weight"], tensors["map_bias"])

    def _segments(self, separator: int) -> str:
        """Token types as (batch, seq_len, 1): see `nasc.utils.torch_segments.segments`.

        Found here, so that whoever runs the model gives two inputs and no types.
        """
        g = self.graph
        ends = g.node("Equal", "input_ids", g.constant(np.int64(separator)))
        ends = g.node("Cast", ends, to=TensorProto.FLOAT)
        before = g.node("CumSum", ends, g.constant(np.int64(1)), exclusive=1)
        types = g.node("Min", before, g.constant(np.float32(1)))
        return g.node("Unsqueeze", types, g.ints(2))

    def _border(self, layer: Layer, tensors: Tensors) -> str:
        return self._linear(self._x, "map", tensors["weight"], tensors["bias"])

    def _mha(self, layer: Layer, tensors: Tensors) -> str:
        g = self.graph
        hidden, size = layer.hidden_in, self._head_size
        if not self._score_bias:
            padding = g.node("Sub", g.constant(np.float32(1)), self._mask_row)
            scores = g.node("Mul", padding, g.constant(np.float32(MASKED)))
            self._score_bias = g.node("Unsqueeze", scores, g.ints(1))
        read, score_bias = self._read(tensors), self._score_bias
        split = self._shape(hidden // size, size)
        turned = "frequencies" in tensors
        heads = {}
        scale = np.float32(size**-0.5)
        for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            factor = scale if name == "q" else np.float32(1)
            flat = self._linear(
                read, name, tensors[f"{name}_weight"] * factor, tensors[f"{name}_bias"] * factor
            )
            flat = g.node("Reshape", flat, split)
            if turned and name != "v":
                flat = self._turned(flat, tensors["frequencies"])
            heads[name] = g.node("Transpose", flat, perm=order)
        if turned and (window := int(tensors["window"][0])):
            score_bias = self._within(window)
        scores = g.node("MatMul", heads["q"], heads["k"])
        if "bucket_bias" in tensors:
            scores = g.node("Add", scores, self._position_scores(tensors["bucket_bias"]))
        scores = g.node("Add", scores, score_bias)
        mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), heads["v"])
        mixed = self._to_tokens(g.node("Transpose", mixed, perm=[0, 2, 1, 3]), hidden)
        return self._residual(
            self._linear(mixed, "o", tensors["o_weight"], tensors["o_bias"]), tensors
        )

    def _place(self) -> str:
        """Places of a text's tokens, (seq_len,), float."""
        g = self.graph
        if not self._places:
            length = g.node("Shape", "input_ids", start=1)
            places = g.constant(np.arange(self._positions, dtype=np.float32))
            # Reshaped as in the embedding.
            place = g.node("Slice", places, g.ints(0), length)
            self._places = g.node("Reshape", place, length)
        return self._places

    def _turned(self, x: str, frequencies: Array) -> str:
        """Queries or keys, (batch, seq_len, heads, size), turned by their places.

        The arithmetic of `nasc.utils.torch_rotary.rotate`: with the halves changed over, and the
        sine of the first one's angle negative.
        """
        g, half = self.graph, len(frequencies)
        key = frequencies.tobytes()
        if key not in self._turns:
            column = g.node("Unsqueeze", self._place(), g.ints(1, 2))
            both = np.concatenate([frequencies, frequencies])
            signed = np.concatenate([-frequencies, frequencies])
            cosines = g.node("Cos", g.node("Mul", column, g.constant(both)))
            self._turns[key] = cosines, g.node("Sin", g.node("Mul", column, g.constant(signed)))
        cosines, sines = self._turns[key]
        first = g.node("Slice", x, g.ints(0), g.ints(half), g.ints(3))
        second = g.node("Slice", x, g.ints(half), g.ints(2 * half), g.ints(3))
        other = g.node("Mul", g.node("Concat", second, first, axis=3), sines)
        return g.node("Add", g.node("Mul", x, cosines), other)

    def _within(self, window: int) -> str:
        """What is added to scores of padding, and of tokens farther apart than a window.

        (batch, 1, seq_len, seq_len): see `nasc.utils.torch_rotary.window_scores`.
        """
        g = self.graph
        if window not in self._windows:
            place = self._place()
            row, column = (g.node("Unsqueeze", place, g.ints(axis)) for axis in (0, 1))
            apart = g.node("Sub", row, column)
            beyond = g.node("Sub", g.node("Mul", apart, apart), g.constant(np.float32(window**2)))
            beyond = g.node("Max", beyond, g.constant(np.float32(0)))
            beyond = g.node("Min", beyond, g.constant(np.float32(1)))
            beyond = g.node("Mul", beyond, g.constant(np.float32(MASKED)))
            self._windows[window] = g.node("Add", beyond, self._score_bias)
        return self._windows[window]

    def _position_scores(self, bucket_bias: Array) -> str:
        """What relative positions add to a layer's scores: (heads, seq_len, seq_len).

        The bucket of each pair of tokens is found once, by their distance.
        """
        g = self.graph
        if not self._buckets:
            known = distance_buckets(self._positions, len(bucket_bias))
            length = g.node("Shape", "input_ids", start=1)
            places = g.constant(np.arange(self._positions, dtype=np.int64))
            # Reshaped as in the embedding.
            place = g.node("Slice", places, g.ints(0), length)
            place = g.node("Reshape", place, length)
            behind = g.node("Unsqueeze", place, g.ints(0))
            distance = g.node("Sub", behind, g.node("Unsqueeze", place, g.ints(1)))
            row = g.node("Add", distance, g.ints(self._positions - 1))
            self._buckets = g.node("Gather", g.constant(known), row)
        table = self._weight("bucket_bias", bucket_bias.T)
        return g.node("Gather", table, self._buckets, axis=1)

    def _ffn(self, layer: Layer, tensors: Tensors) -> str:
        read = self._read(tensors)
        inner = self._linear(read, "in", tensors["in_weight"], tensors["in_bias"])
        operator, attributes = self._activation
        inner = self.graph.node(operator, inner, **attributes)
        if "gate_weight" in tensors:
            gate = self._linear(read, "gate", tensors["gate_weight"], tensors["gate_bias"])
            inner = self.graph.node("Mul", inner, gate)
        return self._residual(
            self._linear(inner, "out", tensors["out_weight"], tensors["out_bias"]), tensors
        )

    def _sepconv(self, layer: Layer, tensors: Tensors) -> str:
        g = self.graph
        hidden, kernel = layer.hidden_in, kernel_size(layer.kind)
        mask = self._column_mask()
        y = self._read(tensors)
        for pair in range(1, SEPCONV_PAIRS + 1):
            y = g.node("Reshape", g.node("Relu", y), self._shape(hidden))
            y = g.node("Mul", y, mask)
            depthwise = self._shifted if kernel in self._shifts else self._convolved
            weight, bias = tensors[f"dw{pair}_weight"], tensors[f"dw{pair}_bias"]
            y = depthwise(y, f"dw{pair}", weight, bias)
            y = self._to_tokens(y, hidden)
            y = self._linear(y, f"pw{pair}", tensors[f"pw{pair}_weight"], tensors[f"pw{pair}_bias"])
        return self._residual(y, tensors)

    def _convolved(self, y: str, name: str, weight: Array, bias: Array) -> str:
        """Depthwise convolution of y (batch, seq_len, hidden) with weight (hidden, kernel)."""
        g = self.graph
        hidden, kernel = weight.shape
        y = g.node("Transpose", y, perm=[0, 2, 1])
        y = g.node(
            "Conv",
            g.node("Unsqueeze", y, g.ints(2)),
            self._weight(f"{name}_weight", weight[:, None, None, :]),
            self._weight(f"{name}_bias", bias),
            group=hidden,
            kernel_shape=[1, kernel],
            pads=[0, kernel // 2, 0, kernel // 2],
        )
        return g.node("Transpose", g.node("Squeeze", y, g.ints(2)), perm=[0, 2, 1])

    def _shifted(self, y: str, name: str, weight: Array, bias: Array) -> str:
        """As `_convolved`, as a sum of copies of y, each shifted and multiplied."""
        g = self.graph
        kernel = weight.shape[1]
        half = kernel // 2
        padded = g.node("Pad", y, g.ints(0, half, 0, 0, half, 0))
        total = self._weight(f"{name}_bias", bias)
        for place in range(kernel):
            end = place - kernel + 1 or np.iinfo(np.int64).max
            part = g.node("Slice", padded, g.ints(place), g.ints(end), g.ints(1))
            factors = self._weight(f"{name}_weight_{place}", weight[:, place])
            total = g.node("Add", g.node("Mul", part, factors), total)
        return total

    def _head_embed(self, layer: Layer, tensors: Tensors) -> str:
        """One row out of the tokens, the map to the teacher's size, then what the pooling says.

        The map follows the pooling where that gives the same: it then costs one row, not seq_len.
        """
        g, how, first = self.graph, pooling_of(layer.head), maps_tokens(layer.head, self._pre_norm)
        x = self._x
        mapped = "weight" in tensors
        if mapped and first:
            x = self._linear(x, "map", tensors["weight"], tensors["bias"])
        x = self._finished(x, tensors)
        pooled = self._pool(x, layer.hidden_out if first else layer.hidden_in, how.mode)
        if mapped and not first:
            pooled = self._exact_linear(pooled, "map", tensors["weight"], tensors["bias"])
        pooled = self._dense(pooled, layer, tensors)
        if how.scaled:
            pooled = self._unit_length(pooled)
        if how.first is None:
            return pooled
        return g.node("Slice", pooled, g.ints(0), g.ints(how.first), g.ints(1))

    def _dense(self, x: str, layer: Layer, tensors: Tensors) -> str:
        """The head's own linear layers of rows (rows, hidden), in fp32 with their activations."""
        for place, dense in enumerate(pooling_of(layer.head).dense, 1):
            name = f"dense{place}"
            weight, bias = tensors[f"{name}_weight"], tensors[f"{name}_bias"]
            x = self._exact_linear(x, name, weight, bias)
            if operator := _DENSE[dense.activation]:
                x = self.graph.node(operator, x)
        return x

    def _unit_length(self, vectors: str) -> str:
        """Rows (batch, size) at length 1."""
        g = self.graph
        # Symbolic shape inference does not know ReduceL2 with its axes as an input.
        squares = g.node("ReduceSum", g.node("Mul", vectors, vectors), g.ints(1), keepdims=1)
        length = g.node("Sqrt", squares)
        return g.node("Div", vectors, g.node("Max", length, g.constant(np.float32(1e-12))))

    def _head_classify(self, layer: Layer, tensors: Tensors) -> str:
        """Mean over real tokens, two linear layers in fp32 with tanh between them."""
        pooled = self._pool(self._x, layer.hidden_in)
        pooled = self._exact_linear(pooled, "pool", tensors["pool_weight"], tensors["pool_bias"])
        pooled = self.graph.node("Tanh", pooled)
        return self._exact_linear(pooled, "map", tensors["weight"], tensors["bias"])

    def _head_spans(self, layer: Layer, tensors: Tensors) -> str:
        """Two scores a token, in fp32: (batch, 2, seq_len)."""
        x = self._exact_linear(self._x, "map", tensors["weight"], tensors["bias"])
        x = self.graph.node("Reshape", x, self._shape(len(tensors["bias"])))
        return self.graph.node("Transpose", x, perm=[0, 2, 1])

    def _head_tokens(self, layer: Layer, tensors: Tensors) -> str:
        """Scores of every token by the teacher's own linear layers, in fp32."""
        x = self._x
        if "weight" in tensors:
            x = self._linear(x, "map", tensors["weight"], tensors["bias"])
        x = self._dense(self._finished(x, tensors), layer, tensors)
        return self.graph.node("Reshape", x, self._shape(vector_size(layer.head, layer.hidden_out)))

    def split_answers(self) -> None:
        """Give the scores of every token, (batch, seq_len, 2), as `ANSWER_OUTPUTS`."""
        for place, name in enumerate(ANSWER_OUTPUTS):
            self.graph.node("Gather", self._x, self.graph.constant(np.int64(place)), axis=2)
            self.graph.rename_last(name)

    def _head_hidden(self, layer: Layer, tensors: Tensors) -> str:
        x = self._x
        if "weight" in tensors:
            x = self._linear(x, "map", tensors["weight"], tensors["bias"])
        x = self._finished(x, tensors)
        return self.graph.node("Reshape", x, self._shape(layer.hidden_out))
