"""Vectors of many texts, a block at a time, so that work is seen and memory bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nasc.utils.progress import Progress

BLOCK = 256
"""Texts whose tokens are held at once."""

Encode = Callable[[list[str]], NDArray[np.floating]]
"""Gives the vectors (texts, hidden) of texts, in their order."""


def encode_blocks(
    encode: Encode, texts: Sequence[str], progress: Progress | None = None
) -> NDArray[np.float32]:
    """Vectors of texts, blocks of about the same length together, the shortest first.

    Args:
        encode: Of a model; it batches a block by length itself.
        texts: At least one.
        progress: Told of texts that are done.

    Returns:
        (texts, hidden), in the order of the texts.

    Raises:
        ValueError: If there is no text, or a block gives another number of vectors.
    """
    if not texts:
        raise ValueError("no texts to encode")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: NDArray[np.float32] | None = None
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        vectors = encode([texts[i] for i in rows])
        if len(vectors) != len(rows):
            raise ValueError(f"{len(rows)} texts gave {len(vectors)} vectors")
        if found is None:
            found = np.empty((len(texts), vectors.shape[1]), np.float32)
        found[rows] = vectors
        if progress is not None:
            progress(start + len(rows), len(order), "texts")
    assert found is not None
    return found
