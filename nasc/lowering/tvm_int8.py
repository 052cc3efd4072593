"""Networks in int8 as TVM's modules, of kernels written by hand: nothing is searched for.

Matrices in int8, one scale for each output; what they multiply in bytes, one scale a token found
in every run. Attention's own products are in bfloat16 where the processor has them, in fp32
elsewhere; convolutions, normalisation and the parts of a head that follow the pooling in fp32.
For processors with AVX512-VNNI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from nasc.architecture.heads import (
    MEAN,
    SPANS,
    gives_states,
    gives_vector,
    head_outputs,
    pooling_of,
)
from nasc.architecture.layers import Layer
from nasc.architecture.space import SEPCONV_PAIRS, kernel_size
from nasc.errors import ExportError
from nasc.export.quantization import quantize_rows
from nasc.lowering import tvm_int8_kernels as kernels
from nasc.lowering.tvm_int8_kernels import Heads, Kernel, Shape
from nasc.lowering.tvm_int8_weights import BLOCK, pack_matrix
from nasc.lowering.tvm_vectors import GELU_SHIFT
from nasc.networks.network import Array, Network, Tensors

Value = Any
"""A tensor of the module that is being built."""


def int8_module(
    network: Network, batch: int, seq_len: int, *, bf16: bool = False, name: str = "main"
) -> tvm.ir.IRModule:
    """The module of a network at one shape.

    Its function takes ``input_ids`` and ``attention_mask``, int64 (batch, seq_len), and gives what
    `nasc.export.onnx.build` says, as a tuple.

    Args:
        network: With its weights; its own precision is not asked.
        batch: Texts of every run.
        seq_len: Tokens of each.
        bf16: Whether the processor multiplies in bfloat16 (AVX512-BF16).
        name: Of the function.

    Raises:
        ExportError: If a hidden size or the head size is no multiple of 32, or the network has
            fewer positions than a text has tokens.
    """
    _check(network, batch, seq_len)
    return _Module(network, Shape(batch, seq_len), bf16).build(name)


def _check(network: Network, batch: int, seq_len: int) -> None:
    if batch < 1 or not 1 <= seq_len <= network.geometry.max_positions:
        raise ExportError(
            f"a module of {batch} x {seq_len} tokens cannot be written: a batch holds 1 text at "
            f"least, a text 1 to {network.geometry.max_positions} tokens"
        )
    if gives_vector(network.head) and pooling_of(network.head) != MEAN:
        raise ExportError(
            f"the head {network.head!r} cannot be made in int8 for tvm, which has the mean over "
            "tokens, scaled, alone. Take another runtime: --runtime onnxruntime"
        )
    sizes = {size for layer in network.layers for size in (layer.hidden_in, layer.hidden_out)}
    if any(layer.kind == "mha" for layer in network.layers):
        sizes.add(network.geometry.head_size)
    wrong = sorted(size for size in sizes if size % BLOCK)
    if wrong:
        raise ExportError(
            f"{network.architecture} cannot be made in int8 for tvm: sizes must be multiples of "
            f"{BLOCK}, {wrong[0]} is not. Take another runtime: --runtime onnxruntime"
        )


class _Activations:
    """The present tokens: in fp32, and as bytes with their scales."""

    def __init__(self, exact: Value, values: Value, scales: Value) -> None:
        self.exact = exact
        self.bytes = [values, scales]


class _Module:
    def __init__(self, network: Network, shape: Shape, bf16: bool) -> None:
        self._network = network
        self._shape = shape
        self._bf16 = bf16
        self._builder = relax.BlockBuilder()
        self._functions: dict[str, tuple[Any, Kernel]] = {}
        self._mask: Value = None
        self._score_bias: Value = None

    def build(self, name: str) -> tvm.ir.IRModule:
        shape = (self._shape.batch, self._shape.seq_len)
        ids, mask = (
            relax.Var(input_name, relax.TensorType(shape, "int64"))
            for input_name in ("input_ids", "attention_mask")
        )
        with self._builder.function(name, [ids, mask]):
            # Not as dataflow: TVM's passes over it look into kernels, and expect schedules there.
            flat = self._reshape(ids, self._shape.tokens)
            self._mask = self._reshape(mask, self._shape.tokens)
            self._builder.emit_func_output(relax.Tuple(self._layers(flat)))
        return self._builder.finalize()

    def _layers(self, ids: Value) -> list[Value]:
        layers, tensors = self._network.layers, self._network.tensors
        x = self._embedding(layers[0], tensors[0], ids)
        for layer, own in zip(layers[1:-1], tensors[1:-1], strict=True):
            kinds: Mapping[str, Callable[[Layer, Tensors, _Activations], _Activations]] = {
                "border": self._border,
                "mha": self._mha,
                "ffn": self._ffn,
            }
            x = kinds.get(layer.kind, self._sepconv)(layer, own, x)
        return self._head(layers[-1], tensors[-1], x)

    # Parts that several layers use

    def _reshape(self, x: Value, *shape: int) -> Value:
        return self._builder.emit(relax.op.memory.view(x, shape))

    def _call(self, name: str, make: Callable[[], Kernel], inputs: Sequence[Value]) -> list[Value]:
        """Outputs of a kernel; kernels of one name are one function."""
        if name not in self._functions:
            kernel = make()
            added = self._builder.add_func(kernel.function, name)
            self._functions[name] = (added, kernel)
        function, kernel = self._functions[name]
        infos = [relax.TensorType((size,), dtype) for size, dtype in kernel.outputs]
        arguments = [_constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        whole = infos if len(infos) > 1 else infos[0]
        found = self._builder.emit(relax.call_tir(function, arguments, whole))
        if len(infos) == 1:
            return [found]
        return [self._builder.emit(relax.TupleGetItem(found, i)) for i in range(len(infos))]

    def _norm(self, tensors: Tensors) -> list[Array]:
        return [tensors["ln_weight"], tensors["ln_bias"]]

    def _residual(
        self,
        x: Sequence[Value],
        weight: Array,
        bias: Array,
        tensors: Tensors,
        before: Value,
        shift: float | None = None,
    ) -> _Activations:
        outputs, inputs = weight.shape
        eps = self._network.layer_norm_eps
        arguments = [*x, before, *_matrix(weight, bias, shift), *self._norm(tensors)]
        return _Activations(
            *self._call(
                f"residual_{inputs}_{outputs}",
                lambda: kernels.residual(self._shape, inputs, outputs, eps),
                arguments,
            )
        )

    def _linear(self, x: Sequence[Value], weight: Array, bias: Array) -> _Activations:
        outputs, inputs = weight.shape
        return _Activations(
            *self._call(
                f"linear_{inputs}_{outputs}",
                lambda: kernels.linear(self._shape, inputs, outputs),
                [*x, *_matrix(weight, bias)],
            )
        )

    def _exact_linear(
        self,
        x: Value,
        rows: int,
        weight: Array,
        bias: Array,
        tanh: bool = False,
        across: int = 1,
    ) -> Value:
        outputs, inputs = weight.shape
        return self._call(
            f"exact_linear_{rows}_{inputs}_{outputs}{'_tanh' if tanh else ''}",
            lambda: kernels.exact_linear(rows, inputs, outputs, tanh, across),
            [x, weight, bias],
        )[0]

    # Layers

    def _embedding(self, layer: Layer, tensors: Tensors, ids: Value) -> _Activations:
        hidden, word, position = layer.hidden_out, tensors["word"], tensors["position"]
        values, scales = quantize_rows(word)
        eps = self._network.layer_norm_eps
        return _Activations(
            *self._call(
                "embedding",
                lambda: kernels.embedding(self._shape, hidden, len(word), len(position), eps),
                [ids, values, scales, position, *self._norm(tensors)],
            )
        )

    def _border(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        return self._linear(x.bytes, tensors["weight"], tensors["bias"])

    def _mha(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        hidden, size = layer.hidden_in, self._network.geometry.head_size
        heads, eps = Heads(hidden, size, self._bf16), self._network.layer_norm_eps
        if self._score_bias is None:
            make = lambda: kernels.score_bias(self._shape)  # noqa: E731
            self._score_bias = self._call("score_bias", make, [self._mask])[0]
        matrices: list[Array] = []
        for name in "qkv":
            factor = np.float32(size**-0.5 if name == "q" else 1)
            weight, bias = tensors[f"{name}_weight"] * factor, tensors[f"{name}_bias"] * factor
            matrices += _matrix(weight, bias)
        parts = self._call(
            f"queries_keys_values_{hidden}",
            lambda: kernels.queries_keys_values(self._shape, heads),
            [*x.bytes, *matrices],
        )
        out = _matrix(tensors["o_weight"], tensors["o_bias"])
        return _Activations(
            *self._call(
                f"attention_{hidden}",
                lambda: kernels.attention(self._shape, heads, eps),
                [*parts, self._score_bias, x.exact, *out, *self._norm(tensors)],
            )
        )

    def _ffn(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        outputs, inputs = tensors["in_weight"].shape
        inner = self._call(
            f"gelu_{inputs}_{outputs}",
            lambda: kernels.gelu(self._shape, inputs, outputs),
            [*x.bytes, *_matrix(tensors["in_weight"], tensors["in_bias"])],
        )
        weight, bias = tensors["out_weight"], tensors["out_bias"]
        return self._residual(inner, weight, bias, tensors, x.exact, GELU_SHIFT)

    def _sepconv(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        hidden, kernel = layer.hidden_in, kernel_size(layer.kind)
        y = x.exact
        for pair in range(1, SEPCONV_PAIRS + 1):
            weight = np.ascontiguousarray(tensors[f"dw{pair}_weight"].T)
            found = self._call(
                f"convolution_{hidden}_{kernel}",
                lambda: kernels.convolution(self._shape, hidden, kernel),
                [y, self._mask, weight, tensors[f"dw{pair}_bias"]],
            )
            weight, bias = tensors[f"pw{pair}_weight"], tensors[f"pw{pair}_bias"]
            if pair < SEPCONV_PAIRS:
                y = self._linear(found, weight, bias).exact
        return self._residual(found, weight, bias, tensors, x.exact)

    def _head(self, layer: Layer, tensors: Tensors, x: _Activations) -> list[Value]:
        batch, seq_len, tokens = self._shape.batch, self._shape.seq_len, self._shape.tokens
        hidden, size = layer.hidden_in, layer.hidden_out
        if gives_states(layer.head):
            y = self._linear(x.bytes, tensors["weight"], tensors["bias"]) if tensors else x
            return [self._reshape(y.exact, batch, seq_len, size)]
        if layer.head == SPANS:
            weight, bias = tensors["weight"], tensors["bias"]
            y = self._exact_linear(x.exact, tokens, weight, bias, across=seq_len)
            return [self._reshape(y, batch, head_outputs(SPANS), seq_len)]
        pooled = self._call(
            "mean", lambda: kernels.mean(self._shape, hidden), [x.exact, self._mask]
        )[0]
        if layer.head == "embed":
            if tensors:
                pooled = self._exact_linear(pooled, batch, tensors["weight"], tensors["bias"])
            make = lambda: kernels.unit_length(batch, size)  # noqa: E731
            vector = self._call("unit_length", make, [pooled])[0]
            return [self._reshape(vector, batch, size), self._reshape(vector, batch, 1, size)]
        weight, bias = tensors["pool_weight"], tensors["pool_bias"]
        pooled = self._exact_linear(pooled, batch, weight, bias, tanh=True)
        found = self._exact_linear(pooled, batch, tensors["weight"], tensors["bias"])
        return [self._reshape(found, batch, len(tensors["bias"]))]


def _matrix(weight: Array, bias: Array, shift: float | None = None) -> list[Any]:
    packed = pack_matrix(weight, bias, shift)
    return [packed.packed, packed.start, packed.scales, packed.bias]


def _constant(value: np.ndarray[Any, Any]) -> Value:
    return relax.const(np.ascontiguousarray(value).reshape(-1), str(value.dtype))
