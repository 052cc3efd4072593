"""Is p90 by `--protocol mlperf-single-stream` what MLPerf's load generator finds?

A package's model is asked by loadgen (mlcommons-loadgen, extra `dev`), which calls onnxruntime in
this process, and by nasc's own worker, in turn: on a machine whose speed moves both meet about the
same. Loadgen's figure is compared with that of the same queries by nasc's formula, too, which has
to be equal. Prints JSON.

    python benchmarks/latency/mlperf_single_stream.py nasc-host-14ms --seconds 20 --pairs 3
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import device_profiles
from nasc.errors import NascError
from nasc.latency.session import MeasurementSession
from nasc.package.formats import format_of
from nasc.package.read_manifest import read_manifest
from nasc.utils.files import cache_folder
from profilers import ModelJob, ProfilerError
from profilers.inputs import draw_inputs
from profilers.mlperf import MIN_QUERIES, early_stopping_estimate


def ask(job: ModelJob, threads: int, seconds: float) -> tuple[int, list[int]]:
    """Loadgen's estimate of the 90th percentile in ns, and what each query took."""
    import mlperf_loadgen as loadgen
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(job.path, options, providers=["CPUExecutionProvider"])
    feeds = draw_inputs(job.inputs, seed=0)
    for _ in range(10):
        session.run(None, feeds)

    def issue(queries: Any) -> None:
        for query in queries:
            session.run(None, feeds)
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1000 * seconds)
    settings.min_query_count = MIN_QUERIES
    settings.single_stream_expected_latency_ns = 100_000
    with tempfile.TemporaryDirectory() as folder:
        logs = loadgen.LogSettings()
        logs.log_output.outdir = folder
        logs.enable_trace = True
        system = loadgen.ConstructSUT(issue, lambda: None)
        samples = loadgen.ConstructQSL(1, 1, lambda rows: None, lambda rows: None)
        loadgen.StartTestWithLogSettings(system, samples, settings, logs)
        loadgen.DestroyQSL(samples)
        loadgen.DestroySUT(system)
        summary = Path(folder, "mlperf_log_summary.txt").read_text(encoding="utf-8")
        trace = Path(folder, "mlperf_log_trace.json").read_text(encoding="utf-8")
    [estimate] = re.findall(r"90.0th percentile estimate: (\d+)", summary)
    return int(estimate), [int(took) for took in re.findall(r'"complete_ns":(\d+)', trace)]


def compare(package: Path, seconds: float, pairs: int) -> dict[str, Any]:
    """Both figures, pair by pair.

    Raises:
        NascError: If there is no measured package for onnxruntime.
        ProfilerError: If it cannot be run.
    """
    manifest = read_manifest(package)
    if manifest.measured is None or manifest.conditions.runtime != "onnxruntime":
        raise NascError(f"'{package}' is no measured package for onnxruntime")
    [*_, job] = manifest.measured.jobs(package / format_of("onnxruntime").MODEL)
    threads = manifest.conditions.threads
    session = MeasurementSession.on(device_profiles.find("host"), cache_folder(None), threads)
    rows = []
    with session.alone(kept=""):
        for _ in range(pairs):
            told_ns, took_ns = ask(job, threads, seconds)
            own = session.single_stream(job, seconds)
            rows.append(
                {
                    "loadgen_ms": told_ns * 1e-6,
                    "loadgen_queries": len(took_ns),
                    "same_by_our_formula": early_stopping_estimate(took_ns) == told_ns,
                    "nasc_ms": own.estimate_ms,
                    "nasc_queries": own.queries,
                    "ratio": own.estimate_ms / (told_ns * 1e-6),
                }
            )
    ratio = math.prod(float(row["ratio"]) for row in rows) ** (1 / len(rows))
    return {"package": package.name, "seconds": seconds, "pairs": rows, "mean_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    try:
        json.dump(compare(options.package, options.seconds, options.pairs), sys.stdout, indent=1)
    except (NascError, ProfilerError, ImportError) as error:
        raise SystemExit(f"Error: {error}") from error
    print()


if __name__ == "__main__":
    main()
