"""Order of examples in which those of a batch are of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL = 50
"""Batches out of which examples are sorted together (that of transformers' own sampler)."""


class ByLength(Sampler[int]):
    """Random batches, each of examples of similar length; another order in each epoch.

    Little is padding then. transformers' LengthGroupedSampler takes the batches of a pool from
    long to short, and forgets its order when a run is resumed.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """Lengths in tokens, in the order of the examples."""
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next; accelerate calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self._epoch + self._seed)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        size = self._batch_size
        batches = []
        for start in range(0, len(order), POOL * size):
            pool = sorted(order[start : start + POOL * size], key=self._lengths.__getitem__)
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        full = [batch for batch in batches if len(batch) == size]
        for i in torch.randperm(len(full), generator=generator).tolist():
            yield from full[i]
        for batch in batches:  # at most one of each pool's end is not full: only the last pool's
            if len(batch) < size:
                yield from batch
