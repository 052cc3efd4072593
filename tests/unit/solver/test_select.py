"""Ranking by true loss."""

import pytest
from search_toy import random_problem

from nasc.errors import UsageError
from nasc.solver import Solution, select, solve


def test_the_true_loss_decides() -> None:
    found = solve(random_problem(7), 6)
    asked: list[Solution] = []

    def true_loss(solution: Solution) -> float:
        asked.append(solution)
        return [3.0, 1.0, 2.0, 1.0, 9.0, 0.5][len(asked) - 1]

    ranked = select(found, true_loss)
    assert asked == found
    assert [r.predicted_rank for r in ranked] == [5, 1, 3, 2, 0, 4]
    assert ranked[0].true_loss == 0.5
    assert ranked[0].solution is found[5]


def test_no_number_and_no_networks() -> None:
    with pytest.raises(UsageError, match="no networks"):
        select([], lambda _: 0.0)
    with pytest.raises(ValueError, match="is not a number"):
        select(solve(random_problem(7)), lambda _: float("nan"))
