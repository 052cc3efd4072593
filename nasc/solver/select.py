"""The k best by predicted loss, ranked again by the loss of the complete networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nasc.errors import UsageError
from nasc.solver.problem import Solution


@dataclass(frozen=True, slots=True)
class Ranked:
    """A network with its predicted and its true loss.

    Attributes:
        solution: As the search found it.
        true_loss: Loss of the complete network.
        predicted_rank: Its place in the search's order, from 0.
    """

    solution: Solution
    true_loss: float
    predicted_rank: int


def select(candidates: Iterable[Solution], true_loss: Callable[[Solution], float]) -> list[Ranked]:
    """Rank networks by their true loss (NAS-BERT, Section 3.3: the top T, then the best).

    Args:
        candidates: The search's k best, in its order.
        true_loss: Loss of a complete network; called once for each, in order.

    Returns:
        The best first; of equal ones the better predicted first.

    Raises:
        UsageError: If there are no candidates.
        ValueError: If a true loss is not a number, which is a bug of `true_loss`.
    """
    ranked = []
    for place, solution in enumerate(candidates):
        loss = float(true_loss(solution))
        if math.isnan(loss):
            raise ValueError(f"the true loss of {solution.architecture} is not a number")
        ranked.append(Ranked(solution, loss, place))
    if not ranked:
        raise UsageError("select: no networks to rank")
    return sorted(ranked, key=lambda r: (r.true_loss, r.predicted_rank))
