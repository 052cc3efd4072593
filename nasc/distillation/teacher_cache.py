"""Batches of a distillation, with what the teacher says of them.

The teacher's pass takes about half of a step, since it is larger than who learns from it. So
batches are seen several times in a window that slides over the text, and the teacher's states, or
its vectors where those are enough, are kept from the first time on
(benchmarks/training/distill_recipes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasc.data.tokens import Batch
from nasc.supernet.batches import TrainBatches

LEAST_BATCHES = 128
"""No batch is seen twice before so many were seen once, where there are as many."""

MOST_BYTES = 1_000_000_000
"""States that are kept at a time, about; they decide how long a window is."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which batch of the text makes a step.

    Attributes:
        steps: Of the training.
        passes: How often each batch is seen. A text of fewer batches than that takes is seen
            more often where it fits into one window.
        window: Batches of which the teacher's states are kept at a time.
        available: Batches that the text makes.
        seed: Of the order in which batches come again.
    """

    steps: int
    passes: int
    window: int
    available: int
    seed: int

    @property
    def _span(self) -> int:
        """Steps that a full window takes."""
        return self.steps if self.available <= self.window else self.window * self.passes

    def _distinct(self, steps: int) -> int:
        """Batches of a window that takes so many steps."""
        wanted = max(-(-steps // self.passes), min(steps, LEAST_BATCHES))
        return min(wanted, self.window, self.available)

    @property
    def teacher_calls(self) -> int:
        """How often the teacher is asked."""
        full, rest = divmod(self.steps, max(1, self._span))
        return full * self._distinct(self._span) + self._distinct(rest)

    def at(self, step: int) -> tuple[int, int, bool]:
        """Number of a step's window, its batch, and whether that may come again in the window."""
        number, place = divmod(step, self._span)
        steps = min(self._span, self.steps - number * self._span)
        distinct = self._distinct(steps)
        turn, index = divmod(place, distinct)
        if turn > 0:
            generator = torch.Generator().manual_seed((self.seed << 32) + number * steps + turn)
            index = int(torch.randperm(distinct, generator=generator)[index])
        return number, number * self.window + index, distinct < steps


@dataclass(slots=True)
class TeacherBatches:
    """The batch of every step with what the teacher says of it; both depend on seed and step alone.

    Attributes:
        batches: The text.
        schedule: Which of them makes a step.
        ask: The teacher's states (batch, seq_len, hidden) or vectors (batch, size) of a batch.
    """

    batches: TrainBatches
    schedule: Schedule
    ask: Callable[[Batch], Tensor]
    _kept: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _number: int = field(default=0, init=False, repr=False)

    def at(self, step: int) -> tuple[Batch, Tensor]:
        """Batch and target of a step."""
        number, index, again = self.schedule.at(step)
        if number != self._number:
            self._kept.clear()
            self._number = number
        batch = self.batches.at(index)
        if index in self._kept:
            return batch, self._kept[index].float()
        # Rounded the first time too, so that a run that was killed goes on as it would have.
        found = self.ask(batch).half()
        if again:
            self._kept[index] = found
        return batch, found.float()


def window_of(numbers: float) -> int:
    """Batches of which the teacher's words, so many numbers a batch, take `MOST_BYTES` in half."""
    return max(LEAST_BATCHES, int(MOST_BYTES / (2 * numbers)))
