"""Progressive shrinking at the paper's scale, with made-up losses: time and memory on one core.

97,650 sub-architectures in each of 4 blocks, 10 bins, samples of 2,000, until 10 are left in each
bin. What is left out is the evaluation of networks: losses are random numbers that do not change.

    OMP_NUM_THREADS=1 python benchmarks/training/shrink_scale.py > shrink_scale.json
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np

from nasc.architecture.layers import Layer, layer_macs
from nasc.architecture.space import PRESETS
from nasc.supernet.candidates import candidates_of
from nasc.supernet.shrink import ShrinkConfig, Shrinking, shrink

LIMIT_S, LIMIT_BYTES = 600, 4e9


def run(unit: str, seed: int) -> dict[str, object]:
    space = PRESETS["nas-bert"]
    config = ShrinkConfig(unit=unit)
    begin = time.perf_counter()

    def latency_ms(layer: Layer) -> float:
        return layer_macs(layer, space.geometry, 128) / 1e8 + 0.01

    state = Shrinking.begin(candidates_of(space, latency_ms, config.bins), space.n_blocks)
    prepared_s = time.perf_counter() - begin
    losses = np.random.default_rng(seed).random(state.loss.shape)
    first = [state.left(p).tolist() for p in range(state.positions)]
    evaluated = 0

    def evaluate(position: int, chosen: np.ndarray) -> np.ndarray:
        nonlocal evaluated
        evaluated += len(chosen)
        return np.asarray(losses[position, chosen])

    begin = time.perf_counter()
    while not state.is_done(config):
        shrink(state, config, evaluate, np.random.default_rng((seed, state.rounds)))
        print(f"{unit}: round {state.rounds}, {state.alive.sum():,} left", file=sys.stderr)
    return {
        "unit": unit,
        "candidates": state.alive.shape[1],
        "in_bins_at_first": first[0],
        "left": [state.left(p).tolist() for p in range(state.positions)],
        "rounds": state.rounds,
        "evaluations": evaluated,
        "prepare_s": round(prepared_s, 1),
        "shrink_s": round(time.perf_counter() - begin, 1),
    }


PAPERS = ["architectures", "operations"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unit", nargs="+", choices=PAPERS, default=PAPERS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    runs = [run(unit, arguments.seed) for unit in arguments.unit]
    seconds = time.perf_counter() - begin
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    met = (
        all(float(str(r["prepare_s"])) + float(str(r["shrink_s"])) < LIMIT_S for r in runs)
        and peak < LIMIT_BYTES
    )
    found = {"benchmark": "shrink_scale", "runs": runs, "seconds": round(seconds, 1)}
    print(json.dumps(found | {"peak_bytes": peak, "targets_met": met}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
