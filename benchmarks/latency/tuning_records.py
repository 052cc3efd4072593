"""What tuning records gain: the full-size network by TVM in fp32, compiled with and without them.

For each length both are run in turn, in alternating order, with a second copy of the one without as
control. A ratio below 1 is faster by records: of the least times, and the median and quartiles of
ratios within a round. Files at all lengths, and the seconds to make them, stand beside.

    OMP_NUM_THREADS=1 python benchmarks/latency/tuning_records.py > tuning_records.json

takes the records that `nasc tune` left in the cache, then those that come with nasc; `--cache` and
`--shipped` name others. Needs `pip install 'nasc[tvm]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import load_space
from nasc.latency.table_paths import tables_folder
from nasc.latency.tuning_records import find_records
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from nasc.utils.files import cache_folder
from profilers import RuntimeOptions
from profilers.context import read_context
from profilers.runtimes import get_runtime

PLAIN, CONTROL, TUNED = "without", "without, a copy", "with records"


def compared(paths: dict[str, Path], length: int, seconds: float) -> dict[str, Any]:
    """Times of a length, in turn."""
    ids = np.random.default_rng(0).integers(0, 1000, (1, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    sessions = {
        name: get_runtime("tvm").open_session(path, RuntimeOptions("tvm"))
        for name, path in paths.items()
    }
    for session in sessions.values():
        session.run(feeds)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end, order = time.perf_counter() + seconds, list(sessions)
    while time.perf_counter() < end:
        order.reverse()
        for name in order:
            start = time.perf_counter()
            sessions[name].run(feeds)
            times[name].append(1000 * (time.perf_counter() - start))
    plain = np.array(times[PLAIN])
    result: dict[str, Any] = {"rounds": len(plain), "least_ms": float(plain.min())}
    for name in (CONTROL, TUNED):
        ratios = np.array(times[name]) / plain
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        result[name] = {
            "ratio_of_least": min(times[name]) / float(plain.min()),
            "median_ratio": float(median),
            "quartiles": [float(low), float(high)],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--space", default="minilm-l6")
    parser.add_argument("--lengths", type=int, nargs="*", default=[32, 64, 128, 256, 512])
    parser.add_argument("--seconds", type=float, default=30, help="for each length")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--shipped", type=Path)
    arguments = parser.parse_args()
    space = load_space(arguments.space)
    network = random_network(space.teacher.with_precision("fp32"), space.geometry, "embed")
    tables = tables_folder(cache_folder(arguments.cache))
    found = find_records("host", read_context()["cpu"], 1, tables, arguments.shipped)
    print(found.said, file=sys.stderr)
    if found.records is None:
        parser.error("there are no records")
    lower = get_lowering("tvm").lower
    result: dict[str, Any] = {"records_sha256": found.records.sha256, "files": {}, "lengths": {}}
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), {}
        for which, records in ((PLAIN, None), (CONTROL, None), (TUNED, found.records)):
            start = time.process_time()
            made = lower(network, folder, which.replace(" ", "-"), records=records)  # type: ignore[call-arg]
            paths[which] = made.path
            result["files"][which] = {
                "lowering_cpu_s": time.process_time() - start,
                "bytes": made.size_bytes,
                "kernels": str(made.tuned),
            }
        for length in arguments.lengths:
            result["lengths"][length] = compared(paths, length, arguments.seconds)
            print(length, json.dumps(result["lengths"][length]), file=sys.stderr)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
