"""Gate: the search has no gap to trying every network, on reduced spaces.

Every network of random parts of the presets is priced by plain addition over its layers,
under one to four limits; the k best and the whole front must be the same networks, in the same
runtimes and precisions.

    python benchmarks/search/search_exact.py > search_exact.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys

import numpy as np
from search_synthetic import ONE_RUNTIME, limits_between, synthetic

from nasc.architecture.layers import layers
from nasc.architecture.space import PRESETS, Architecture
from nasc.architecture.variant import Variant
from nasc.errors import InfeasibleLimits
from nasc.solver import Limits, Problem, front, solve

METRICS = ("latency_ms", "size_bytes", "params", "peak_memory_bytes")
PARTS = {"minilm-l6": 24, "nas-bert": 9}
VARIANTS = (*ONE_RUNTIME, Variant("openvino", "fp32"), Variant("openvino", "bf16"))
LIMITED = (("latency_ms",), ("latency_ms", "size_bytes"), ("params", "peak_memory_bytes"), METRICS)

Network = tuple[Architecture, Variant]


def every_network(problem: Problem) -> tuple[list[Network], np.ndarray, np.ndarray]:
    """Networks (n) in the order of the search, their losses (n,) and upper ends (n, 4)."""
    names: list[Network] = []
    losses, uppers = [], []
    for variant, term in problem.variants.items():
        model, constant = problem.costs, problem.costs.constant(variant)
        for choice in itertools.product(*(range(len(s.blocks)) for s in problem.positions)):
            picked = list(zip(problem.positions, choice, strict=True))
            architecture = Architecture(tuple(s.blocks[i] for s, i in picked), variant.precision)
            network = layers(architecture, problem.geometry, problem.head)
            rows = [model.layer(layer, variant) for layer in network]
            total = {m: constant[m] + sum(row[m] for row in rows) for m in model.metrics}
            total["latency_ms"] = max(total["latency_ms"], total["streaming_latency_ms"])
            live = max(model.activation_bytes(layer, variant) for layer in network)
            total["peak_memory_bytes"] = total["weight_bytes"] + live
            names.append((architecture, variant))
            losses.append(term + sum(float(s.loss[i]) for s, i in picked))
            uppers.append([model.upper(m, total[m], variant) for m in METRICS])

    def order(i: int) -> tuple[float, tuple[str, ...], str, float, str]:
        architecture, variant = names[i]
        texts = tuple(map(str, architecture.blocks))
        return losses[i], texts, variant.precision, uppers[i][0], variant.runtime

    ranked = sorted(range(len(names)), key=order)
    return [names[i] for i in ranked], np.array(losses)[ranked], np.array(uppers)[ranked]


def check(space: str, seed: int, ks: tuple[int, ...]) -> dict[str, int]:
    """Compares all queries on one reduced space."""
    rng = np.random.default_rng(seed)
    blocks = list(PRESETS[space].blocks())
    part = [blocks[i] for i in rng.choice(len(blocks), PARTS[space], replace=False)]
    if PRESETS[space].keep:
        part = list(dict.fromkeys([PRESETS[space].kept_block, *part]))
    problem = synthetic(PRESETS[space], VARIANTS, seed, tuple(part))
    names, losses, uppers = every_network(problem)
    counts = {"networks": len(names), "queries": 0, "gaps": 0, "infeasible": 0}
    for limited in LIMITED:
        for tightness in (0.02, 0.1, 0.3, 0.7):
            share = {m: float(tightness * rng.uniform(0.5, 1.5)) for m in limited}
            limits = limits_between(problem, share)
            # half of the limits are met exactly by some network
            if rng.random() < 0.5:
                near = {m: np.sort(uppers[:, METRICS.index(m)]) for m in limited}
                place = {m: np.searchsorted(near[m], v) for m, v in limits.given().items()}
                limits = Limits(
                    **{m: float(near[m][min(i, len(names) - 1)]) for m, i in place.items()}
                )
            columns = [METRICS.index(m) for m in limits.given()]
            met = (uppers[:, columns] <= list(limits.given().values())).all(axis=1)
            order = np.flatnonzero(met)
            asked = problem.with_limits(limits)
            for k in ks:
                counts["queries"] += 1
                try:
                    found = [(s.architecture, s.variant) for s in solve(asked, k)]
                except InfeasibleLimits:
                    found = []
                counts["gaps"] += found != [names[i] for i in order[:k]]
            counts["infeasible"] += not len(order)
            by_latency = order[np.argsort(uppers[order, 0], kind="stable")]
            expected: list[int] = []
            for i in by_latency.tolist():
                if not expected or losses[i] < losses[expected[-1]]:
                    expected.append(i)
            counts["queries"] += 1
            try:
                found = [(s.architecture, s.variant) for s in front(asked)]
            except InfeasibleLimits:
                found = []
            counts["gaps"] += found != [names[i] for i in expected]
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="reduced spaces of each preset")
    seeds = parser.parse_args().seeds
    ks = (1, 10, 100)
    results = {}
    for space in PARTS:
        each = [check(space, seed, ks) for seed in range(seeds)]
        results[space] = {name: sum(c[name] for c in each) for name in each[0]}
        print(f"{space}: {results[space]}", file=sys.stderr)
    gaps = sum(r["gaps"] for r in results.values())
    print(json.dumps({"benchmark": "search_exact", "k": ks, "gate_met": gaps == 0, **results}))
    return int(gaps > 0)


if __name__ == "__main__":
    sys.exit(main())
