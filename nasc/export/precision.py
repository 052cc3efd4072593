"""Number formats of weights: int8 with one scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasc.export.network import Array

INT8_MAX = 127
"""Largest magnitude used; -128 is left out so that the range is symmetric."""


def quantize_rows(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric int8 quantization with one scale for each row.

    Args:
        weight: (rows, columns); a row is an output channel or one word of an embedding.

    Returns:
        Quantized (rows, columns) and scales (rows,): ``weight ~ quantized * scales[:, None]``.
        The error of an element is at most half its row's scale.
    """
    largest = np.maximum(weight.max(axis=1), -weight.min(axis=1))
    scales = np.maximum(largest / INT8_MAX, np.finfo(np.float32).tiny).astype(np.float32)
    scaled = weight * (1 / scales)[:, None]
    return np.rint(scaled, out=scaled).astype(np.int8), scales
