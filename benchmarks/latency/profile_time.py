"""How long does a latency table take? One runtime, precision and length, from an empty cache.

Prints JSON: seconds in all, and for emission, measuring and solving; the number of graphs; the
accuracy that the table claims for itself. Targets: 120 s in all, 5 s of it emission.

    python benchmarks/latency/profile_time.py --precision int8 --seq-len 128 > profile_time.json
    python benchmarks/latency/profile_time.py --runtime openvino --precision bf16
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from device_profiles import find
from nasc.architecture.space import PRECISIONS, load_space
from nasc.latency.profile import profile
from nasc.latency.session import MeasurementSession
from nasc.lowering import PRECISIONS as LOWERED

TARGET_S = 120.0
TARGET_EMIT_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="minilm-l6")
    parser.add_argument("--device", default="host")
    parser.add_argument("--runtime", choices=LOWERED, help="default: the device's")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        device = find(arguments.device)
        session = MeasurementSession.on(device, Path(folder), runtime=arguments.runtime)
        started = time.monotonic()
        [found] = profile(
            load_space(arguments.space),
            session,
            precisions=[arguments.precision],
            seq_lens=[arguments.seq_len],
            seed=arguments.seed,
            progress=lambda done, total, message: print(
                f"\r{message} {done}/{total}", end="", file=sys.stderr
            ),
        )
        total_s = time.monotonic() - started
    print(file=sys.stderr)
    table = found.table
    held_out = np.array(table.held_out)
    result = {
        "benchmark": "profile_time",
        "space": arguments.space,
        "setting": table.key.describe(),
        "statistic": table.key.statistic,
        "graphs": len(table.measured),
        "total_s": total_s,
        **table.times,
        "other_s": total_s - sum(table.times.values()),
        "emission_share": table.times["emit_s"] / total_s,
        "target_s": TARGET_S,
        "target_emit_s": TARGET_EMIT_S,
        "met": total_s <= TARGET_S and table.times["emit_s"] <= TARGET_EMIT_S,
        "held_out_mean_abs_error": float(np.abs(held_out).mean()),
        "interval_half_width": table.interval.half_width,
        "busy": table.context["busy"],
        "drift_ratio": table.context["drift_ratio"],
        "rounds": table.context["rounds"],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
