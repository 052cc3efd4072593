"""torch's AOTInductor on the processor beside the other runtimes: speed, seconds to compile, files.

The full-size network, batch 1, 128 tokens, one thread, by each runtime that is installed, in the
precisions of `--precision`, with free axes; torch also with fixed ones. In turn; least and median
of the rounds, and ratios to fp32 of onnxruntime.

    OMP_NUM_THREADS=1 python benchmarks/export/aot_inductor.py > aot_inductor.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import MINILM_L6, PRESETS
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from profilers import RuntimeOptions
from profilers.context import read_context
from profilers.runtimes import get_runtime, installed

SEQ_LEN = 128
ROWS = 1024
"""Of the word embedding: a run reads as many as it has tokens."""

BASE = "onnxruntime"
RUNTIMES = (BASE, "openvino", "torch")


def contenders(precisions: list[str]) -> list[tuple[str, str, bool]]:
    """Runtimes, precisions, and whether axes are fixed."""
    flags = read_context()["cpu"]["flags"]
    found = []
    for runtime in RUNTIMES:
        if not installed(runtime)[0]:
            continue
        for precision in get_runtime(runtime).precisions(flags):
            if precision in precisions:
                shapes = (False, True) if runtime == "torch" else (False,)
                found += [(runtime, precision, fixed) for fixed in shapes]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    arguments = parser.parse_args()
    ids = np.random.default_rng(0).integers(0, ROWS, (1, SEQ_LEN))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for runtime, precision, fixed in contenders(arguments.precision):
            name = f"{runtime} {precision}{' fixed axes' if fixed else ''}"
            network = random_network(PRESETS["minilm-l6"].teacher, MINILM_L6, vocab_rows=ROWS)
            begin = time.perf_counter()
            artifact = get_lowering(runtime).lower(
                network.with_precision(precision),
                Path(folder),
                name.replace(" ", "-"),
                shape=(1, SEQ_LEN) if fixed else None,
            )
            seconds = time.perf_counter() - begin
            made[name] = {"seconds": round(seconds, 1), "bytes": artifact.size_bytes}
            options = RuntimeOptions(runtime)
            sessions[name] = get_runtime(runtime).open_session(artifact.path, options)
        for session in sessions.values():
            session.run(feeds)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(arguments.rounds):
            for name, session in sessions.items():
                begin = time.perf_counter()
                session.run(feeds)
                times[name].append(1000 * (time.perf_counter() - begin))
    base = np.array(times[f"{BASE} fp32"])
    for name, values in times.items():
        array = np.array(values)
        made[name] |= {
            "least_ms": round(float(array.min()), 3),
            "median_ms": round(float(np.median(array)), 3),
            "least_of_onnxruntime_fp32": round(float(array.min() / base.min()), 3),
            "median_ratio_to_onnxruntime_fp32": round(float(np.median(array / base)), 3),
        }
    print(json.dumps({"benchmark": "aot_inductor", "threads": 1, "networks": made}, indent=1))


if __name__ == "__main__":
    main()
