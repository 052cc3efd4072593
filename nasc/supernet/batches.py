"""Training batches in an order that can be resumed anywhere.

Which sentences make the batch of a step depends on the seed and the step alone: a run that
was killed goes on exactly where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from nasc.data.tokens import Batch, Tokens
from nasc.errors import UsageError

CALIBRATION_SENTENCES = 256
"""Sentences that candidates are initialised on."""

_EPOCH_SEEDS = 1_000_003
"""A prime: seeds of epochs of runs with neighbouring seeds do not meet soon."""


class Batches(Protocol):
    """Batches of a training: which text makes that of a step depends on seed and step alone."""

    def calibration(self) -> Batch:
        """Some of the text, the same in every run."""
        ...

    def at(self, step: int) -> Batch:
        """The batch of one step."""
        ...


@dataclass(slots=True)
class TrainBatches:
    """Endless seeded batches of similar length.

    Attributes:
        tokens: The text.
        batch_size: Sentences in a batch.
        seed: Of the order.
    """

    tokens: Tokens
    batch_size: int
    seed: int
    _epoch: int = field(default=-1, init=False, repr=False)
    _order: list[torch.Tensor] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch size must be >= 1, got {self.batch_size}")

    @property
    def per_epoch(self) -> int:
        """Batches that the text makes."""
        return -(-len(self.tokens) // self.batch_size)

    def calibration(self) -> Batch:
        """Some of the text, the same in every run."""
        return self.tokens.batch(range(min(CALIBRATION_SENTENCES, len(self.tokens))))

    def at(self, step: int) -> Batch:
        """The batch of one step; every epoch has an order of its own."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * _EPOCH_SEEDS + epoch)
            self._order = self.tokens.buckets(self.batch_size, generator=generator)
            self._epoch = epoch
        return self.tokens.batch(self._order[place])
