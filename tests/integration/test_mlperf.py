"""The figure of single-stream is that of MLPerf's own load generator, on the same queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import device_profiles
import profilers
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.latency.session import MeasurementSession, latency_job
from nasc.networks.network import random_network
from profilers.inputs import draw_inputs
from profilers.mlperf import discarded, early_stopping_estimate

loadgen: Any = pytest.importorskip(
    "mlperf_loadgen", reason="mlcommons-loadgen (extra 'dev') is not installed"
)

pytestmark = pytest.mark.clock

SECONDS = 3
GEOMETRY = Geometry(2, 64, 32, 128, 300, 64)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> MeasurementSession:
    return MeasurementSession.on(device_profiles.find("host"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def job(
    session: MeasurementSession, tmp_path_factory: pytest.TempPathFactory
) -> profilers.ModelJob:
    """A network lowered as those of packages are."""
    network = random_network(Architecture((Block(32, ("mha", "ffn")),) * 2, "fp32"), GEOMETRY)
    made = session.lower(network, tmp_path_factory.mktemp("model"))
    return latency_job("model", made.path, 16, 1, GEOMETRY.vocab_size)


def drive(job: profilers.ModelJob, folder: Path) -> tuple[list[int], str]:
    """Loadgen asks for queries of a model; gives what each took in ns, and its summary."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opened = onnxruntime.InferenceSession(job.path, options, providers=["CPUExecutionProvider"])
    feeds = draw_inputs(job.inputs, seed=0)

    def issue(queries: Any) -> None:
        for query in queries:
            opened.run(None, feeds)
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = SECONDS * 1000
    settings.min_query_count = 64
    settings.single_stream_expected_latency_ns = 10_000
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.enable_trace = True
    system = loadgen.ConstructSUT(issue, lambda: None)
    samples = loadgen.ConstructQSL(1, 1, lambda rows: None, lambda rows: None)
    try:
        loadgen.StartTestWithLogSettings(system, samples, settings, logs)
    finally:
        loadgen.DestroyQSL(samples)
        loadgen.DestroySUT(system)
    trace = (folder / "mlperf_log_trace.json").read_text(encoding="utf-8")
    took = [int(found) for found in re.findall(r'"complete_ns":(\d+)', trace)]
    return took, (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8")


def told(summary: str, pattern: str) -> int:
    [found] = re.findall(pattern, summary)
    return int(found)


def test_the_estimate_is_loadgen_s(job: profilers.ModelJob, tmp_path: Path) -> None:
    took, summary = drive(job, tmp_path)
    assert "Result is : VALID" in summary
    assert len(took) == told(summary, r"Processed at least 64 queries \((\d+)\)")
    assert discarded(len(took), 0.9) - 1 == told(summary, r"Would discard (\d+) highest")
    assert early_stopping_estimate(took) == told(summary, r"90.0th percentile estimate: (\d+)")
    if len(took) >= 662:
        pattern = r"99.0th percentile estimate: (\d+)"
        assert early_stopping_estimate(took, 0.99) == told(summary, pattern)
    stream = profilers.SingleStream(np.array(took, np.int64), SECONDS, SECONDS, "0" * 16, {})
    assert stream.percentile_ms * 1e6 == pytest.approx(
        told(summary, r"90.0th percentile latency \(ns\) : (\d+)")
    )


def test_a_run_of_ours_on_the_real_clock(
    session: MeasurementSession, job: profilers.ModelJob
) -> None:
    """How near both are is a matter of benchmarks/latency/mlperf_single_stream.py."""
    found = session.single_stream(job, SECONDS)
    assert found.is_valid
    assert found.duration_s >= SECONDS
    assert found.latencies_ns.sum() * 1e-9 <= found.duration_s
    assert 0 < found.percentile_ms <= found.estimate_ms
    back = profilers.SingleStream.from_dict(found.to_dict())
    assert back.estimate_ms == found.estimate_ms
