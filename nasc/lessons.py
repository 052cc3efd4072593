"""Batches of a distillation, with what the teacher says of them.

The teacher's pass takes about half of a step, since it is larger than who learns from it. So every
batch is seen several times, and the teacher's states are kept from the first time on
(benchmarks/distill_recipes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasc.supernet.batches import TrainBatches
from nasc.tokens import Batch

LEAST_BATCHES = 128
"""No batch is seen twice before so many were seen once."""

MOST_BYTES = 1_000_000_000
"""States that are kept; those of further batches are worked out again."""

_PASS_SEEDS = 1_000_003  # a prime, as that of epochs


def distinct_batches(steps: int, passes: int) -> int:
    """How many batches the steps of a training see, each about `passes` times."""
    return min(steps, max(-(-steps // passes), LEAST_BATCHES))


@dataclass(slots=True)
class Lessons:
    """The batch of every step with the teacher's states; it depends on seed and step alone.

    Attributes:
        batches: The text.
        count: Batches that are seen, the first of the text; all of them where it has fewer.
        states: The teacher's, (batch, seq_len, hidden), of a batch.
    """

    batches: TrainBatches
    count: int
    states: Callable[[Batch], Tensor]
    _kept: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _bytes: int = field(default=0, init=False, repr=False)
    _turn: int = field(default=0, init=False, repr=False)
    _order: list[int] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self.count = max(1, min(self.count, self.batches.per_epoch))

    def at(self, step: int) -> tuple[Batch, Tensor]:
        """Batch and states of a step: in the text's order first, then in other orders."""
        index = self._index(step)
        batch = self.batches.at(index)
        if index in self._kept:
            return batch, self._kept[index].float()
        # Rounded the first time too, so that a run that was killed goes on as it would have.
        found = self.states(batch).half()
        if self._bytes + found.nbytes <= MOST_BYTES:
            self._kept[index] = found
            self._bytes += found.nbytes
        return batch, found.float()

    def _index(self, step: int) -> int:
        turn, place = divmod(step, self.count)
        if turn == 0:
            return place
        if turn != self._turn:
            generator = torch.Generator().manual_seed(self.batches.seed * _PASS_SEEDS + turn)
            self._order = torch.randperm(self.count, generator=generator).tolist()
            self._turn = turn
        return self._order[place]
