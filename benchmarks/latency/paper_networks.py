"""The networks of NAS-BERT and the hand-designed ones beside it: counts and speed on this machine.

Parameters and multiply-accumulates are counted, latencies measured together in interleaved rounds,
so that speed-ups over BERT-base are ratios of one run. Weights are random: speed does not depend on
them. The body runs as it would ship, with hidden states as output; the paper's FLOPs hold the
product with the vocabulary too, its speed-ups are of 12 cores at batch 128.

    python benchmarks/latency/paper_networks.py --batch 1 8 > paper_networks.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import profilers
from device_profiles import find
from nasc.architecture.layers import macs
from nasc.architecture.zoo import ZOO, ZooModel
from nasc.export.onnx import emit
from nasc.latency.emission import VOCAB_ROWS
from nasc.latency.session import latency_job
from nasc.networks.network import random_network

BASE = "bert-base"


def measure(
    models: list[ZooModel], batch: int, arguments: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """Milliseconds by name, in one measurement."""
    jobs = []
    for model in models:
        path = folder / f"{model.name}.onnx"
        network = random_network(
            model.architecture.with_precision(arguments.precision),
            model.geometry,
            "hidden",
            vocab_rows=VOCAB_ROWS,
        )
        emit(network, path)
        jobs.append(latency_job(model.name, path, arguments.seq_len, batch, VOCAB_ROWS))
    found = profilers.measure(
        jobs,
        find(arguments.device),
        options=profilers.RuntimeOptions(threads=arguments.threads),
        protocol=profilers.Protocol(max_seconds=arguments.seconds),
        progress=lambda done, total, message: None,
    )
    return {model.name: found[model.name].latency_ms for model in models}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=ZOO, default=list(ZOO))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    parser.add_argument("--seconds", type=float, default=120, help="of each measurement")
    parser.add_argument("--device", default="host")
    arguments = parser.parse_args()
    names = list(dict.fromkeys([BASE, *arguments.networks]))
    models = [ZOO[name] for name in names]
    with tempfile.TemporaryDirectory() as folder:
        latency = {b: measure(models, b, arguments, Path(folder)) for b in arguments.batch}
    rows: list[dict[str, Any]] = []
    for model in models:
        flops = 2 * model.macs(128)
        body = 2 * macs(model.architecture, model.geometry, 128, "hidden")
        rows.append(
            {
                "name": model.name,
                "params_millions": round(model.params / 1e6, 1),
                "gflops": round(flops / 1e9, 2),
                "body_gflops": round(body / 1e9, 2),
                "paper_gflops": None if model.flops is None else model.flops / 1e9,
                "flops_off_percent": None
                if model.flops is None
                else round(100 * (flops / model.flops - 1), 1),
                "ms": {b: round(ms[model.name], 2) for b, ms in latency.items()},
                "speedup": {b: round(ms[BASE] / ms[model.name], 2) for b, ms in latency.items()},
                "paper_speedup": model.speedup,
            }
        )
        print(rows[-1], file=sys.stderr)
    met = all(abs(r["flops_off_percent"]) <= 5 for r in rows if r["flops_off_percent"] is not None)
    settings = vars(arguments) | {"networks": names}
    print(
        json.dumps(
            {
                "benchmark": "paper_networks",
                "settings": settings,
                "networks": rows,
                "targets_met": met,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
