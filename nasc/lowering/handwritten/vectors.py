"""Vectors of sixteen numbers in TVM's IR, and the arithmetic of encoders on them.

What is written here becomes straight-line code of one register a value on AVX-512; LLVM splits the
vectors where registers are shorter. Every function takes and gives expressions, and may only be
called while `nasc.lowering.handwritten.kernels` builds a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as build

LANES = 16

Expr = Any
"""An expression or a buffer of TVM; its package has no types."""

_ROUNDING = 1.5 * 2.0**23
"""Added to a float of magnitude under 2**22, its last bit counts ones: the sum is rounded."""

_EXP2 = (
    0.9999992847442627,
    0.6931217908859253,
    0.2402474582195282,
    0.055917903780937195,
    0.009570103138685226,
)
"""Polynomial of 2**x on -0.5 to 0.5 of the lowest largest relative error, 3e-6."""

_GELU_END = 3.7
_GELU = (
    0.3964751064777374,
    -0.06258773058652878,
    0.007848701439797878,
    -0.0006175023736432195,
    2.6888801585300826e-05,
    -4.899745249531406e-07,
)
"""Of x * P(x**2) + 1/2, the normal distribution function up to `_GELU_END`, where it is made to
reach 1: the GELU is then wrong by 5e-4 at most (least squares, weighted anew until the errors are
even). A step of the 8 bits that follow it is ten times as wide or more."""

_ON_STACK = {"disable_lower_builtin": True}
"""TVM else asks its runtime for the memory of a buffer, whatever its size."""

GELU_SHIFT = 0.17
"""Added to a GELU it is never negative: its minimum is -0.16997."""


def span(start: Expr, lanes: int = LANES) -> Expr:
    """Indices of neighbours."""
    return tirx.Ramp(start, 1, lanes)


def keep(value: Expr) -> Expr:
    """A vector or number of fp32, computed once.

    It goes through a buffer, which LLVM turns into a register again: TVM's simplifier puts what a
    variable is bound to in its place wherever it is used, and grows with the power of the depth.
    """
    lanes = value.ty.dtype.lanes
    held = build.alloc_buffer(
        (lanes,), "float32", scope="local", align=4 * lanes, annotations=_ON_STACK
    )
    store(held, 0, value, lanes)
    return load(held, 0, lanes) if lanes > 1 else load_one(held, 0)


def load(buffer: Expr, start: Expr, lanes: int = LANES) -> Expr:
    """Neighbours of a flat buffer, read once."""
    return build.Bind(tirx.BufferLoad(buffer, [span(start, lanes)]))


def load_one(buffer: Expr, index: Expr) -> Expr:
    """One element of a flat buffer, read once."""
    return build.Bind(tirx.BufferLoad(buffer, [index]))


def store(buffer: Expr, start: Expr, value: Expr, lanes: int = LANES) -> None:
    """Write a vector, or with one lane a number.

    Args:
        buffer: Flat.
        start: Element that it begins at.
        value: Of as many lanes.
        lanes: How many.
    """
    build.buffer_store(buffer, value, [span(start, lanes) if lanes > 1 else start])


def constant(value: float, dtype: str = "float32") -> Expr:
    """A number of a type."""
    return tirx.const(value, dtype)


def splat(value: Expr | float, dtype: str = "float32") -> Expr:
    """A number in all lanes."""
    return tirx.Broadcast(
        constant(value, dtype) if isinstance(value, float | int) else value, LANES
    )


def registers(count: int, dtype: str = "float32") -> Expr:
    """A buffer that becomes `count` registers where every index into it is constant."""
    return build.alloc_buffer(
        (count * LANES,), dtype, scope="local", align=64, annotations=_ON_STACK
    )


def scratch(size: int, dtype: str = "float32") -> Expr:
    """A buffer of a kernel's own."""
    return build.alloc_buffer((size,), dtype, align=64)


def across(vector: Expr, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """All lanes combined into one number, by halves."""
    lanes = LANES
    while lanes > 1:
        vector, lanes = build.Bind(vector), lanes // 2
        halves = [list(range(lanes)), list(range(lanes, 2 * lanes))]
        vector = combine(*(tirx.Shuffle([vector], half) for half in halves))
    return keep(vector)


def add(a: Expr, b: Expr) -> Expr:
    """Sum."""
    return a + b


def folded(vectors: Sequence[Expr], combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """Vectors combined pair by pair, so that few wait for each other."""
    found = list(vectors)
    while len(found) > 1:
        pairs = [
            keep(combine(*found[i : i + 2])) if i + 1 < len(found) else found[i]
            for i in range(0, len(found), 2)
        ]
        found = pairs
    return found[0]


def exp(x: Expr) -> Expr:
    """e**x for x from -87 to 0, wrong by 3e-6 of itself at most."""
    scaled = keep(x * splat(math.log2(math.e)))
    rounded = keep(scaled + splat(_ROUNDING))
    rest = keep(scaled - (rounded - splat(_ROUNDING)))
    power = keep(_polynomial(rest, _EXP2))
    exponent = tirx.reinterpret("int32x16", rounded) << splat(23, "int32")
    return keep(tirx.reinterpret("float32x16", tirx.reinterpret("int32x16", power) + exponent))


def shifted_gelu(x: Expr) -> Expr:
    """The GELU of x plus `GELU_SHIFT`, wrong by 5e-4 at most."""
    t = keep(tirx.max(tirx.min(x, splat(_GELU_END)), splat(-_GELU_END)))
    square = keep(t * t)
    share = keep(t * _polynomial(square, _GELU) + splat(0.5))
    return keep(x * share + splat(GELU_SHIFT))


def rounded_bytes(x: Expr, offset: int) -> Expr:
    """x, of magnitude under 2**21, rounded, plus an offset: its low 8 bits as unsigned bytes."""
    bits = tirx.reinterpret("int32x16", keep(x + splat(_ROUNDING + offset)))
    return tirx.Cast("uint8x16", bits)


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    value = splat(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = keep(value * x + splat(coefficient))
    return value
