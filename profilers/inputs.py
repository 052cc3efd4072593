"""Values of a model's inputs, drawn by the caller and sent to the worker."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from profilers.jobs import INTEGER_DTYPES, InputSpec


def draw_inputs(inputs: Mapping[str, InputSpec], seed: int) -> dict[str, Any]:
    """Draws the values of all inputs.

    Args:
        inputs: Each input's shape, type and range.
        seed: The same seed gives the same values, whatever the order of the inputs.

    Returns:
        One array per input.
    """
    feeds = {}
    for name, spec in inputs.items():
        value: Any
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if spec.dtype in INTEGER_DTYPES:
            value = generator.integers(spec.low, spec.high, size=spec.shape, dtype=np.int64)
        elif spec.dtype == "bool":
            value = np.ones(spec.shape, dtype=np.bool_)
        else:
            value = generator.random(size=spec.shape)
        feeds[name] = np.ascontiguousarray(value.astype(spec.dtype))
    return feeds
