"""Do the native and the Python worker measure the same?

Networks of a search space are loaded in one process of each worker, which visit each of them in
turn, first one worker, then the other, in the next round the other way round. New processes take
their place again and again: where a process has its memory is worth a percent, and has nothing to
do with which worker it is.

Of each network and pair of processes the low quantiles of the runs' own times are compared; the
ratio of a network (native by Python) is the geometric mean over the pairs. Prints JSON.

    python benchmarks/latency/native_worker.py
    python benchmarks/latency/native_worker.py --pairs 2 --rounds 3 --networks 4  # a rehearsal
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import profilers
from device_profiles import find
from nasc.architecture.space import PRESETS
from nasc.errors import NascError
from nasc.latency.plan import random_architectures
from nasc.latency.profile import VOCAB_ROWS
from nasc.latency.session import MeasurementSession, latency_job
from nasc.networks.network import random_network
from nasc.utils.files import cache_folder
from profilers.devices.client import WorkerClient
from profilers.devices.local import LocalWorker
from profilers.devices.native import NativeWorker
from profilers.samples import Step

SEQ_LEN = 128
SPACE = PRESETS["minilm-l6"]
SEED = 19
WARMUP, RUNS = 2, 4
QUANTILE = 0.1

MEAN = (0.98, 1.02)
EACH = (0.95, 1.05)
"""Where the mean ratio and that of every network are to lie."""

Times = dict[str, list[float]]


def build_jobs(
    session: MeasurementSession, precision: str, count: int, folder: Path
) -> list[profilers.ModelJob]:
    rng = np.random.default_rng(SEED)
    jobs = []
    for index, architecture in enumerate(random_architectures(SPACE, rng, count, precision)):
        network = random_network(architecture, SPACE.geometry, "embed", vocab_rows=VOCAB_ROWS)
        path = session.lower(network, folder, str(index)).path
        jobs.append(latency_job(str(index), path, SEQ_LEN, 1, VOCAB_ROWS))
    return jobs


def visited(worker: WorkerClient, name: str, times: Times) -> None:
    (visit,) = worker.visit([Step(name, WARMUP, RUNS)])
    times[name] += visit.own_ms


def measure_pair(
    jobs: Sequence[profilers.ModelJob], options: profilers.RuntimeOptions, rounds: int, turn: int
) -> tuple[Times, Times]:
    """Own times of all runs by network, in a native worker and in a Python worker."""
    native_ms: Times = {job.name: [] for job in jobs}
    python_ms: Times = {job.name: [] for job in jobs}
    with NativeWorker(options) as native, LocalWorker(options) as python:
        for job in jobs:
            native.load(job, seed=0)
            python.load(job, seed=0)
        pair = [(native, native_ms), (python, python_ms)]
        for index in range(rounds):
            for job in jobs:
                for worker, times in pair if (index + turn) % 2 else pair[::-1]:
                    visited(worker, job.name, times)
    return native_ms, python_ms


def ratio(native_ms: Sequence[float], python_ms: Sequence[float]) -> float:
    return float(np.quantile(native_ms, QUANTILE) / np.quantile(python_ms, QUANTILE))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    device = find("host")
    session = MeasurementSession.on(
        device,
        cache_folder(arguments.cache),
        runtime="onnxruntime",
        say=lambda text: print(text, file=sys.stderr),
    )
    options = profilers.RuntimeOptions(threads=arguments.threads)
    logs: list[list[float]] = []
    level_ms: list[float] = []
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder, session.alone():
        jobs = build_jobs(session, arguments.precision, arguments.networks, Path(folder))
        for turn in range(arguments.pairs):
            print(f"processes {turn + 1} of {arguments.pairs}", file=sys.stderr)
            native_ms, python_ms = measure_pair(jobs, options, arguments.rounds, turn)
            logs.append([np.log(ratio(native_ms[job.name], python_ms[job.name])) for job in jobs])
            level_ms = [float(np.quantile(python_ms[job.name], QUANTILE)) for job in jobs]
            loads.append(os.getloadavg()[0])
    ratios = np.exp(np.mean(logs, axis=0))
    spread = float(np.std(logs, axis=0, ddof=1).mean()) if arguments.pairs > 1 else None
    mean, least, most = (float(x) for x in (ratios.mean(), ratios.min(), ratios.max()))
    return {
        "benchmark": "native_worker",
        "conditions": f"onnxruntime, {arguments.precision}, {arguments.threads} thread(s), "
        f"length {SEQ_LEN}, {arguments.pairs} pairs of processes, {arguments.rounds} rounds",
        "networks": len(jobs),
        "python_ms": [round(min(level_ms), 3), round(max(level_ms), 3)],
        "mean_ratio": round(mean, 4),
        "least_ratio": round(least, 4),
        "largest_ratio": round(most, 4),
        "spread_between_processes": spread,
        "ratios": [round(float(one), 4) for one in ratios],
        "load": [round(one, 2) for one in loads],
        "targets_met": MEAN[0] <= mean <= MEAN[1] and EACH[0] <= least and most <= EACH[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, default=20, help="default: 20")
    parser.add_argument("--pairs", type=int, default=5, help="of processes; default: 5")
    parser.add_argument("--rounds", type=int, default=6, help="of a pair; default: 6")
    parser.add_argument("--cache", type=Path, help="default: the user's")
    arguments = parser.parse_args()
    try:
        found = run(arguments)
    except (NascError, profilers.ProfilerError) as error:
        sys.exit(str(error))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
