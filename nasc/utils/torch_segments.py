"""Token types of two texts in one list of tokens, found where the first text ends."""

from __future__ import annotations

from torch import Tensor


def segments(input_ids: Tensor, separator: int) -> Tensor:
    """Token types: 0 up to the first separator, 1 behind it, (batch, seq_len), int64.

    A text alone ends with its only separator, so that all of it is of type 0; what padding gets
    does not matter.

    Args:
        input_ids: (batch, seq_len).
        separator: Token id.
    """
    ends = (input_ids == separator).long()
    return (ends.cumsum(1) - ends).clamp(max=1)
