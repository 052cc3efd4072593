"""Number formats of weights: int8 with one scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasc.networks.network import Array

INT8_MAX = 127
"""Largest magnitude used; -128 is left out so that the range is symmetric."""


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


def _quantize(weight: Array, largest: Array) -> tuple[NDArray[np.int8], Array]:
    scales = np.maximum(largest / INT8_MAX, np.finfo(np.float32).tiny).astype(np.float32)
    scaled = weight * (1 / scales)[:, None]
    return np.rint(scaled, out=scaled).astype(np.int8), scales
