"""An independent judge of stated latencies: plain onnxruntime, nothing of nasc.

Every package's model is run by onnxruntime alone, with random tokens of the batch and length that
its manifest states: *alone*, in a fresh process that runs nothing else, and *interleaved* with the
others in one process, run by run. Wall time, disturbances included. Printed are the fast tenth and
the median of each, and the share of packages whose stated upper bound covers them.

    python benchmarks/judge.py PACKAGE... --seconds 60 > judge.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


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


def run(packages: list[Path], seconds: float) -> list[list[float]]:
    """Wall times in ms: so many seconds for each package, one run of each in turn."""
    loaded = [session(package) for package in packages]
    times: list[list[float]] = [[] for _ in packages]
    end = time.perf_counter() + seconds * len(packages)
    while time.perf_counter() < end:
        for (model, inputs), own in zip(loaded, times, strict=True):
            begin = time.perf_counter()
            model.run(None, inputs)
            own.append(1e3 * (time.perf_counter() - begin))
    return [own[1:] for own in times]


def child(packages: list[Path], seconds: float) -> list[list[float]]:
    """`run` in a fresh process."""
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds), *map(str, packages)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    times: list[list[float]] = json.loads(found.stdout)
    return times


def judge(packages: list[Path], seconds: float) -> dict[str, Any]:
    alone = []
    for index, package in enumerate(packages):
        print(f"alone {index + 1}/{len(packages)}", file=sys.stderr)
        alone += child([package], seconds)
    print("interleaved", file=sys.stderr)
    together = child(packages, seconds)
    rows = []
    for package, own, mixed in zip(packages, alone, together, strict=True):
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        stated = manifest["measured"]
        rows.append(
            {
                "architecture": manifest["architecture"]["text"],
                "limit_ms": manifest["limits"].get("latency_ms"),
                "stated_ms": stated["latency_ms"],
                "upper_ms": stated["upper_ms"],
                **{
                    f"{how}_{name}_ms": float(np.quantile(times, share))
                    for how, times in (("alone", own), ("interleaved", mixed))
                    for name, share in (("p10", 0.1), ("p50", 0.5))
                },
                "runs": [len(own), len(mixed)],
            }
        )

    def covered(name: str) -> float:
        return float(np.mean([row[name] <= row["upper_ms"] for row in rows]))

    return {
        "benchmark": "judge",
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
        "seconds": seconds,
        "packages": rows,
        "covered": {
            f"{how}_{name}": covered(f"{how}_{name}_ms")
            for how in ("alone", "interleaved")
            for name in ("p10", "p50")
        },
        "over_stated": {
            f"{how}_p10": float(np.median([r[f"{how}_p10_ms"] / r["stated_ms"] for r in rows]))
            for how in ("alone", "interleaved")
        },
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
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run(arguments.packages, arguments.seconds)))
        return
    print(json.dumps(judge(arguments.packages, arguments.seconds), indent=1))


if __name__ == "__main__":
    main()
