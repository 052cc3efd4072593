"""One row a text out of the states of its tokens, in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(states: Tensor, real: Tensor, mode: str) -> Tensor:
    """The states of each text's tokens as one row: (batch, hidden).

    As Pooling of sentence-transformers (`sentence_transformer/modules/pooling.py` of 6.2);
    `nasc.export.onnx` writes the same.

    Args:
        states: (batch, seq_len, hidden), right-padded; values at padding count nowhere, whatever
            finite number they are.
        real: (batch, seq_len, 1), 1 for real tokens and 0 for padding, a floating-point type.
        mode: Out of `nasc.architecture.heads.POOLINGS`.
    """
    if mode == "cls":
        return states[:, 0]
    if mode == "max":
        return states.masked_fill(real == 0, -torch.inf).amax(1)
    total, count = (states * real).sum(1), real.sum(1).clamp(min=1)
    return total / (count.sqrt() if mode == "sqrt_len" else count)
