"""Positions as rotations of queries and keys, and windows of attention, in torch.

RoFormer (Su et al., 2021, arXiv 2104.09864), as transformers computes it: the first half of a
head's values is turned with the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasc.utils.masking import MASKED


def rotation(frequencies: Tensor, seq_len: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of all positions, each (seq_len, head size / 2), float32.

    Args:
        frequencies: (head size / 2,), radians a position.
        seq_len: Tokens of a text, padding included.
    """
    places = torch.arange(seq_len, dtype=torch.float32, device=frequencies.device)
    angles = places[:, None] * frequencies.float()
    return angles.cos(), angles.sin()


def rotate(x: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys turned by their positions.

    Args:
        x: (batch, heads, seq_len, head size).
        by: See `rotation`.
    """
    first, second = x.float().chunk(2, dim=-1)
    cosines, sines = by
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return torch.cat(turned, dim=-1).to(x.dtype)


def window_scores(window: Tensor, seq_len: int) -> Tensor | None:
    """What is added to attention scores of tokens that are too far apart: (seq_len, seq_len).

    Args:
        window: (1,), tokens to either side that a token sees; 0 where it sees all, which gives
            None.
        seq_len: Tokens of a text, padding included.
    """
    most = int(window.item())
    if most == 0 or most >= seq_len - 1:
        return None
    places = torch.arange(seq_len, device=window.device)
    return ((places[:, None] - places).abs() > most).float() * MASKED
