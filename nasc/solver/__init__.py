"""Exact search for the best network under limits. Takes data and callables; no device."""

from nasc.solver.certificate import Certificate, LimitReport, Part
from nasc.solver.enumerate import enumerate_best
from nasc.solver.frontier import front, solve
from nasc.solver.problem import CostModel, Limits, Problem, ScoredBlocks, Solution
from nasc.solver.select import Ranked, select

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
    "enumerate_best",
    "front",
    "select",
    "solve",
]
