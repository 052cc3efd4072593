"""One row a text out of the states of its tokens, as arrays: packages are read without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pool(
    states: NDArray[np.float32], attention_mask: NDArray[np.int64], mode: str
) -> NDArray[np.float32]:
    """The states of each text's tokens as one row, (batch, hidden): see `torch_pooling.pool`.

    Args:
        states: (batch, seq_len, hidden), right-padded.
        attention_mask: (batch, seq_len), 1 for real tokens and 0 for padding.
        mode: Out of `nasc.architecture.heads.POOLINGS`.
    """
    if mode == "cls":
        return states[:, 0]
    real = attention_mask[:, :, None].astype(np.float32)
    if mode == "max":
        return np.asarray(np.where(real == 0, np.float32(-np.inf), states).max(1))
    total, count = (states * real).sum(1), np.maximum(real.sum(1), 1)
    return np.asarray(total / (np.sqrt(count) if mode == "sqrt_len" else count), np.float32)
