"""Buckets of relative positions: scores of attention depend on how far two tokens are apart.

As MPNet counts them (Song et al., NeurIPS 2020, arXiv 2004.09297; `relative_position_bucket` in
transformers' modeling_mpnet.py), which took them from T5 (Raffel et al., JMLR 2020, Section 2.1):
half of the buckets for each direction, of these half for one distance each, the others for
distances that grow by a factor, up to `FARTHEST`.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

BUCKETS = 32
"""Of MPNet, whose code knows no other number."""

FARTHEST = 128
"""Tokens from which on all distances are one bucket."""


@functools.lru_cache(maxsize=64)
def distance_buckets(positions: int, buckets: int) -> NDArray[np.int64]:
    """The bucket of every distance from one token to another: (2 * positions - 1,).

    Args:
        positions: Of the longest text; the distance at index i is i - (positions - 1), a token
            behind having a positive one.
        buckets: In all, a multiple of 4.
    """
    distance = np.arange(1 - positions, positions)
    half, exact = buckets // 2, buckets // 4
    far = np.maximum(np.abs(distance), 1).astype(np.float32)
    # In float32 step by step, as torch does it: at powers of 2 rounding decides.
    steps = np.log(far / np.float32(exact)) / np.float32(math.log(FARTHEST / exact))
    large = exact + (steps * np.float32(half - exact)).astype(np.int64)
    one_way = np.where(np.abs(distance) < exact, np.abs(distance), np.minimum(large, half - 1))
    found: NDArray[np.int64] = one_way + half * (distance > 0)
    found.flags.writeable = False
    return found


@functools.lru_cache(maxsize=64)
def bucket_table(seq_len: int, buckets: int) -> NDArray[np.int64]:
    """The bucket of every pair of tokens: (seq_len who looks, seq_len who is looked at)."""
    place = np.arange(seq_len)
    distance = place[None, :] - place[:, None]
    found: NDArray[np.int64] = distance_buckets(seq_len, buckets)[distance + seq_len - 1]
    found.flags.writeable = False
    return found
