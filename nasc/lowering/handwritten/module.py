"""Networks in int8 or bf16 as TVM's modules, of kernels written by hand: nothing is searched for.

int8: matrices with one scale for each output; what they multiply in bytes, one scale a token found
in every run. bf16: both in bfloat16. Attention's own products are in bfloat16 where the processor
has them, in fp32 elsewhere; convolutions, normalisation and the parts of a head that follow the
pooling in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from nasc.architecture.heads import (
    SPANS,
    gives_states,
    gives_vector,
    head_outputs,
    pooling_of,
)
from nasc.architecture.layers import Layer
from nasc.architecture.space import SEPCONV_PAIRS, kernel_size
from nasc.errors import ExportError
from nasc.lowering.handwritten import kernels
from nasc.lowering.handwritten.kernels import Heads, Kernel, Shape
from nasc.lowering.handwritten.number_formats import FORMATS, Format
from nasc.lowering.handwritten.products import PRODUCTS, Products
from nasc.lowering.limits import why_unsupported_sizes
from nasc.networks.network import Array, Network, Tensors

Value = Any
"""A tensor of the module that is being built."""

KERNEL = "nasc.kernel"
"""Attribute of a kernel's function, of what it does: see `kernels_of`."""


def handwritten_module(
    network: Network, functions: Mapping[str, tuple[int, int]], kind: str
) -> tvm.ir.IRModule:
    """The module of a network at some shapes, which share weights.

    Its functions take ``input_ids`` and ``attention_mask``, int64 (batch, seq_len), and give what
    `nasc.export.onnx.build` says, as a tuple.

    Args:
        network: With its weights, in a precision of `formats.FORMATS`.
        functions: By name of a function its texts and the tokens of each.
        kind: Of the processor, see `nasc.lowering.handwritten.products.PRODUCTS`.

    Raises:
        ExportError: If a hidden size or the head size is no multiple of 32, or the network has
            fewer positions than a text has tokens.
    """
    products, form = PRODUCTS[kind], FORMATS[network.architecture.precision]
    builder, constants = relax.BlockBuilder(), _Constants(products, form)
    for name, (batch, seq_len) in functions.items():
        _check(network, batch, seq_len)
        shape = Shape(batch, seq_len, products, form)
        _Function(network, shape, builder, constants).build(name)
    return builder.finalize()


def _check(network: Network, batch: int, seq_len: int) -> None:
    if batch < 1 or not 1 <= seq_len <= network.geometry.max_positions:
        raise ExportError(
            f"a module of {batch} x {seq_len} tokens cannot be written: a batch holds 1 text at "
            f"least, a text 1 to {network.geometry.max_positions} tokens"
        )
    sizes = {size for layer in network.layers for size in (layer.hidden_in, layer.hidden_out)}
    if any(layer.kind == "mha" for layer in network.layers):
        sizes.add(network.geometry.head_size)
    sizes |= {network.geometry.inner(o.hidden_in) for o in network.layers if o.kind == "ffn"}
    why = why_unsupported_sizes(
        "tvm",
        network.architecture.precision,
        network.geometry,
        network.head,
        sizes,
        str(network.architecture),
    )
    if why is not None:
        raise ExportError(f"{why}. Take another runtime: --runtime onnxruntime")


def kernels_of(module: tvm.ir.IRModule) -> dict[str, dict[str, str | int]]:
    """What the kernels of a module do, by their names.

    Args:
        module: Of `handwritten_module`.

    Returns:
        Of each its "operator", how many "outputs" it has, the "operations" of its products and the
        number format that these are "computed_in".
    """
    found: dict[str, dict[str, str | int]] = {}
    for variable, function in module.functions.items():
        if function.attrs is not None and KERNEL in function.attrs:
            about = function.attrs[KERNEL]
            found[str(variable.name_hint)] = {
                "operator": str(about["operator"]),
                "outputs": int(about["outputs"]),
                "operations": int(about["operations"]),
                "computed_in": str(about["computed_in"]),
            }
    return dict(sorted(found.items()))


class _Activations:
    """The present tokens: in fp32, and as products take them."""

    def __init__(self, exact: Value, *reduced: Value) -> None:
        self.exact = exact
        self.reduced = reduced


class _Constants:
    """Weights as kernels read them, made once for all functions."""

    def __init__(self, products: Products, form: Format) -> None:
        self._products = products
        self._form = form
        self._made: dict[tuple[int, str], tuple[Array, list[Value]]] = {}

    def _once(self, source: Array, form: str, make: Callable[[], Sequence[Any]]) -> list[Value]:
        key = (id(source), form)
        if key not in self._made:
            flat = [np.ascontiguousarray(x).reshape(-1) for x in make()]
            found = [relax.const(x, str(x.dtype)) for x in flat]
            self._made[key] = (source, found)  # held: another array might get its id
        return self._made[key][1]

    def array(self, x: Array) -> list[Value]:
        """As it is."""
        return self._once(x, "array", lambda: [x])

    def transposed(self, x: Array) -> list[Value]:
        """With its axes exchanged."""
        return self._once(x, "transposed", lambda: [x.T])

    def words(self, x: Array) -> list[Value]:
        """A word embedding, see `Format.words`."""
        return self._once(x, "words", lambda: self._form.pack_words(x))

    def matrix(
        self, weight: Array, bias: Array, shift: float | None = None, factor: float = 1.0
    ) -> list[Value]:
        """A matrix, see `Format.matrix`, times a factor.

        Args:
            weight: (outputs, inputs).
            bias: (outputs,).
            shift: What its inputs are too large by, see `Format.gelu_shift`.
            factor: Of matrix and bias.
        """

        def make() -> list[Any]:
            by = np.float32(factor)
            return self._form.pack(weight * by, bias * by, self._products, shift)

        return self._once(weight, "matrix", make)


class _Function:
    def __init__(
        self, network: Network, shape: Shape, builder: relax.BlockBuilder, constants: _Constants
    ) -> None:
        self._network = network
        self._shape = shape
        self._builder = builder
        self._constants = constants
        self._functions: dict[str, tuple[Any, Kernel]] = {}
        self._mask: Value = None
        self._score_bias: Value = None

    def build(self, name: str) -> None:
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

    def _call(
        self,
        name: str,
        make: Callable[[], Kernel],
        inputs: Sequence[Value],
        does: str,
        multiplied: int = 0,
        computed_in: str | None = None,
    ) -> list[Value]:
        """Outputs of a kernel; kernels of one name are one function at one shape.

        Args:
            name: Of the function, that of its shape aside.
            make: Makes it.
            inputs: Of the function.
            does: Its operators, as `profilers.kernels` knows them.
            multiplied: Values that its products multiply for each token.
            computed_in: Number format of the products; None is the network's.
        """
        if name not in self._functions:
            kernel = make()
            own = f"{name}_{self._shape.batch}x{self._shape.seq_len}"
            computed_in = computed_in or self._shape.form.precision
            about = {
                "operator": does,
                "outputs": len(kernel.outputs),
                "operations": 2 * self._shape.tokens * multiplied,
                "computed_in": computed_in if multiplied else "fp32",
            }
            added = self._builder.add_func(kernel.function.with_attr(KERNEL, about), own)
            self._functions[name] = (added, kernel)
        function, kernel = self._functions[name]
        infos = [relax.TensorType((size,), dtype) for size, dtype in kernel.outputs]
        whole = infos if len(infos) > 1 else infos[0]
        found = self._builder.emit(relax.call_tir(function, list(inputs), whole))
        if len(infos) == 1:
            return [found]
        return [self._builder.emit(relax.TupleGetItem(found, i)) for i in range(len(infos))]

    def _norm(self, tensors: Tensors) -> list[Value]:
        array = self._constants.array
        return [*array(tensors["ln_weight"]), *array(tensors["ln_bias"])]

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
        matrix = self._constants.matrix(weight, bias, shift)
        arguments = [*x, before, *matrix, *self._norm(tensors)]
        return _Activations(
            *self._call(
                f"residual_{inputs}_{outputs}",
                lambda: kernels.residual(self._shape, inputs, outputs, eps),
                arguments,
                "matmul+add+layer_norm",
                inputs * outputs,
            )
        )

    def _linear(self, x: Sequence[Value], weight: Array, bias: Array) -> _Activations:
        outputs, inputs = weight.shape
        return _Activations(
            *self._call(
                f"linear_{inputs}_{outputs}",
                lambda: kernels.linear(self._shape, inputs, outputs),
                [*x, *self._constants.matrix(weight, bias)],
                "matmul+add",
                inputs * outputs,
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
            [x, *self._constants.array(weight), *self._constants.array(bias)],
            "matmul+add",
            rows * inputs * outputs // self._shape.tokens,
            "fp32",
        )[0]

    # Layers

    def _embedding(self, layer: Layer, tensors: Tensors, ids: Value) -> _Activations:
        hidden, word, position = layer.hidden_out, tensors["word"], tensors["position"]
        eps = self._network.layer_norm_eps
        return _Activations(
            *self._call(
                "embedding",
                lambda: kernels.embedding(self._shape, hidden, len(word), len(position), eps),
                [
                    ids,
                    *self._constants.words(word),
                    *self._constants.array(position),
                    *self._norm(tensors),
                ],
                "gather+add+layer_norm",
            )
        )

    def _border(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        return self._linear(x.reduced, tensors["weight"], tensors["bias"])

    def _mha(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        hidden, size = layer.hidden_in, self._network.geometry.head_size
        heads, eps = Heads(hidden, size, self._shape.products.bf16), self._network.layer_norm_eps
        if self._score_bias is None:
            make = lambda: kernels.score_bias(self._shape)  # noqa: E731
            self._score_bias = self._call("score_bias", make, [self._mask], "multiply")[0]
        matrices: list[Value] = []
        for name in "qkv":
            factor = size**-0.5 if name == "q" else 1.0
            weight, bias = tensors[f"{name}_weight"], tensors[f"{name}_bias"]
            matrices += self._constants.matrix(weight, bias, factor=factor)
        parts = self._call(
            f"queries_keys_values_{hidden}",
            lambda: kernels.queries_keys_values(self._shape, heads),
            [*x.reduced, *matrices],
            "matmul+add",
            3 * hidden * hidden,
        )
        out = self._constants.matrix(tensors["o_weight"], tensors["o_bias"])
        return _Activations(
            *self._call(
                f"attention_{hidden}",
                lambda: kernels.attention(self._shape, heads, eps),
                [*parts, self._score_bias, x.exact, *out, *self._norm(tensors)],
                "attention+projection+add+layer_norm",
                (2 * self._shape.seq_len + hidden) * hidden,
            )
        )

    def _ffn(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        outputs, inputs = tensors["in_weight"].shape
        inner = self._call(
            f"gelu_{inputs}_{outputs}",
            lambda: kernels.gelu(self._shape, inputs, outputs),
            [*x.reduced, *self._constants.matrix(tensors["in_weight"], tensors["in_bias"])],
            "matmul+add+gelu",
            inputs * outputs,
        )
        weight, bias = tensors["out_weight"], tensors["out_bias"]
        return self._residual(inner, weight, bias, tensors, x.exact, self._shape.form.gelu_shift)

    def _sepconv(self, layer: Layer, tensors: Tensors, x: _Activations) -> _Activations:
        hidden, kernel = layer.hidden_in, kernel_size(layer.kind)
        y = x.exact
        for pair in range(1, SEPCONV_PAIRS + 1):
            weight, bias = tensors[f"dw{pair}_weight"], tensors[f"dw{pair}_bias"]
            depthwise = [*self._constants.transposed(weight), *self._constants.array(bias)]
            found = self._call(
                f"convolution_{hidden}_{kernel}",
                lambda: kernels.convolution(self._shape, hidden, kernel),
                [y, self._mask, *depthwise],
                "convolution",
                hidden * kernel,
                "fp32",
            )
            weight, bias = tensors[f"pw{pair}_weight"], tensors[f"pw{pair}_bias"]
            if pair < SEPCONV_PAIRS:
                y = self._linear(found, weight, bias).exact
        return self._residual(found, weight, bias, tensors, x.exact)

    def _head(self, layer: Layer, tensors: Tensors, x: _Activations) -> list[Value]:
        batch, seq_len, tokens = self._shape.batch, self._shape.seq_len, self._shape.tokens
        hidden, size = layer.hidden_in, layer.hidden_out
        if gives_states(layer.head):
            y = self._linear(x.reduced, tensors["weight"], tensors["bias"]) if tensors else x
            return [self._reshape(y.exact, batch, seq_len, size)]
        if layer.head == SPANS:
            weight, bias = tensors["weight"], tensors["bias"]
            y = self._exact_linear(x.exact, tokens, weight, bias, across=seq_len)
            return [self._reshape(y, batch, head_outputs(SPANS), seq_len)]
        pooled = self._call(
            "mean", lambda: kernels.mean(self._shape, hidden), [x.exact, self._mask], "reduce_mean"
        )[0]
        if gives_vector(layer.head):
            if tensors:
                pooled = self._exact_linear(pooled, batch, tensors["weight"], tensors["bias"])
            vector = pooled
            if pooling_of(layer.head).scaled:
                make = lambda: kernels.unit_length(batch, size)  # noqa: E731
                vector = self._call("unit_length", make, [pooled], "reduce_l2+divide")[0]
            return [self._reshape(vector, batch, size), self._reshape(vector, batch, 1, size)]
        weight, bias = tensors["pool_weight"], tensors["pool_bias"]
        pooled = self._exact_linear(pooled, batch, weight, bias, tanh=True)
        found = self._exact_linear(pooled, batch, tensors["weight"], tensors["bias"])
        return [self._reshape(found, batch, len(tensors["bias"]))]
