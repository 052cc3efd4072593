"""Which patterns of nodes run fastest? The emitter's choices beside their alternatives.

Each comparison changes one thing and runs all candidates in turn, round after round, in one
process; figures are ratios to the emitter's choice within a round (above 1: the choice is faster).
The row `emitter` is a file of nasc's own emitter, where there is one for the same network: it shows
that the choice rebuilt here is the one that ships.

    OMP_NUM_THREADS=1 python benchmarks/export/emitter_patterns.py > emitter_patterns.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from nasc.architecture.space import MINILM_L6, SEPCONV_PAIRS, Architecture, Block, Geometry
from nasc.export.graph import GraphBuilder
from nasc.export.onnx import emit
from nasc.export.quantization import quantize_matrix
from nasc.networks.network import random_network
from nasc.utils.masking import MASKED
from profilers import RuntimeOptions
from profilers.runtimes.onnxruntime import OnnxRuntimeSession

HEAD_SIZE = MINILM_L6.head_size
VOCABULARY = 1024
STATIC_RANGE = 8.0
"""Activations of the static int8 graph lie in [-4, 4]; speed does not depend on it."""

Array = NDArray[np.float32]


class Patterns:
    """Builds an encoder in one of the patterns; activations end as one vector per sentence.

    Attributes:
        linear: ``gemm`` on (tokens, hidden) or ``matmul`` and Add on (batch, seq_len, hidden).
        merged: Query, key and value are one product and a Split.
        int8: Nothing, ``dynamic`` or ``static``.
        convolution: ``2d-3`` (two-dimensional, its transpositions on three axes), ``2d`` (on
            four), ``1d`` or ``shifted``.
    """

    def __init__(
        self,
        hidden: int,
        *,
        linear: str = "gemm",
        merged: bool = False,
        int8: str = "",
        convolution: str = "2d-3",
    ) -> None:
        self.hidden, self.linear, self.merged = hidden, linear, merged
        self.int8, self.convolution = int8, convolution
        self.g = GraphBuilder()
        self.rng = np.random.default_rng(0)
        self._count = 0
        self._quantized: dict[str, list[str]] = {}
        g = self.g
        self._size = g.node("Shape", "input_ids")
        mask = g.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        self._row = g.node("Unsqueeze", mask, g.ints(1))
        column = g.node("Transpose", self._row, perm=[0, 2, 1])
        self._column = column
        padding = g.node("Sub", g.constant(np.float32(1)), self._row)
        scores = g.node("Mul", padding, g.constant(np.float32(MASKED)))
        self._score_bias = g.node("Unsqueeze", scores, g.ints(1))

    def random(self, *shape: int) -> Array:
        return (self.rng.standard_normal(shape) * 0.02).astype(np.float32)

    def weight(self, value: NDArray[Any]) -> str:
        self._count += 1
        return self.g.weight(f"weight_{self._count}", value)

    def shape(self, *trailing: int) -> str:
        return self.g.node("Concat", self._size, self.g.ints(*trailing), axis=0)

    def flat(self, x: str, hidden: int) -> str:
        """To the shape in which products are taken."""
        if self.linear == "matmul":
            return self.g.node("Reshape", x, self.shape(hidden))
        return self.g.node("Reshape", x, self.g.ints(-1, hidden))

    def product(self, x: str, inputs: int, outputs: int) -> str:
        g, weight, bias = self.g, self.random(outputs, inputs), self.weight(self.random(outputs))
        if not self.int8:
            if self.linear == "gemm":
                return g.node("Gemm", x, self.weight(weight), bias, transB=1)
            return g.node("Add", g.node("MatMul", x, self.weight(weight.T)), bias)
        quantized, scales = quantize_matrix(weight)
        if self.int8 == "dynamic":
            if x not in self._quantized:
                self._quantized[x] = g.nodes("DynamicQuantizeLinear", x, outputs=3)
            xq, x_scale, x_zero = self._quantized[x]
            found = g.node(
                "MatMulInteger", xq, self.weight(quantized.T), x_zero, g.constant(np.int8(0))
            )
            scale = g.node("Mul", x_scale, self.weight(scales))
            found = g.node("Mul", g.node("Cast", found, to=TensorProto.FLOAT), scale)
            return g.node("Add", found, bias)
        scale, zero = g.constant(np.float32(STATIC_RANGE / 255)), g.constant(np.uint8(128))
        if x not in self._quantized:
            xq = g.node("QuantizeLinear", x, scale, zero)
            self._quantized[x] = [g.node("DequantizeLinear", xq, scale, zero)]
        zeros = self.weight(np.zeros(outputs, np.int8))
        wide = g.node(
            "DequantizeLinear", self.weight(quantized.T), self.weight(scales), zeros, axis=1
        )
        return g.node("Add", g.node("MatMul", self._quantized[x][0], wide), bias)

    def normalized(self, x: str) -> str:
        ones, zeros = np.ones(self.hidden, np.float32), np.zeros(self.hidden, np.float32)
        return self.g.node(
            "LayerNormalization", x, self.weight(ones), self.weight(zeros), axis=-1, epsilon=1e-12
        )

    def embedding(self) -> str:
        g, hidden = self.g, self.hidden
        word = g.node("Gather", self.weight(self.random(VOCABULARY, hidden)), "input_ids")
        shape = g.node("Shape", word, start=1)
        table = self.weight(self.random(MINILM_L6.max_positions, hidden))
        position = g.node("Slice", table, g.ints(0, 0), shape, g.ints(0, 1))
        position = g.node("Reshape", position, shape)
        return self.normalized(self.flat(g.node("Add", word, position), hidden))

    def attention(self, x: str) -> str:
        g, hidden = self.g, self.hidden
        if self.merged:
            whole = self.product(x, hidden, 3 * hidden)
            flats = g.nodes("Split", whole, outputs=3, axis=-1, num_outputs=3)
        else:
            flats = [self.product(x, hidden, hidden) for _ in "qkv"]
        split = self.shape(hidden // HEAD_SIZE, HEAD_SIZE)
        q, k, v = (
            g.node("Transpose", g.node("Reshape", flat, split), perm=order)
            for flat, order in zip(flats, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
        )
        scores = g.node("Add", g.node("MatMul", q, k), self._score_bias)
        mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
        mixed = self.flat(g.node("Transpose", mixed, perm=[0, 2, 1, 3]), hidden)
        return self.normalized(g.node("Add", self.product(mixed, hidden, hidden), x))

    def feed_forward(self, x: str) -> str:
        inner = self.g.node("Gelu", self.product(x, self.hidden, 4 * self.hidden))
        return self.normalized(
            self.g.node("Add", self.product(inner, 4 * self.hidden, self.hidden), x)
        )

    def separable(self, x: str, kernel: int) -> str:
        y = x
        for _ in range(SEPCONV_PAIRS):
            y = self.flat(self.depthwise(self.g.node("Relu", y), kernel), self.hidden)
            y = self.product(y, self.hidden, self.hidden)
        return self.normalized(self.g.node("Add", y, x))

    def depthwise(self, y: str, kernel: int) -> str:
        g, hidden, half = self.g, self.hidden, kernel // 2
        if self.convolution == "2d":
            wide = g.node("Unsqueeze", self._column, g.ints(3))
            y = g.node("Mul", g.node("Reshape", y, self.shape(1, hidden)), wide)
            weight, bias = self.weight(self.random(hidden, 1, 1, kernel)), self.random(hidden)
            y = g.node(
                "Conv",
                g.node("Transpose", y, perm=[0, 3, 2, 1]),
                weight,
                self.weight(bias),
                group=hidden,
                kernel_shape=[1, kernel],
                pads=[0, half, 0, half],
            )
            return g.node("Transpose", y, perm=[0, 3, 2, 1])
        y = g.node("Mul", g.node("Reshape", y, self.shape(hidden)), self._column)
        if self.convolution == "2d-3":
            weight, bias = self.weight(self.random(hidden, 1, 1, kernel)), self.random(hidden)
            y = g.node(
                "Conv",
                g.node("Unsqueeze", g.node("Transpose", y, perm=[0, 2, 1]), g.ints(2)),
                weight,
                self.weight(bias),
                group=hidden,
                kernel_shape=[1, kernel],
                pads=[0, half, 0, half],
            )
            return g.node("Transpose", g.node("Squeeze", y, g.ints(2)), perm=[0, 2, 1])
        if self.convolution == "1d":
            weight, bias = self.weight(self.random(hidden, 1, kernel)), self.random(hidden)
            y = g.node(
                "Conv",
                g.node("Transpose", y, perm=[0, 2, 1]),
                weight,
                self.weight(bias),
                group=hidden,
                kernel_shape=[kernel],
                pads=[half, half],
            )
            return g.node("Transpose", y, perm=[0, 2, 1])
        y = g.node("Pad", y, g.ints(0, half, 0, 0, half, 0))
        total = self.weight(self.random(hidden))
        for shift in range(kernel):
            end = shift - kernel + 1 or np.iinfo(np.int64).max
            part = g.node("Slice", y, g.ints(shift), g.ints(end), g.ints(1))
            total = g.node("Add", g.node("Mul", part, self.weight(self.random(hidden))), total)
        return total

    def finish(self, x: str) -> bytes:
        g = self.g
        x = g.node("Reshape", x, self.shape(self.hidden))
        total = g.node("Squeeze", g.node("MatMul", self._row, x), g.ints(1))
        count = g.node("ReduceSum", self._row, g.ints(2), keepdims=0)
        pooled = g.node("Div", total, g.node("Max", count, g.constant(np.float32(1))))
        squares = g.node("ReduceSum", g.node("Mul", pooled, pooled), g.ints(1), keepdims=1)
        g.node("Div", pooled, g.node("Sqrt", squares))
        g.rename_last("vectors")
        inputs = {name: ["batch", "seq_len"] for name in ("input_ids", "attention_mask")}
        model = g.model(inputs, {"vectors": ["batch", self.hidden]}, {})
        found: bytes = model.SerializeToString()
        return found


def transformer(layers: int, **patterns: Any) -> bytes:
    """Layers of attention and feed-forward at the teacher's hidden size."""
    build = Patterns(MINILM_L6.hidden, **patterns)
    x = build.embedding()
    for _ in range(layers):
        x = build.feed_forward(build.attention(x))
    return build.finish(x)


def convolutional(layers: int, hidden: int, kernel: int, **patterns: Any) -> bytes:
    """Layers of separable convolutions."""
    build = Patterns(hidden, **patterns)
    x = build.embedding()
    for _ in range(layers):
        x = build.separable(x, kernel)
    return build.finish(x)


def emitted(architecture: Architecture, geometry: Geometry = MINILM_L6) -> bytes:
    """The file of nasc's emitter for a network with random weights."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        emit(random_network(architecture, geometry, vocab_rows=VOCABULARY), path)
        return path.read_bytes()


Comparison = dict[str, Callable[[], bytes]]


def comparisons(layers: int) -> dict[str, Comparison]:
    """The emitter's choice first in each."""
    whole = (Block(MINILM_L6.hidden, ("mha", "ffn") * layers),)
    found: dict[str, Comparison] = {
        "product and bias, fp32": {
            "Gemm on 2 axes": lambda: transformer(layers),
            "MatMul and Add on 3 axes": lambda: transformer(layers, linear="matmul"),
            "emitter": lambda: emitted(Architecture(whole)),
        },
        "query, key, value, fp32": {
            "three products": lambda: transformer(layers),
            "merged product and Split": lambda: transformer(layers, merged=True),
        },
        "query, key, value, int8": {
            "three products": lambda: transformer(layers, int8="dynamic"),
            "merged product and Split": lambda: transformer(layers, int8="dynamic", merged=True),
        },
        "int8": {
            "dynamic": lambda: transformer(layers, int8="dynamic"),
            "static QDQ on 2 axes": lambda: transformer(layers, int8="static"),
            "static QDQ on 3 axes": lambda: transformer(layers, int8="static", linear="matmul"),
            "dynamic on 3 axes": lambda: transformer(layers, int8="dynamic", linear="matmul"),
            "emitter": lambda: emitted(Architecture(whole, "int8")),
        },
    }
    for hidden in (128, 384):
        for kernel in (3, 7):
            for precision in ("fp32", "int8"):

                def emitting(h: int, k: int, p: str) -> Callable[[], bytes]:
                    geometry = dataclasses.replace(MINILM_L6, hidden=h, intermediate=4 * h)
                    block = Block(h, (f"sep{k}",) * layers)
                    return lambda: emitted(Architecture((block,), p), geometry)

                def built(
                    way: str, h: int = hidden, k: int = kernel, p: str = precision
                ) -> Callable[[], bytes]:
                    int8 = "dynamic" if p == "int8" else ""
                    return lambda: convolutional(layers, h, k, convolution=way, int8=int8)

                found[f"depthwise convolution, hidden {hidden}, kernel {kernel}, {precision}"] = {
                    "2-dimensional, transposed on 3 axes": built("2d-3"),
                    "2-dimensional, transposed on 4 axes": built("2d"),
                    "on 3 axes": built("1d"),
                    "shifted sums": built("shifted"),
                    "emitter": emitting(hidden, kernel, precision),
                }
    return found


def race(comparison: Comparison, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All candidates in turn, round after round."""
    rng = np.random.default_rng(arguments.seed)
    feeds = {
        "input_ids": rng.integers(0, VOCABULARY, (1, arguments.seq_len)),
        "attention_mask": np.ones((1, arguments.seq_len), np.int64),
    }
    with TemporaryDirectory() as folder:
        sessions = {}
        for index, (name, build) in enumerate(comparison.items()):
            path = Path(folder) / f"{index}.onnx"
            path.write_bytes(build())
            sessions[name] = OnnxRuntimeSession(path, RuntimeOptions())
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(arguments.rounds):
        for place in rng.permutation(len(sessions)):
            name, session = list(sessions.items())[place]
            session.run(feeds)
            lowest = np.inf
            for _ in range(3):
                begin = time.perf_counter()
                session.run(feeds)
                lowest = min(lowest, time.perf_counter() - begin)
            times[name].append(1e3 * lowest)
    choice = np.array(next(iter(times.values())))
    found = {}
    for name, taken in times.items():
        low, middle, high = np.quantile(np.array(taken) / choice, [0.25, 0.5, 0.75])
        found[name] = {
            "least_ms": float(np.min(taken)),
            "ratio": float(middle),
            "ratio_q25": float(low),
            "ratio_q75": float(high),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--layers", type=int, default=6, help="of the networks compared")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--only", default="", help="comparisons whose names hold this text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results = {}
    for name, comparison in comparisons(arguments.layers).items():
        if arguments.only in name:
            results[name] = race(comparison, arguments)
            ratios = ", ".join(f"{n} {r['ratio']:.3f}" for n, r in results[name].items())
            print(f"{name}: {ratios}", file=sys.stderr)
    print(
        json.dumps(
            {
                "benchmark": "emitter_patterns",
                "onnxruntime": onnxruntime.__version__,
                "conditions": f"batch 1, length {arguments.seq_len}, 1 thread",
                "rounds": arguments.rounds,
                "comparisons": results,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
