"""Scores of attention that depend on how far two tokens are apart, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from nasc.utils.relative_positions import bucket_table


def position_scores(bucket_bias: Tensor, seq_len: int) -> Tensor:
    """What is added to the scores of attention: (1, heads, seq_len, seq_len).

    Args:
        bucket_bias: (buckets, heads).
        seq_len: Tokens of a text, padding included.
    """
    table = torch.tensor(bucket_table(seq_len, len(bucket_bias)), device=bucket_bias.device)
    return bucket_bias[table].permute(2, 0, 1)[None]
