"""An independent judge of stated latencies: plain onnxruntime, nothing of nasc.

Every package's model is run by onnxruntime alone, with random tokens of the batch and length that
its manifest states, in three ways; wall time, disturbances included:

- alone: in fresh processes that run nothing else, a second each, spread over the time that all
  packages take, since a shared machine is slow for minutes at a time;
- interleaved: in one process with all others, in turn, so that all see the same machine; each runs
  for 20 ms in a row, its caches warm;
- first: the run before these, just after another model, its caches cold.

Printed are the fast tenth and the median of each, and the share of packages whose stated upper
bound covers them. A stated latency is one of warm caches: the first run is there to be looked at.

    python benchmarks/latency/judge.py PACKAGE... --seconds 60 > judge.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

WINDOW_S = 1.0
"""Of each process that runs one package alone, where nobody says otherwise."""
VISIT_S = 0.02
QUANTILES = (("p10", 0.1), ("p50", 0.5))


def session(package: Path) -> tuple[Any, dict[str, Any]]:
    """The model as an application loads it, and inputs as its manifest states them."""
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = manifest["conditions"]["threads"]
    options.inter_op_num_threads = 1
    found = onnxruntime.InferenceSession(
        str(package / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    shape = (manifest["conditions"]["batch"], manifest["conditions"]["seq_len"])
    rows = manifest["geometry"]["vocab_size"]
    ids = np.random.default_rng(0).integers(0, rows, shape, dtype=np.int64)
    return found, {"input_ids": ids, "attention_mask": np.ones(shape, np.int64)}


def runs_in_a_row(model: Any, inputs: dict[str, Any], seconds: float) -> list[float]:
    """Wall times in ms of runs until so many seconds are over; at least one."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        model.run(None, inputs)
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def run(packages: list[Path], seconds: float) -> list[list[list[float]]]:
    """By package the first runs of all visits, and the other runs; so many seconds for each."""
    loaded = [session(package) for package in packages]
    first: list[list[float]] = [[] for _ in packages]
    others: list[list[float]] = [[] for _ in packages]
    for model, inputs in loaded:
        model.run(None, inputs)  # allocates
    end = time.perf_counter() + seconds * len(packages)
    while time.perf_counter() < end:
        for index, (model, inputs) in enumerate(loaded):
            first[index] += runs_in_a_row(model, inputs, 0.0)
            others[index] += runs_in_a_row(model, inputs, VISIT_S)
    return [first, others]


def child(packages: list[Path], seconds: float) -> list[list[list[float]]]:
    """`run` in a fresh process."""
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds), *map(str, packages)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    times: list[list[list[float]]] = json.loads(found.stdout)
    return times


def alone(packages: list[Path], seconds: float, window_s: float) -> list[list[float]]:
    """Wall times of each in processes of its own, so long each, spread over the whole time."""
    times: list[list[float]] = [[] for _ in packages]
    windows = math.ceil(seconds / window_s)
    for number in range(windows):
        print(f"alone {number + 1}/{windows}", file=sys.stderr)
        for own, package in zip(times, packages, strict=True):
            own += child([package], window_s)[1][0]
    return times


def judge(packages: list[Path], seconds: float, window_s: float = WINDOW_S) -> dict[str, Any]:
    """All figures of all packages, see above."""
    found = {"alone": alone(packages, seconds, window_s)}
    print("interleaved", file=sys.stderr)
    found["first"], found["interleaved"] = child(packages, seconds)
    rows = []
    for index, package in enumerate(packages):
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        beside = package / "measurements.json"  # of packages before it, in the manifest
        about = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else manifest
        stated = about["measured"]
        rows.append(
            {
                "architecture": manifest["architecture"]["text"],
                "limit_ms": manifest["limits"].get("latency_ms"),
                "stated_ms": stated["latency_ms"],
                "upper_ms": stated["upper_ms"],
                **{
                    f"{how}_{name}_ms": float(np.quantile(times[index], share))
                    for how, times in found.items()
                    for name, share in QUANTILES
                },
                "runs": {how: len(times[index]) for how, times in found.items()},
            }
        )

    def over(name: str) -> list[float]:
        return [row[f"{name}_ms"] / row["stated_ms"] for row in rows]

    def covered(name: str) -> float:
        return float(np.mean([row[f"{name}_ms"] <= row["upper_ms"] for row in rows]))

    names = [f"{how}_{name}" for how in found for name, _ in QUANTILES]
    return {
        "benchmark": "judge",
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
        "seconds": seconds,
        "packages": rows,
        "covered": {name: covered(name) for name in names},
        "over_stated": {name: float(np.median(over(name))) for name in names},
    }


def machine() -> dict[str, Any]:
    """What the figures are of."""
    fields = {}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "amx_int8")
    return {
        "model": fields.get("model name", platform.processor()),
        "flags": [flag for flag in wanted if flag in flags],
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each package and way")
    parser.add_argument(
        "--window-seconds", type=float, default=WINDOW_S, help="of each process that runs one alone"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run(arguments.packages, arguments.seconds)))
        return
    found = judge(arguments.packages, arguments.seconds, arguments.window_seconds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
