"""Cosine similarities between the vectors of texts, a block of them at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK_VALUES = 1 << 22
"""Similarities that are held at once: 32 MB."""

DECIMALS = 6
"""Similarities that differ by less are ties: float32 vectors know them no better."""


def unit_vectors(vectors: NDArray[np.floating], whose: str) -> Floats:
    """Vectors scaled to length 1: (n, hidden) as they are, in float64.

    Args:
        vectors: (n, hidden).
        whose: For the message.

    Raises:
        ValueError: If a vector is zero or holds values that are no number.
    """
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of the {whose} vectors are zero or no numbers, the first is row {bad[0]}"
        )
    return np.asarray(wide / lengths)


def similarity_blocks(queries: Floats, documents: Floats) -> Iterator[tuple[slice, Floats]]:
    """Cosines of queries and documents, to `DECIMALS` places.

    Args:
        queries: (queries, hidden), of length 1.
        documents: (documents, hidden), of length 1.

    Yields:
        Rows of the queries, and (rows, documents) similarities.
    """
    size = max(BLOCK_VALUES // max(len(documents), 1), 1)
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        yield rows, np.round(queries[rows] @ documents.T, DECIMALS)
