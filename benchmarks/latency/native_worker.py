"""Do the native and the Python worker measure the same?

Networks of a search space are loaded in one process of each worker, which visit each of them in
turn, first one worker, then the other, in the next round the other way round. New processes take
their place again and again: where a process has its memory is worth a percent, and has nothing to
do with which worker it is.

Two visits that follow each other meet the same machine, so that they are compared: the least own
time of a visit's runs, native by Python. The ratio of a network is the median of its pairs of
visits. The ratio of low quantiles of all runs is printed beside it; on a machine whose speed moves
it needs many more rounds. Prints JSON.

    python benchmarks/latency/native_worker.py
    python benchmarks/latency/native_worker.py --pairs 2 --rounds 3 --networks 4  # a rehearsal
"""

from __future__ import annotations

import argparse
import json
import math
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
from nasc.latency.emission import VOCAB_ROWS
from nasc.latency.plan import random_architectures
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

Times = dict[str, list[tuple[float, ...]]]
"""Own times of the runs of each visit, in milliseconds, by network."""


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
    times[name].append(visit.own_ms)


def measure_pair(
    jobs: Sequence[profilers.ModelJob], options: profilers.RuntimeOptions, rounds: int, turn: int
) -> tuple[Times, Times]:
    """What a native and a Python worker find, visit by visit."""
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


def within(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] <= value <= bounds[1]


def log_ratios(native_ms: Times, python_ms: Times, name: str) -> list[float]:
    """Of each pair of visits of a network."""
    pairs = zip(native_ms[name], python_ms[name], strict=True)
    return [math.log(min(native) / min(python)) for native, python in pairs]


def low(times: Sequence[Times], name: str) -> float:
    """Low quantile of all runs of a network."""
    visits = [visit for one in times for visit in one[name]]
    return float(np.quantile(np.concatenate(visits), QUANTILE))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    device = find("host")
    session = MeasurementSession.on(
        device,
        cache_folder(arguments.cache),
        runtime="onnxruntime",
        say=lambda text: print(text, file=sys.stderr),
    )
    options = profilers.RuntimeOptions(threads=arguments.threads)
    found: list[tuple[Times, Times]] = []
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder, session.alone():
        jobs = build_jobs(session, arguments.precision, arguments.networks, Path(folder))
        for turn in range(arguments.pairs):
            print(f"processes {turn + 1} of {arguments.pairs}", file=sys.stderr)
            found.append(measure_pair(jobs, options, arguments.rounds, turn))
            loads.append(os.getloadavg()[0])
    names = [job.name for job in jobs]
    logs = {name: [log_ratios(*pair, name) for pair in found] for name in names}
    ratios = [math.exp(float(np.median(np.concatenate(logs[name])))) for name in names]
    native, python = zip(*found, strict=True)
    python_ms = [low(python, name) for name in names]
    quantiles = [low(native, name) / level for name, level in zip(names, python_ms, strict=True)]
    processes = [
        math.exp(float(np.mean([np.median(logs[name][index]) for name in names])))
        for index in range(arguments.pairs)
    ]
    mean = float(np.mean(ratios))
    return {
        "benchmark": "native_worker",
        "conditions": f"onnxruntime, {arguments.precision}, {arguments.threads} thread(s), "
        f"length {SEQ_LEN}, {arguments.pairs} pairs of processes, {arguments.rounds} rounds",
        "networks": len(jobs),
        "python_ms": [round(min(python_ms), 3), round(max(python_ms), 3)],
        "mean_ratio": round(mean, 4),
        "range": [round(min(ratios), 4), round(max(ratios), 4)],
        "mean_ratio_by_pair_of_processes": [round(one, 4) for one in processes],
        "mean_ratio_of_low_quantiles": round(float(np.mean(quantiles)), 4),
        "ratios": [round(one, 4) for one in ratios],
        "load": [round(one, 2) for one in loads],
        "targets_met": within(MEAN, mean) and all(within(EACH, one) for one in ratios),
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
