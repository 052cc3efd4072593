"""The exact search beside the paper's enumeration and an evolutionary search.

* Enumeration (NAS-BERT, Section 3.3): m * B = 100 blocks a position, all combinations in a
  table, filtered by the limits. The at most 100 are the m = 10 best in each of B = 10 bins
  of parameters and latency, as the paper's shrinking (Section 3.2.2) would leave them at
  best: it samples. The same prices.
* Evolution (as in HAT, Wang et al., ACL 2020, Section 3.2): population 125, 25 parents, 50
  mutations at probability 0.3 and 50 crossings, 30 rounds, over the whole space.

Gaps are predicted losses over the exact minimum's, in percent, at the same limit.

    OMP_NUM_THREADS=1 python benchmarks/search/search_baselines.py > search_baselines.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time

import numpy as np
from search_synthetic import ONE_RUNTIME, limits_between, synthetic

from nasc.architecture.space import PRESETS
from nasc.architecture.variant import Variant
from nasc.errors import InfeasibleLimits
from nasc.solver import Limits, Problem, ScoredBlocks, enumerate_best, solve
from nasc.solver.chain import Chain
from nasc.solver.costs import LOSS, price
from nasc.solver.enumerate import rows_of
from nasc.supernet.candidates import assign_bins

BINS, LEFT, TOP = 10, 10, 100


def chains(problem: Problem) -> list[Chain]:
    """Loss, latency and parameters in numbers, per variant."""
    columns = ("latency_ms", "params", "streaming_latency_ms")
    return [price(problem, variant).chain(LOSS, columns) for variant in problem.variants]


def totals(chain: Chain, picks: np.ndarray) -> np.ndarray:
    """(n, 3) loss, latency and parameters of networks (n, positions).

    A latency is the larger of two sums.
    """
    size = np.full(len(picks), chain.start_size)
    total = np.tile(chain.start_values, (len(picks), 1))
    for position, options in enumerate(chain.options):
        pick = picks[:, position]
        total += chain.border_values[size, options.size[pick]] + options.values[pick]
        size = options.size[pick]
    total += chain.end_values[size]
    return np.column_stack([total[:, 0], total[:, [1, 3]].max(axis=1), total[:, 2]])


def upper(problem: Problem, variant: Variant, latency: np.ndarray) -> np.ndarray:
    """Upper ends, which are linear in the synthetic prices."""
    low, high = (problem.costs.upper("latency_ms", v, variant) for v in (0.0, 1.0))
    return low + (high - low) * latency


def shrunk(problem: Problem) -> Problem:
    """Per position the m best candidates in each bin of parameters and latency."""
    positions = []
    for scored, options in zip(problem.positions, chains(problem)[0].options, strict=True):
        bins = assign_bins(options.values[:, 2].astype(np.int64), options.values[:, 1], BINS)
        in_bin = [np.flatnonzero(bins == b) for b in range(BINS)]
        left = np.concatenate([b[np.argsort(scored.loss[b], kind="stable")[:LEFT]] for b in in_bin])
        blocks = tuple(scored.blocks[i] for i in left)
        positions.append(ScoredBlocks(blocks, scored.loss[left]))
    return dataclasses.replace(problem, positions=tuple(positions))


def enumerated(problem: Problem) -> float:
    """Least loss in the paper's table; infinity where it holds nothing within the limits."""
    try:
        return enumerate_best(problem, TOP)[0].predicted_loss
    except InfeasibleLimits:
        return np.inf


def evolve(problem: Problem, limit: Limits, rng: np.random.Generator) -> tuple[float, int]:
    """Least loss found, and how many networks were priced."""
    priced = list(zip(problem.variants, chains(problem), strict=True))
    n = np.array([len(options.rank) for options in priced[0][1].options])
    evaluated = 0

    def score(genes: np.ndarray) -> np.ndarray:
        nonlocal evaluated
        evaluated += len(genes)
        loss = np.full(len(genes), np.inf)
        for i, (variant, chain) in enumerate(priced):
            own = np.flatnonzero(genes[:, -1] == i)
            total = totals(chain, genes[own, :-1])
            met = upper(problem, variant, total[:, 1]) <= (limit.latency_ms or np.inf)
            loss[own] = np.where(met, total[:, 0], np.inf)
        return loss

    def drawn(count: int) -> np.ndarray:
        picks = rng.integers(0, n, (count, len(n)))
        return np.column_stack([picks, rng.integers(0, len(priced), count)])

    people, loss = np.zeros((0, len(n) + 1), np.int64), np.zeros(0)
    for _ in range(200):  # bounded: tight limits leave fewer than a population
        more = drawn(2000)
        value = score(more)
        fits = np.isfinite(value)
        people = np.concatenate([people, more[fits]])[:125]
        loss = np.concatenate([loss, value[fits]])[:125]
        if len(people) == 125:
            break
    if not len(people):
        return np.inf, evaluated
    for _ in range(30):
        parents = people[np.argsort(loss, kind="stable")[:25]]
        mutants = parents[rng.integers(0, len(parents), 50)]
        mutants = np.where(rng.random(mutants.shape) < 0.3, drawn(50), mutants)
        one, two = (parents[rng.integers(0, len(parents), 50)] for _ in range(2))
        crossed = np.where(rng.random(one.shape) < 0.5, one, two)
        people = np.concatenate([parents, mutants, crossed])
        loss = score(people)
    return float(loss.min()), evaluated


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", nargs="*", default=["minilm-l6", "nas-bert"])
    parser.add_argument("--seeds", type=int, default=5, help="evolutionary runs at each limit")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.space:
        problem = synthetic(PRESETS[name], ONE_RUNTIME[: 2 if name == "minilm-l6" else 1])
        shares = (0.01, 0.03, 0.1, 0.3)
        limits = [limits_between(problem, {"latency_ms": s}) for s in shares]
        table = shrunk(problem)
        cells = []
        for limit in limits:
            begin = time.perf_counter()
            listed = enumerated(table.with_limits(limit))
            listed_s = time.perf_counter() - begin
            begin = time.perf_counter()
            exact = solve(problem.with_limits(limit))[0].predicted_loss
            exact_s = time.perf_counter() - begin
            begin = time.perf_counter()
            runs = [
                evolve(problem, limit, np.random.default_rng(seed))
                for seed in range(arguments.seeds)
            ]
            evolve_s = (time.perf_counter() - begin) / len(runs)
            gaps = [100 * (loss / exact - 1) for loss, _ in runs]
            cells.append(
                {
                    "latency_ms": round(limit.latency_ms or 0, 4),
                    "exact_loss": exact,
                    "exact_s": round(exact_s, 3),
                    "enumeration_gap_percent": _number(100 * (listed / exact - 1)),
                    "enumeration_s": round(listed_s, 2),
                    "evolution_gap_percent": [_number(g) for g in gaps],
                    "evolution_s": round(evolve_s, 3),
                    "evolution_networks": int(np.mean([count for _, count in runs])),
                }
            )
            print(cells[-1], file=sys.stderr)
        results[name] = {
            "enumeration_rows": rows_of(table),
            "limits": cells,
        }
    print(json.dumps({"benchmark": "search_baselines", **results}))
    return 0


def _number(value: float) -> float | None:
    """None where nothing within the limit was found."""
    return round(float(value), 3) if np.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
