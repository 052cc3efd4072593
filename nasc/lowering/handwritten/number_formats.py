"""Number formats of handwritten kernels: what activations and matrices are, and their product.

int8: bytes, one scale a token, by a matrix of int8 with one scale an output; sums are exact. bf16:
pairs of bfloat16 in 32 bits, of neighbours, by a matrix of such pairs; sums are fp32. Bias and what
follows a product are fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tvm import tirx
from tvm.tirx.script.builder import ir as build

from nasc.export.quantization import quantize_rows
from nasc.lowering.handwritten import tiles
from nasc.lowering.handwritten import vectors as v
from nasc.lowering.handwritten.products import LLVM_BF16, Products, to_bf16
from nasc.lowering.handwritten.tiles import Tiles
from nasc.lowering.handwritten.vectors import LANES, Expr
from nasc.lowering.handwritten.weights import BLOCK, ZERO, pack_bf16, pack_matrix, split_bf16
from nasc.networks.network import Array

HALVES = BLOCK // LANES

Sizes = dict[str, tuple[int, str]]
"""Of buffers by name: elements and their type."""

Buffers = dict[str, Expr]

Finish = Callable[[Expr, Expr, list[Expr]], None]
"""Takes a row, an output and the 32 values from it on, in two vectors."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Rows of what a product takes, from a first one on.

    Attributes:
        values: Flat: (rows, size) of bytes, or (rows, size / 2) of pairs.
        scales: (rows,) of bytes; None of pairs.
        first: The first row.
        size: Numbers in a row.
    """

    values: Expr
    scales: Expr
    first: Expr
    size: int


class Format(Protocol):
    """What kernels ask of a number format."""

    @property
    def precision(self) -> str:
        """Its name."""

    @property
    def gelu_shift(self) -> float | None:
        """What activations of `gelu` are too large by, see `weights.pack_matrix`; None is 0."""

    @property
    def llvm(self) -> str:
        """What kernels without a product import."""

    def activations(self, rows: int, size: int, name: str) -> Sizes:
        """Buffers of activations.

        Args:
            rows: How many.
            size: Numbers in a row.
            name: That the buffers' names begin with.
        """

    def matrix(self, inputs: int, outputs: int, name: str = "") -> Sizes:
        """Buffers of a matrix, its bias included.

        Args:
            inputs: Numbers that a row of activations has.
            outputs: That it has after the product.
            name: That the buffers' names begin with.
        """

    def words(self, rows: int, size: int) -> Sizes:
        """Buffers of a word embedding (rows, size)."""

    def pack(
        self, weight: Array, bias: Array, products: Products, shift: float | None
    ) -> list[Any]:
        """Contents of the buffers of `matrix`, in their order.

        Args:
            weight: (outputs, inputs) in fp32.
            bias: (outputs,) in fp32.
            products: Instructions that multiply, which decide how it is laid out.
            shift: What the activations are too large by; None is 0.
        """

    def pack_words(self, words: Array) -> list[Any]:
        """Contents of the buffers of `words`, in their order, of (rows, size) in fp32."""

    def scratch(self, rows: int, size: int) -> Activations:
        """Activations of a kernel's own: (rows, size) that live while it runs."""

    def word(self, buffers: Buffers, word: Expr, size: int) -> list[Expr]:
        """A row of the word embedding: its `size` numbers in fp32, in vectors of `LANES`."""

    def write(self, source: Expr, at: Expr, out: Activations, row: Expr) -> None:
        """Write a row of fp32 as activations.

        Args:
            source: Flat buffer of fp32.
            at: Element of it that the row begins at.
            out: Gain the row.
            row: Which of theirs it is.
        """

    def product(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        outputs: int,
        finish: Finish,
    ) -> None:
        """Some rows times a matrix, plus bias.

        Args:
            products: Instructions that multiply.
            x: Activations (count, inputs), from their first row on.
            count: Rows.
            matrix: Its buffers, by the names that `matrix` gives without a prefix.
            outputs: Of it.
            finish: Takes the results in fp32, 32 outputs of a row at a time.
        """

    def gelu(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        out: Activations,
        inner: Expr,
    ) -> None:
        """The GELU of a product as activations.

        Args:
            products: Instructions that multiply.
            x: Activations (count, inputs), from their first row on.
            count: Rows.
            matrix: Buffers of the matrix, its outputs as many as `out` has numbers in a row.
            out: Gain the result, (count, outputs).
            inner: Room for (count, outputs) in fp32.
        """


def activations(buffers: Mapping[str, Expr], name: str, first: Expr, size: int) -> Activations:
    """Those in buffers that `Format.activations` named."""
    return Activations(buffers[f"{name}values"], buffers.get(f"{name}scales"), first, size)


class _Int8:
    precision = "int8"
    gelu_shift = v.GELU_SHIFT
    llvm = ""

    def activations(self, rows: int, size: int, name: str) -> Sizes:
        return {f"{name}values": (rows * size, "uint8"), f"{name}scales": (rows, "float32")}

    def matrix(self, inputs: int, outputs: int, name: str = "") -> Sizes:
        return {
            f"{name}packed": (inputs * outputs, "int8"),
            f"{name}start": (outputs, "int32"),
            f"{name}scales": (outputs, "float32"),
            f"{name}bias": (outputs, "float32"),
        }

    def words(self, rows: int, size: int) -> Sizes:
        return {"word": (rows * size, "int8"), "word_scales": (rows, "float32")}

    def pack(
        self, weight: Array, bias: Array, products: Products, shift: float | None
    ) -> list[Any]:
        made = pack_matrix(weight, bias, shift, signed=products.signed, clips=products.clips)
        return [made.packed, made.start, made.scales, made.bias]

    def pack_words(self, words: Array) -> list[Any]:
        return list(quantize_rows(words))

    def scratch(self, rows: int, size: int) -> Activations:
        return Activations(
            v.scratch(rows * size, "uint8"), v.scratch(rows), v.constant(0, "int32"), size
        )

    def word(self, buffers: Buffers, word: Expr, size: int) -> list[Expr]:
        scale = v.keep(v.splat(v.load_one(buffers["word_scales"], word)))
        parts = (v.load(buffers["word"], word * size + i) for i in range(0, size, LANES))
        return [v.keep(tirx.Cast("float32x16", part) * scale) for part in parts]

    def write(self, source: Expr, at: Expr, out: Activations, row: Expr) -> None:
        parts = [v.load(source, at + i) for i in range(0, out.size, LANES)]
        largest = v.across(v.folded([v.keep(tirx.abs(x)) for x in parts], tirx.max), tirx.max)
        largest = v.keep(tirx.max(largest, v.constant(1e-20)))
        factor = v.keep(v.splat(v.keep(v.constant(127.0) / largest)))
        for i in range(out.size // LANES):
            x = v.load(source, at + i * LANES)
            place = (out.first + row) * out.size + i * LANES
            v.store(out.values, place, v.rounded_bytes(x * factor, ZERO))
        v.store(out.scales, out.first + row, largest * v.constant(1 / 127), 1)

    def product(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        outputs: int,
        finish: Finish,
    ) -> None:
        def numbers(row: Expr, sums: list[Expr], block: Expr, of: dict[str, list[Expr]]) -> None:
            scale = v.keep(v.splat(v.load_one(x.scales, x.first + row)))
            found = []
            for half, total in enumerate(sums):
                whole = total + of["start"][half] if products.tiles else total
                scaled = v.keep(tirx.Cast("float32x16", whole) * scale)
                found.append(v.keep(scaled * of["scales"][half] + of["bias"][half]))
            finish(row, block * BLOCK, found)

        if products.tiles:
            of = ["start", "scales", "bias"]
            _in_tiles("tdpbusd", x, count, x.size, matrix, outputs, of, numbers)
        else:
            _in_registers(products, x, count, matrix, outputs, numbers)

    def gelu(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        out: Activations,
        inner: Expr,
    ) -> None:
        size = out.size
        largest = v.registers(count)
        for row in range(count):
            v.store(largest, row * LANES, v.splat(0.0))

        def finish(row: Expr, column: Expr, found: list[Expr]) -> None:
            values = [v.shifted_gelu(value) for value in found]
            for half, value in enumerate(values):
                v.store(inner, row * size + column + half * LANES, value)
            most = v.folded([v.load(largest, row * LANES), *values], tirx.max)
            v.store(largest, row * LANES, most)

        self.product(products, x, count, matrix, size, finish)
        for row in range(count):
            most = v.across(v.load(largest, row * LANES), tirx.max)
            factor = v.keep(v.splat(v.keep(v.constant(255.0) / most)))
            with build.serial(0, size // LANES) as part:
                value = v.load(inner, row * size + part * LANES)
                at = (out.first + row) * size + part * LANES
                v.store(out.values, at, v.rounded_bytes(value * factor, 0))
            v.store(out.scales, out.first + row, most * v.constant(1 / 255), 1)


class _Bf16:
    """Products by AMX alone."""

    precision = "bf16"
    gelu_shift = None
    llvm = LLVM_BF16

    def activations(self, rows: int, size: int, name: str) -> Sizes:
        return {f"{name}values": (rows * size // 2, "int32")}

    def matrix(self, inputs: int, outputs: int, name: str = "") -> Sizes:
        return {
            f"{name}packed": (inputs * outputs // 2, "int32"),
            f"{name}bias": (outputs, "float32"),
        }

    def words(self, rows: int, size: int) -> Sizes:
        return {"word": (rows * size // 2, "int32")}

    def pack(
        self, weight: Array, bias: Array, products: Products, shift: float | None
    ) -> list[Any]:
        return [pack_bf16(weight), bias]

    def pack_words(self, words: Array) -> list[Any]:
        return [split_bf16(words)]

    def scratch(self, rows: int, size: int) -> Activations:
        return Activations(v.scratch(rows * size // 2, "int32"), None, v.constant(0, "int32"), size)

    def word(self, buffers: Buffers, word: Expr, size: int) -> list[Expr]:
        found = []
        for i in range(0, size // 2, LANES):
            both = v.load(buffers["word"], word * (size // 2) + i)
            found += [
                v.keep(tirx.reinterpret("float32x16", both << v.splat(16, "int32"))),
                v.keep(tirx.reinterpret("float32x16", both & v.splat(-0x10000, "int32"))),
            ]
        return found

    def write(self, source: Expr, at: Expr, out: Activations, row: Expr) -> None:
        for i in range(0, out.size, BLOCK):
            pair = [v.load(source, at + i + LANES * half) for half in range(HALVES)]
            v.store(out.values, _pairs(out, row, i), to_bf16(*pair))

    def product(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        outputs: int,
        finish: Finish,
    ) -> None:
        def numbers(row: Expr, sums: list[Expr], block: Expr, of: dict[str, list[Expr]]) -> None:
            pairs = zip(sums, of["bias"], strict=True)
            finish(row, block * BLOCK, [v.keep(total + bias) for total, bias in pairs])

        _in_tiles("tdpbf16ps", x, count, 2 * x.size, matrix, outputs, ["bias"], numbers)

    def gelu(
        self,
        products: Products,
        x: Activations,
        count: int,
        matrix: Buffers,
        out: Activations,
        inner: Expr,
    ) -> None:
        def finish(row: Expr, column: Expr, found: list[Expr]) -> None:
            shift = v.splat(v.GELU_SHIFT)
            values = [v.keep(v.shifted_gelu(value) - shift) for value in found]
            v.store(out.values, _pairs(out, row, column), to_bf16(*values))

        self.product(products, x, count, matrix, out.size, finish)


def _pairs(out: Activations, row: Expr, column: Expr) -> Expr:
    """Where the pair of a row's number lies."""
    return tirx.floordiv((out.first + row) * out.size + column, 2)


Numbers = Callable[[Expr, list[Expr], Expr, dict[str, list[Expr]]], None]
"""Takes a row, its sums, the block of outputs and what was loaded for that block."""


def _in_registers(
    products: Products,
    x: Activations,
    count: int,
    matrix: Buffers,
    outputs: int,
    numbers: Numbers,
) -> None:
    """Sums of some rows of bytes in registers, 32 outputs at a time."""
    steps = x.size // 4
    with build.serial(0, outputs // BLOCK) as block:
        sums = v.registers(count * HALVES, "int32")
        columns = [block * BLOCK + LANES * half for half in range(HALVES)]
        starts = [v.load(matrix["start"], column) for column in columns]
        for row in range(count):
            for half in range(HALVES):
                v.store(sums, (row * HALVES + half) * LANES, starts[half])
        with build.serial(0, steps) as step:
            at = (block * steps + step) * (4 * BLOCK)
            weights = [
                v.load(matrix["packed"], at + 4 * LANES * half, 4 * LANES) for half in range(HALVES)
            ]
            for row in range(count):
                four = v.load(x.values, (x.first + row) * x.size + step * 4, 4)
                four = build.Bind(tirx.reinterpret("int32", four))
                for half in range(HALVES):
                    place = (row * HALVES + half) * LANES
                    v.store(sums, place, products.add(v.load(sums, place), four, weights[half]))
        of = {n: [v.load(matrix[n], column) for column in columns] for n in ("scales", "bias")}
        for row in range(count):
            found = [v.load(sums, (row * HALVES + half) * LANES) for half in range(HALVES)]
            numbers(row, found, block, of)


def _in_tiles(
    instruction: str,
    x: Activations,
    count: int,
    row_bytes: int,
    matrix: Buffers,
    outputs: int,
    after: Sequence[str],
    numbers: Numbers,
) -> None:
    """Sums of some rows in tiles, 32 outputs at a time."""
    sums = v.registers(count * HALVES, "int32" if instruction == "tdpbusd" else "float32")
    step = tiles.begin(count, row_bytes)
    across = 4 * BLOCK  # bytes of the matrix that one product of four bytes or two numbers takes
    row_elements = row_bytes if instruction == "tdpbusd" else row_bytes // 4
    with build.serial(0, outputs // BLOCK) as block:
        tiles.multiply(
            instruction,
            count,
            row_bytes // step,
            Tiles(x.values, x.first * row_elements, row_bytes, LANES * row_bytes, step),
            Tiles(
                matrix["packed"],
                block * (row_elements * BLOCK),
                across,
                across // 2,
                step * BLOCK,
            ),
            Tiles(sums, v.constant(0, "int32"), across, across // 2, 0),
        )
        columns = [block * BLOCK + LANES * half for half in range(HALVES)]
        of = {name: [v.load(matrix[name], column) for column in columns] for name in after}
        with build.serial(0, count) as row:
            found = [v.load(sums, (row * HALVES + half) * LANES) for half in range(HALVES)]
            numbers(row, found, block, of)


FORMATS: Mapping[str, Format] = {"int8": _Int8(), "bf16": _Bf16()}
"""By precision."""
