"""Kernels of networks in TVM's IR, each a function of flat buffers.

Activations lie as (tokens, hidden): fp32, and beside them what products take, in a format of
`formats`, found when a token is computed (its neighbours never move it). A kernel computes some
tokens at a time over all outputs, so that what follows a product (bias, GELU, residual, layer
normalisation, the format) is done while the tokens are in the nearest cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as build

from nasc.lowering.handwritten import tiles
from nasc.lowering.handwritten import vectors as v
from nasc.lowering.handwritten.number_formats import (
    HALVES,
    Activations,
    Buffers,
    Format,
    Sizes,
    activations,
)
from nasc.lowering.handwritten.products import Products, add_bf16, to_bf16
from nasc.lowering.handwritten.tiles import Tiles
from nasc.lowering.handwritten.vectors import LANES, Expr
from nasc.lowering.handwritten.weights import BLOCK
from nasc.utils.masking import MASKED

_OUTSIDE = -1e9
"""Added to the scores of keys that a text does not have."""

_NEVER = -87.0
"""Lowest exponent of `vectors.exp`."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function and what it writes.

    Attributes:
        function: Its buffers are flat, those that it writes last.
        outputs: (elements, dtype) of each of those.
    """

    function: tvm.tirx.PrimFunc
    outputs: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is compiled for.

    Attributes:
        batch: Texts.
        seq_len: Tokens of each.
        products: Of the processor.
        form: What activations and matrices are in.
    """

    batch: int
    seq_len: int
    products: Products
    form: Format

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return self.batch * self.seq_len

    @property
    def padded(self) -> int:
        """Keys of a text in whole blocks."""
        return -(-self.seq_len // BLOCK) * BLOCK


def _kernel(
    inputs: Sizes,
    outputs: Sizes,
    body: Callable[[Buffers], None],
    products: Products | None = None,
    llvm: str = "",
) -> Kernel:
    """A function of buffers: with products, or with other code that it imports."""
    with IRBuilder() as builder, build.prim_func(private=True):
        buffers = {
            name: build.arg(name, build.buffer((size,), dtype))
            for name, (size, dtype) in (inputs | outputs).items()
        }
        build.func_attr({"tirx.noalias": True})
        with _imported(llvm if products is None else products.llvm):
            body(buffers)
            if products is not None and products.tiles:
                tiles.end()
    return Kernel(builder.get(), tuple(outputs.values()))


@contextlib.contextmanager
def _imported(llvm: str) -> Iterator[None]:
    if not llvm:
        yield
        return
    with build.attr(v.constant(0, "int32"), "pragma_import_llvm", tvm.ir.StringImm(llvm)):
        yield


def _in_rows(total: int, shape: Shape, body: Callable[[Expr, int], None]) -> None:
    """Call `body` with the first of some rows and their number, until all had their turn."""
    each = shape.products.rows
    if total // each:
        with build.serial(0, total // each) as tile:
            body(tile * each, each)
    if total % each:
        body(v.constant(total - total % each, "int32"), total % each)


def _normalize(
    form: Format, source: Expr, count: int, size: int, buffers: Buffers, eps: float, first: Expr
) -> None:
    """Layer normalisation of rows of `source` into ``out``, and that as activations."""
    out = activations(buffers, "out_", first, size)
    parts = range(size // LANES)
    with build.serial(0, count) as row:
        x = [v.load(source, row * size + i * LANES) for i in parts]
        mean = v.splat(v.across(v.folded(x, v.add), v.add) * v.constant(1 / size))
        mean = v.keep(mean)
        x = [v.keep(part - mean) for part in x]
        squares = v.across(v.folded([v.keep(part * part) for part in x], v.add), v.add)
        deviation = tirx.sqrt(squares * v.constant(1 / size) + v.constant(eps))
        factor = v.keep(v.splat(v.keep(v.constant(1.0) / deviation)))
        at = (first + row) * size
        for i, part in enumerate(x):
            scaled = v.keep(part * factor)
            weight = v.load(buffers["ln_weight"], i * LANES)
            y = v.keep(scaled * weight + v.load(buffers["ln_bias"], i * LANES))
            v.store(buffers["out"], at + i * LANES, y)
        form.write(buffers["out"], at, out, row)


def _normalized(form: Format, tokens: int, size: int) -> tuple[Sizes, Sizes]:
    """Tensors of a layer normalisation, and its outputs."""
    inputs: Sizes = {"ln_weight": (size, "float32"), "ln_bias": (size, "float32")}
    return inputs, {"out": (tokens * size, "float32")} | form.activations(tokens, size, "out_")


# Kernels


def embedding(shape: Shape, hidden: int, words: int, positions: int, eps: float) -> Kernel:
    """Words plus positions, normalised.

    Of ``ids`` (batch * seq_len, int64), the buffers of `Format.words`, ``position``.

    Args:
        shape: Batch, length and number format.
        hidden: Numbers of a row.
        words: Rows of the word embedding.
        positions: Rows of the positions.
        eps: Of layer normalisation.
    """
    form = shape.form
    inputs: Sizes = {"ids": (shape.tokens, "int64")} | form.words(words, hidden)
    inputs |= {"position": (positions * hidden, "float32")}
    norm, outputs = _normalized(form, shape.tokens, hidden)

    def body(b: Buffers) -> None:
        row = v.scratch(hidden)
        with build.serial(0, shape.tokens) as token:
            word = build.Bind(tirx.Cast("int32", v.load_one(b["ids"], token)))
            place = tirx.floormod(token, shape.seq_len) * hidden
            for i, part in enumerate(form.word(b, word, hidden)):
                v.store(row, i * LANES, part + v.load(b["position"], place + i * LANES))
            _normalize(form, row, 1, hidden, b, eps, token)

    return _kernel(inputs | norm, outputs, body, llvm=form.llvm)


def score_bias(shape: Shape) -> Kernel:
    """From ``mask`` (batch * seq_len, int64) what attention adds, (batch, padded)."""

    def body(b: Buffers) -> None:
        with build.serial(0, shape.batch) as text:
            with build.serial(0, shape.seq_len) as token:
                real = tirx.Cast("float32", v.load_one(b["mask"], text * shape.seq_len + token))
                value = (v.constant(1.0) - real) * v.constant(MASKED)
                v.store(b["out"], text * shape.padded + token, value, 1)
            with build.serial(shape.seq_len, shape.padded) as token:
                v.store(b["out"], text * shape.padded + token, v.constant(_OUTSIDE), 1)

    return _kernel(
        {"mask": (shape.tokens, "int64")}, {"out": (shape.batch * shape.padded, "float32")}, body
    )


def linear(shape: Shape, inputs: int, outputs: int) -> Kernel:
    """A product with its bias, in fp32 and as activations."""
    tokens, form = shape.tokens, shape.form

    def body(b: Buffers) -> None:
        def rows(first: Expr, count: int) -> None:
            def finish(row: Expr, column: Expr, found: list[Expr]) -> None:
                for half, value in enumerate(found):
                    at = (first + row) * outputs + column + half * LANES
                    v.store(b["out"], at, value)

            x = activations(b, "x_", first, inputs)
            form.product(shape.products, x, count, b, outputs, finish)
            out = activations(b, "out_", first, outputs)
            with build.serial(0, count) as row:
                form.write(b["out"], (first + row) * outputs, out, row)

        _in_rows(tokens, shape, rows)

    sizes = form.activations(tokens, inputs, "x_") | form.matrix(inputs, outputs)
    found: Sizes = {"out": (tokens * outputs, "float32")}
    found |= form.activations(tokens, outputs, "out_")
    return _kernel(sizes, found, body, shape.products)


def gelu(shape: Shape, inputs: int, outputs: int) -> Kernel:
    """The GELU of a product as activations, see `Format.gelu`."""
    tokens, form = shape.tokens, shape.form

    def body(b: Buffers) -> None:
        inner = v.scratch(shape.products.rows * outputs)

        def rows(first: Expr, count: int) -> None:
            x = activations(b, "x_", first, inputs)
            out = activations(b, "out_", first, outputs)
            form.gelu(shape.products, x, count, b, out, inner)

        _in_rows(tokens, shape, rows)

    sizes = form.activations(tokens, inputs, "x_") | form.matrix(inputs, outputs)
    return _kernel(sizes, form.activations(tokens, outputs, "out_"), body, shape.products)


def residual(shape: Shape, inputs: int, hidden: int, eps: float) -> Kernel:
    """Layer normalisation of a product plus ``residual`` (tokens, hidden).

    Args:
        shape: Batch, length and number format.
        inputs: Numbers of a row of the product's input.
        hidden: Of its output.
        eps: Of layer normalisation.
    """
    tokens, form = shape.tokens, shape.form
    norm, outputs = _normalized(form, tokens, hidden)

    def body(b: Buffers) -> None:
        total = v.scratch(shape.products.rows * hidden)

        def rows(first: Expr, count: int) -> None:
            x = activations(b, "x_", first, inputs)
            _residual(shape, x, count, hidden, b, total, eps, first)

        _in_rows(tokens, shape, rows)

    sizes = form.activations(tokens, inputs, "x_")
    sizes |= {"residual": (tokens * hidden, "float32")}
    inputs_of = sizes | form.matrix(inputs, hidden) | norm
    return _kernel(inputs_of, outputs, body, shape.products)


def _residual(
    shape: Shape,
    x: Activations,
    count: int,
    hidden: int,
    b: Buffers,
    total: Expr,
    eps: float,
    first: Expr,
) -> None:
    """Rows of a product plus those of ``residual`` from `first` on, normalised."""

    def finish(row: Expr, column: Expr, found: list[Expr]) -> None:
        for half, value in enumerate(found):
            place = column + half * LANES
            before = v.load(b["residual"], (first + row) * hidden + place)
            v.store(total, row * hidden + place, value + before)

    shape.form.product(shape.products, x, count, b, hidden, finish)
    _normalize(shape.form, total, count, hidden, b, eps, first)


@dataclass(frozen=True, slots=True)
class Heads:
    """How attention multiplies.

    Attributes:
        hidden: Hidden size.
        size: Of a head, a multiple of 32.
        bf16: Whether products are of pairs of bfloat16, in fp32 otherwise.
    """

    hidden: int
    size: int
    bf16: bool

    @property
    def dtype(self) -> str:
        """Of what a product takes: a pair of bfloat16 or a float."""
        return "int32" if self.bf16 else "float32"

    @property
    def each(self) -> int:
        """Numbers in one of those."""
        return 2 if self.bf16 else 1

    def words(self, values: list[Expr]) -> list[Expr]:
        """Vectors of neighbours as vectors of what a product takes, in the same order."""
        if not self.bf16:
            return values
        pairs = zip(values[::2], values[1::2], strict=True)
        return [to_bf16(a, b) for a, b in pairs]

    def between(self, rows: list[Expr]) -> Expr:
        """One vector of each of `each` rows, as a vector of what a product takes."""
        if not self.bf16:
            return rows[0]
        half = v.splat(0x8000, "int32")
        low, high = (tirx.reinterpret("int32x16", row) + half for row in rows)
        low = (low >> v.splat(16, "int32")) & v.splat(0xFFFF, "int32")
        return build.Bind(low | (high & v.splat(-0x10000, "int32")))

    def add_products(self, sums: Expr, a: Expr, b: Expr) -> Expr:
        """Sums plus the products of a and b."""
        if not self.bf16:
            return v.keep(sums + a * b)
        return add_bf16(sums, a, b)


def queries_keys_values(shape: Shape, heads: Heads) -> Kernel:
    """One product for all three (their rows in that order), as `attention` reads them.

    Queries as (tokens, hidden / each); keys as (batch, heads, padded / 16, size / each, 16);
    values as (batch, heads, padded / each, size), `each` neighbouring keys in one.
    """
    hidden, tokens, each, form = heads.hidden, shape.tokens, heads.each, shape.form
    wide = hidden // each

    def body(b: Buffers) -> None:
        keys = v.scratch(tokens * wide, heads.dtype)
        values = v.scratch(tokens * hidden)

        def rows(first: Expr, count: int) -> None:
            x = activations(b, "x_", first, hidden)
            for part, target in enumerate((b["queries"], keys, values)):

                def finish(
                    row: Expr, column: Expr, found: list[Expr], part: int = part, to: Expr = target
                ) -> None:
                    if part == 2:
                        words, at = found, (first + row) * hidden + column
                    else:
                        at = (first + row) * wide + tirx.floordiv(column, each)
                        words = heads.words(found)
                    for i, word in enumerate(words):
                        v.store(to, at + i * LANES, word)

                form.product(shape.products, x, count, _third(form, b, part), hidden, finish)

        _in_rows(tokens, shape, rows)
        with build.serial(0, shape.batch) as text, build.serial(0, hidden // heads.size) as head:
            _pack_keys(shape, heads, keys, b["keys"], text, head)
            _pack_values(shape, heads, values, b["values"], text, head)

    inputs = form.activations(tokens, hidden, "x_")
    for name in "qkv":
        inputs |= form.matrix(hidden, hidden, name)
    outputs: Sizes = {
        "queries": (tokens * wide, heads.dtype),
        "keys": (shape.batch * shape.padded * wide, heads.dtype),
        "values": (shape.batch * shape.padded * wide, heads.dtype),
    }
    return _kernel(inputs, outputs, body, shape.products)


def _third(form: Format, buffers: Buffers, part: int) -> Buffers:
    name = "qkv"[part]
    return {field: buffers[name + field] for field in form.matrix(0, 0)}


def _pack_keys(shape: Shape, heads: Heads, keys: Expr, out: Expr, text: Expr, head: Expr) -> None:
    wide, size = heads.hidden // heads.each, heads.size // heads.each
    at = (text * (heads.hidden // heads.size) + head) * shape.padded * size

    def block(first: Expr, count: int) -> None:
        with build.serial(0, size) as word:
            for lane in range(LANES):
                value = v.constant(0, heads.dtype)
                if lane < count:
                    token = text * shape.seq_len + first + lane
                    value = v.load_one(keys, token * wide + head * size + word)
                v.store(out, at + first * size + word * LANES + lane, value, 1)

    whole = shape.seq_len // LANES
    if whole:
        with build.serial(0, whole) as index:
            block(index * LANES, LANES)
    for index in range(whole, shape.padded // LANES):
        first = index * LANES
        block(v.constant(first, "int32"), max(0, shape.seq_len - first))


def _pack_values(
    shape: Shape, heads: Heads, values: Expr, out: Expr, text: Expr, head: Expr
) -> None:
    hidden, size, each = heads.hidden, heads.size, heads.each
    at = (text * (hidden // size) + head) * (shape.padded // each) * size

    def group(index: Expr, real: int) -> None:
        for i in range(0, size, LANES):
            rows = [
                v.load(values, (text * shape.seq_len + index * each + r) * hidden + head * size + i)
                if r < real
                else v.splat(0.0)
                for r in range(each)
            ]
            v.store(out, at + index * size + i, heads.between(rows))

    whole = shape.seq_len // each
    if whole:
        with build.serial(0, whole) as index:
            group(index, each)
    for index in range(whole, shape.padded // each):
        group(v.constant(index, "int32"), max(0, shape.seq_len - index * each))


def attention(shape: Shape, heads: Heads, eps: float) -> Kernel:
    """Attention, its output product, the residual and the normalisation.

    Of ``queries``, ``keys`` and ``values`` of `queries_keys_values` (the queries already divided
    by the root of the head size), ``score_bias`` and ``residual``.
    """
    hidden, tokens, form = heads.hidden, shape.tokens, shape.form
    wide = hidden // heads.each
    norm, outputs = _normalized(form, tokens, hidden)

    def body(b: Buffers) -> None:
        count = shape.products.rows
        scores = v.scratch(count * shape.padded)
        weights = v.scratch(count * shape.padded // heads.each, heads.dtype)
        mixed, total = v.scratch(count * hidden), v.scratch(count * hidden)
        factors, own = v.scratch(count), form.scratch(count, hidden)

        with build.serial(0, shape.batch) as text:

            def rows(start: Expr, count: int) -> None:
                first = build.Bind(text * shape.seq_len + start)
                with build.serial(0, hidden // heads.size) as head:
                    _scores(shape, heads, b, text, head, first, count, scores)
                    bias = (b["score_bias"], text) if shape.products.tiles else None
                    _softmax(shape, heads, scores, count, weights, factors, bias)
                    _mix(shape, heads, b, text, head, weights, factors, count, mixed)
                with build.serial(0, count) as row:
                    form.write(mixed, row * hidden, own, row)
                _residual(shape, own, count, hidden, b, total, eps, first)

            _in_rows(shape.seq_len, shape, rows)

    inputs: Sizes = {
        "queries": (tokens * wide, heads.dtype),
        "keys": (shape.batch * shape.padded * wide, heads.dtype),
        "values": (shape.batch * shape.padded * wide, heads.dtype),
        "score_bias": (shape.batch * shape.padded, "float32"),
        "residual": (tokens * hidden, "float32"),
    }
    inputs |= form.matrix(hidden, hidden) | norm
    return _kernel(inputs, outputs, body, shape.products)


def _scores(
    shape: Shape,
    heads: Heads,
    b: Buffers,
    text: Expr,
    head: Expr,
    first: Expr,
    count: int,
    scores: Expr,
) -> None:
    """Products of some queries with all keys of a head: (count, padded)."""
    wide, size = heads.hidden // heads.each, heads.size // heads.each
    at = (text * (heads.hidden // heads.size) + head) * shape.padded * size
    if shape.products.tiles:
        step = tiles.begin(count, 4 * size)
        with build.serial(0, shape.padded // BLOCK) as block:
            tiles.multiply(
                "tdpbf16ps",
                count,
                4 * size // step,
                Tiles(b["queries"], first * wide + head * size, 4 * wide, 4 * LANES * wide, step),
                Tiles(b["keys"], at + block * BLOCK * size, 64, 64 * size, LANES * step),
                Tiles(scores, block * BLOCK, 4 * shape.padded, 64, 0),
            )
        return
    with build.serial(0, shape.padded // BLOCK) as block:
        sums = v.registers(count * HALVES)
        for half in range(HALVES):
            key = block * BLOCK + half * LANES
            start = v.load(b["score_bias"], text * shape.padded + key)
            for row in range(count):
                v.store(sums, (row * HALVES + half) * LANES, start)
        with build.serial(0, size) as word:
            keys = [
                v.load(b["keys"], at + (block * HALVES + half) * LANES * size + word * LANES)
                for half in range(HALVES)
            ]
            for row in range(count):
                query = v.load_one(b["queries"], (first + row) * wide + head * size + word)
                query = build.Bind(v.splat(query))
                for half in range(HALVES):
                    place = (row * HALVES + half) * LANES
                    value = heads.add_products(v.load(sums, place), query, keys[half])
                    v.store(sums, place, value)
        for row in range(count):
            for half in range(HALVES):
                value = v.load(sums, (row * HALVES + half) * LANES)
                v.store(scores, row * shape.padded + block * BLOCK + half * LANES, value)


def _softmax(
    shape: Shape,
    heads: Heads,
    scores: Expr,
    count: int,
    weights: Expr,
    factors: Expr,
    bias: tuple[Expr, Expr] | None,
) -> None:
    """Weights before they are divided by their sum, and that factor a row.

    A `bias` (for all texts, and which text) is added to the scores.
    """
    padded = shape.padded
    with build.serial(0, count) as row:
        x = [v.load(scores, row * padded + i) for i in range(0, padded, LANES)]
        if bias is not None:
            start = bias[1] * padded
            x = [v.keep(x[i] + v.load(bias[0], start + i * LANES)) for i in range(len(x))]
        most = v.keep(v.splat(v.across(v.folded(x, tirx.max), tirx.max)))
        found = []
        for part in x:
            found.append(v.exp(v.keep(tirx.max(part - most, v.splat(_NEVER)))))
        total = v.across(v.folded(found, v.add), v.add)
        v.store(factors, row, v.constant(1.0) / total, 1)
        for i, word in enumerate(heads.words(found)):
            v.store(weights, row * (padded // heads.each) + i * LANES, word)


def _mix(
    shape: Shape,
    heads: Heads,
    b: Buffers,
    text: Expr,
    head: Expr,
    weights: Expr,
    factors: Expr,
    count: int,
    mixed: Expr,
) -> None:
    """Values of a head by their weights: its part of (count, hidden)."""
    keys, size = shape.padded // heads.each, heads.size
    at = (text * (heads.hidden // size) + head) * keys * size
    if shape.products.tiles:
        step = tiles.begin(count, 4 * keys)
        with build.serial(0, size // BLOCK) as block:
            own = head * size + block * BLOCK
            tiles.multiply(
                "tdpbf16ps",
                count,
                4 * keys // step,
                Tiles(weights, v.constant(0, "int32"), 4 * keys, 4 * LANES * keys, step),
                Tiles(b["values"], at + block * BLOCK, 4 * size, 64, size * step),
                Tiles(mixed, own, 4 * heads.hidden, 64, 0),
            )
            with build.serial(0, count) as row:
                factor = v.keep(v.splat(v.load_one(factors, row)))
                for half in range(HALVES):
                    place = row * heads.hidden + own + half * LANES
                    v.store(mixed, place, v.load(mixed, place) * factor)
        return
    with build.serial(0, size // BLOCK) as block:
        sums = v.registers(count * HALVES)
        for place in range(count * HALVES):
            v.store(sums, place * LANES, v.splat(0.0))
        with build.serial(0, keys) as key:
            values = [
                v.load(b["values"], at + key * size + block * BLOCK + half * LANES)
                for half in range(HALVES)
            ]
            for row in range(count):
                weight = build.Bind(v.splat(v.load_one(weights, row * keys + key)))
                for half in range(HALVES):
                    place = (row * HALVES + half) * LANES
                    value = heads.add_products(v.load(sums, place), weight, values[half])
                    v.store(sums, place, value)
        for row in range(count):
            factor = v.keep(v.splat(v.load_one(factors, row)))
            for half in range(HALVES):
                value = v.load(sums, (row * HALVES + half) * LANES) * factor
                place = row * heads.hidden + head * size + block * BLOCK + half * LANES
                v.store(mixed, place, value)


def convolution(shape: Shape, hidden: int, kernel: int) -> Kernel:
    """Depthwise convolution along a text of ``x`` (tokens, hidden) after ReLU, as activations.

    Padding is 0, whether `seq_len` or ``mask`` (tokens, int64) says it. ``weight`` is
    (kernel, hidden).
    """
    inputs: Sizes = {
        "x": (shape.tokens * hidden, "float32"),
        "mask": (shape.tokens, "int64"),
        "weight": (kernel * hidden, "float32"),
        "bias": (hidden, "float32"),
    }
    around, form = kernel // 2, shape.form
    rows = shape.seq_len + 2 * around

    def body(b: Buffers) -> None:
        padded, found = v.scratch(rows * hidden), v.scratch(hidden)
        with build.serial(0, around * hidden // LANES) as part:
            v.store(padded, part * LANES, v.splat(0.0))
            v.store(padded, (around + shape.seq_len) * hidden + part * LANES, v.splat(0.0))
        with build.serial(0, shape.batch) as text:
            with build.serial(0, shape.seq_len) as token:
                real = v.load_one(b["mask"], text * shape.seq_len + token)
                real = v.keep(v.splat(v.keep(tirx.Cast("float32", real))))
                with build.serial(0, hidden // LANES) as part:
                    at = (text * shape.seq_len + token) * hidden + part * LANES
                    value = tirx.max(v.load(b["x"], at), v.splat(0.0)) * real
                    v.store(padded, (token + around) * hidden + part * LANES, value)
            with build.serial(0, shape.seq_len) as token:
                with build.serial(0, hidden // LANES) as part:
                    total = v.load(b["bias"], part * LANES)
                    for place in range(kernel):
                        x = v.load(padded, (token + place) * hidden + part * LANES)
                        weight = v.load(b["weight"], place * hidden + part * LANES)
                        total = v.keep(total + x * weight)
                    v.store(found, part * LANES, total)
                first = text * shape.seq_len + token
                out = activations(b, "out_", first, hidden)
                form.write(found, v.constant(0, "int32"), out, v.constant(0, "int32"))

    return _kernel(inputs, form.activations(shape.tokens, hidden, "out_"), body, llvm=form.llvm)


def mean(shape: Shape, hidden: int) -> Kernel:
    """Mean of ``x`` (tokens, hidden) over the tokens that are real by ``mask`` (tokens, int64)."""

    def body(b: Buffers) -> None:
        with build.serial(0, shape.batch) as text, build.serial(0, hidden // LANES) as part:
            sums = v.registers(2)
            for place in range(2):
                v.store(sums, place * LANES, v.splat(0.0))
            with build.serial(0, shape.seq_len) as token:
                at = text * shape.seq_len + token
                real = tirx.Cast("float32", v.load_one(b["mask"], at))
                real = v.keep(v.splat(v.keep(real)))
                x = v.load(b["x"], at * hidden + part * LANES)
                v.store(sums, 0, v.load(sums, 0) + x * real)
                v.store(sums, LANES, v.load(sums, LANES) + real)
            count = tirx.max(v.load(sums, LANES), v.splat(1.0))
            v.store(b["out"], text * hidden + part * LANES, v.load(sums, 0) / count)

    inputs: Sizes = {"x": (shape.tokens * hidden, "float32"), "mask": (shape.tokens, "int64")}
    return _kernel(inputs, {"out": (shape.batch * hidden, "float32")}, body)


def exact_linear(
    rows: int, inputs: int, outputs: int, tanh: bool = False, across: int = 1
) -> Kernel:
    """A product in fp32 with ``weight`` (outputs, inputs), plus ``bias``: for few rows or outputs.

    Gives (rows / across, outputs, across): of every `across` rows one output after the other.

    Args:
        rows: Of ``x``, (rows, inputs).
        inputs: Numbers of a row.
        outputs: Of the product.
        tanh: Whether the hyperbolic tangent of it is given.
        across: Rows that are given beside each other.
    """

    def body(b: Buffers) -> None:
        with build.serial(0, rows) as row, build.serial(0, outputs) as output:
            parts = []
            for i in range(0, inputs, LANES):
                x, weight = v.load(b["x"], row * inputs + i), b["weight"]
                parts.append(v.keep(x * v.load(weight, output * inputs + i)))
            value = v.across(v.folded(parts, v.add), v.add) + v.load_one(b["bias"], output)
            group = tirx.floordiv(row, across) * outputs + output
            place = group * across + tirx.floormod(row, across)
            v.store(b["out"], place, tirx.tanh(value) if tanh else value, 1)

    sizes: Sizes = {
        "x": (rows * inputs, "float32"),
        "weight": (outputs * inputs, "float32"),
        "bias": (outputs, "float32"),
    }
    return _kernel(sizes, {"out": (rows * outputs, "float32")}, body)


def unit_length(batch: int, hidden: int) -> Kernel:
    """Rows of ``x`` divided by their length."""

    def body(b: Buffers) -> None:
        with build.serial(0, batch) as row:
            x = [v.load(b["x"], row * hidden + i) for i in range(0, hidden, LANES)]
            squares = v.across(v.folded([v.keep(p * p) for p in x], v.add), v.add)
            length = tirx.max(tirx.sqrt(squares), v.constant(1e-12))
            factor = v.keep(v.splat(v.keep(v.constant(1.0) / length)))
            for i, part in enumerate(x):
                v.store(b["out"], row * hidden + i * LANES, part * factor)

    sizes: Sizes = {"x": (batch * hidden, "float32")}
    return _kernel(sizes, {"out": (batch * hidden, "float32")}, body)
