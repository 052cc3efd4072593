"""Number formats of weights: int8 with one scale for each output channel; tables in 4 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.layers import group_size
from nasc.networks.network import Array

INT8_MAX = 127
"""Largest magnitude used; -128 is left out so that the range is symmetric."""

ZERO_4BIT = 8
"""What stands for zero in 4 bits."""

_CLIPPED = (1.0, 0.9, 0.8, 0.7)
"""Scales that are tried, relative to the one that clips nothing."""

_LEAST_SCALE = np.float32(1e-7)
"""So that a scale is above zero as a float16."""


def quantize_rows(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric int8 quantization of a table with one scale for each row.

    Args:
        weight: (rows, columns); a row is one word of an embedding.

    Returns:
        Quantized (rows, columns) and scales (rows,): ``weight ~ quantized * scales[:, None]``.
        The error of an element is at most half its row's scale.
    """
    return _quantize(weight, np.maximum(weight.max(axis=1), -weight.min(axis=1)))


def quantize_matrix(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric int8 quantization of a matrix that unsigned 8-bit activations multiply.

    x86 processors without VNNI add the products of two neighbouring inputs in 16 bits, which
    clip (``vpmaddubsw``; Intel Intrinsics Guide). A row's scale is therefore so large that the
    magnitudes of no two neighbours of one sign add up to over 128: 255 * 128 < 2**15. The
    result is then the same on every processor.

    Args:
        weight: (outputs, inputs).

    Returns:
        As `quantize_rows`.
    """
    columns = weight.shape[1]
    even = np.pad(weight, ((0, 0), (0, columns % 2))).reshape(len(weight), -1, 2)
    positive = np.maximum(even, 0).sum(axis=2)
    negative = np.maximum(-even, 0).sum(axis=2)
    return _quantize(weight, np.maximum(positive, negative).max(axis=1))


def quantize_rows_4bit(table: Array) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Quantization of a table to 4 bits, one scale for each group of values in a row.

    Of several scales for a group the one with the least square error is taken: the largest value
    may be clipped where that serves the others.

    Args:
        table: (rows, columns), an even number of columns; a row is one word of an embedding.

    Returns:
        Packed (rows, columns / 2): the low bits are those of the first half of the columns, the
        high bits those of the second. Scales (rows, groups): a value is its 4 bits less
        `ZERO_4BIT`, times the scale of its group. The groups are of `group_size` columns.
    """
    rows, columns = table.shape
    grouped = table.reshape(rows, -1, group_size(columns))
    largest = np.maximum(np.abs(grouped).max(axis=2) / (ZERO_4BIT - 1), _LEAST_SCALE)
    best = np.zeros(grouped.shape, np.int8)
    scales = np.zeros(largest.shape, np.float16)
    error = np.full(largest.shape, np.inf, np.float32)
    for part in _CLIPPED:
        tried = np.maximum(largest * np.float32(part), _LEAST_SCALE).astype(np.float16)
        wide = tried.astype(np.float32)[..., None]
        values = np.clip(np.rint(grouped / wide), -ZERO_4BIT, ZERO_4BIT - 1)
        found = np.square(values * wide - grouped).sum(axis=2)
        better = found < error
        best[better], scales[better] = values[better].astype(np.int8), tried[better]
        error = np.minimum(error, found)
    unsigned = (best.reshape(rows, columns) + ZERO_4BIT).astype(np.uint8)
    half = columns // 2
    packed = np.bitwise_or(unsigned[:, :half], unsigned[:, half:] << np.uint8(4))
    return packed.astype(np.uint8), scales


def _quantize(weight: Array, largest: Array) -> tuple[NDArray[np.int8], Array]:
    scales = np.maximum(largest / INT8_MAX, np.finfo(np.float32).tiny).astype(np.float32)
    scaled = weight * (1 / scales)[:, None]
    return np.rint(scaled, out=scaled).astype(np.int8), scales
