"""Blocks in numbers: sizes, counts of operations and the order of their texts."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.space import OPERATIONS, Block
from nasc.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_CODE = {name: code for code, name in enumerate(OPERATIONS)}


@dataclass(frozen=True, slots=True, eq=False)
class BlockCodes:
    """What the search needs to know of a tuple of n blocks.

    Blocks with the same hidden size and the same operations in any order cost the same;
    they are of one kind. There are m kinds.

    Attributes:
        rank: (n,) position of each block in the order of texts.
        kind: (n,) index of each block's kind.
        kind_hidden: (m,) hidden size.
        kind_counts: (m, operations) how often each of `OPERATIONS` occurs.
    """

    rank: Ints
    kind: Ints
    kind_hidden: Ints
    kind_counts: Ints


@functools.lru_cache(maxsize=32)
def block_codes(blocks: tuple[Block, ...]) -> BlockCodes:
    """Number a tuple of distinct blocks; remembered, as positions often share one tuple.

    Raises:
        UsageError: If a block occurs twice.
    """
    n = len(blocks)
    texts = [str(block) for block in blocks]
    order = sorted(range(n), key=lambda i: (texts[i], blocks[i]))
    for before, after in itertools.pairwise(order):
        if blocks[before] == blocks[after]:
            raise UsageError(f"scored blocks: block '{blocks[after]}' is listed twice")
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)

    lengths = np.fromiter((len(b.operations) for b in blocks), np.int64, n)
    total = int(lengths.sum())
    codes = np.fromiter((_CODE[o] for b in blocks for o in b.operations), np.int64, total)
    width = len(OPERATIONS)
    cells = np.repeat(np.arange(n), lengths) * width + codes
    counts = np.bincount(cells, minlength=n * width).reshape(n, width)
    hidden = np.fromiter((b.hidden for b in blocks), np.int64, n)
    table = np.column_stack([hidden, counts]).astype(np.int64)
    kinds, kind = np.unique(table, axis=0, return_inverse=True)
    return BlockCodes(rank, kind.reshape(-1).astype(np.int64), kinds[:, 0], kinds[:, 1:])
