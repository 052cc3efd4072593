"""Matrices and word embeddings as handwritten kernels read them. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.export.quantization import quantize_matrix, quantize_rows
from nasc.networks.network import Array

BLOCK = 32
"""Outputs that lie together, and that a kernel computes together: two registers of 16."""

ZERO = 128
"""The byte that stands for 0 in activations of both signs."""


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix in int8, with what turns sums of products into numbers again.

    With activations ``x ~ (byte - zero) * scale`` a row of x times the matrix, plus its bias, is
    ``(start + byte . packed) * scale * scales + bias``; ``byte - 128`` takes the place of the byte
    where a processor's bytes are signed.

    Attributes:
        inputs: Columns of the matrix.
        outputs: Rows.
        packed: (outputs / 32, inputs / 4, 32, 4): of 32 outputs the 4 inputs whose products one
            instruction adds (``vpdpbusd``), next to each other.
        start: (outputs,), what the sum starts at.
        scales: (outputs,).
        bias: (outputs,).
    """

    inputs: int
    outputs: int
    packed: NDArray[np.int8]
    start: NDArray[np.int32]
    scales: Array
    bias: Array


def pack_matrix(
    weight: Array,
    bias: Array,
    shift: float | None = None,
    *,
    signed: bool = False,
    clips: bool = False,
) -> PackedMatrix:
    """Quantize a matrix, one scale for each output, and put it in order.

    Args:
        weight: (outputs, inputs); outputs a multiple of 32, inputs of 4.
        bias: (outputs,).
        shift: None where activations are ``(byte - 128) * scale``; else they are
            ``byte * scale - shift``.
        signed: Whether the processor multiplies ``byte - 128``.
        clips: Whether it adds two neighbouring products in 16 bits: weights are then so small that
            none clips. Else all of -127 to 127 is used.
    """
    outputs, inputs = weight.shape
    quantized, scales = (quantize_matrix if clips else quantize_rows)(weight)
    sums = quantized.sum(axis=1, dtype=np.int32)
    start = np.zeros_like(sums) if shift is not None else -ZERO * sums
    if signed:
        start += ZERO * sums
    if shift is not None:
        bias = bias - np.float32(shift) * scales * sums
    blocks = quantized.reshape(outputs // BLOCK, BLOCK, inputs // 4, 4).transpose(0, 2, 1, 3)
    return PackedMatrix(
        inputs, outputs, np.ascontiguousarray(blocks), start, scales, bias.astype(np.float32)
    )


def to_bf16(x: Array) -> NDArray[np.uint16]:
    """The bits of x in bfloat16, rounded to nearest, ties to even; of the shape of x (...)."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def pack_bf16(weight: Array) -> NDArray[np.int32]:
    """A matrix (outputs, inputs) in bfloat16 as (outputs / 32, inputs / 2, 32).

    Of 32 outputs the two inputs whose products one instruction adds (``vdpbf16ps``), in 32 bits.
    """
    outputs, inputs = weight.shape
    blocks = to_bf16(weight).reshape(outputs // BLOCK, BLOCK, inputs // 2, 2)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).view(np.int32)[..., 0]


def split_bf16(words: Array) -> NDArray[np.int32]:
    """Rows in bfloat16, two numbers in 32 bits: of 32 neighbours the i-th below the i + 16-th.

    Two vectors of neighbours come of one of those by a shift and a mask.

    Args:
        words: (rows, size).

    Returns:
        (rows, size / 2).
    """
    rows, size = words.shape
    halves = to_bf16(words).reshape(rows, size // BLOCK, 2, BLOCK // 2)
    return (
        np.ascontiguousarray(halves.transpose(0, 1, 3, 2)).view(np.int32).reshape(rows, size // 2)
    )
