"""Exact search for the best network under limits. Takes data and callables; no device."""

from nasc.search.certificate import Certificate, LimitReport, Part
from nasc.search.frontier import front, solve
from nasc.search.problem import CostModel, Limits, Problem, ScoredBlocks, Solution
from nasc.search.select import Ranked, select

__all__ = [
    "Certificate",
    "CostModel",
    "LimitReport",
    "Limits",
    "Part",
    "Problem",
    "Ranked",
    "ScoredBlocks",
    "Solution",
    "front",
    "select",
    "solve",
]
