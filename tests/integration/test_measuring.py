"""Measuring real files with the real runtime in a real worker process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

from device_profiles import find
from profilers import (
    InputSpec,
    InvalidSetting,
    Measurement,
    ModelJob,
    ModelRejected,
    Protocol,
    RecordDamaged,
    RuntimeOptions,
    WorkerDied,
    bench,
    load_or_record_baseline,
    measure,
    measure_peak_memory,
    open_worker,
    reference_job,
)
from profilers.devices.local import LocalWorker
from profilers.samples import Step

HOST = find("host")
QUICK = Protocol(min_rounds=3, max_rounds=3, rounds_per_instance=2, visits_per_round=2)


def write_model(path: Path, *, width: int = 32, op: str = "Relu", external: bool = False) -> Path:
    """A linear layer of tokens: ids and mask in, one vector per token out."""
    shape = ["batch", "seq_len"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "weight"], ["linear"]),
        helper.make_node(op, ["linear"], ["active"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["active", "mask3"], ["out"]),
    ]
    generator = np.random.default_rng(0)
    tensors = {
        "table": generator.normal(size=(100, width)).astype(np.float32),
        "weight": generator.normal(size=(width, width)).astype(np.float32),
        "last": np.array([-1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, shape),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [*shape, width])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save_model(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data",
        size_threshold=1024,
    )
    return path


def job(path: Path) -> ModelJob:
    ids, mask = InputSpec((1, 16), high=100), InputSpec((1, 16), low=1, high=2)
    return ModelJob(path.stem, path, {"input_ids": ids, "attention_mask": mask})


def children() -> set[int]:
    """Processes whose parent is this one (Linux)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@pytest.fixture(autouse=True)
def no_orphans():  # type: ignore[no-untyped-def]
    before = children()
    yield
    assert children() <= before


@pytest.mark.clock
def test_models_are_measured_and_saved(tmp_path: Path) -> None:
    jobs = [
        job(write_model(tmp_path / "narrow.onnx", width=16)),
        job(write_model(tmp_path / "wide.onnx", width=1024, external=True)),
    ]
    result = measure(jobs, HOST, protocol=QUICK, reference_dir=tmp_path)
    assert result["narrow"].latency_ms > 0
    assert result["wide"].ratio > result["narrow"].ratio
    assert {sample.instance for sample in result["wide"].samples} == {0, 1}
    assert result.context["runtime"] == "onnxruntime"
    assert result.context["cpu"]["logical_cores"] >= 1
    assert result.reference.content_hash in reference_job(tmp_path).path.name
    saved = json.dumps(result.to_dict(), allow_nan=False)
    assert Measurement.from_dict(json.loads(saved)) == result


@pytest.mark.clock
def test_bench_needs_nothing_but_the_file(tmp_path: Path) -> None:
    paths = [write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", width=64)]
    result = bench(paths, HOST, dims={"seq_len": 8}, protocol=QUICK)
    assert [entry.job.name for entry in result.entries] == ["a.onnx", "b.onnx"]
    assert result.entries[0].job.inputs["input_ids"].shape == (1, 8)
    assert result.entries[0].size_bytes == paths[0].stat().st_size
    memory = result.entries[1].memory
    assert memory is not None
    assert 0 < memory.base_bytes <= memory.total_bytes
    entries = json.loads(json.dumps(result.to_dict()))["entries"]
    assert [entry["dims"] for entry in entries] == 2 * [{"batch": 1, "seq_len": 8}]
    assert result.entries[0].run.shapes == "1x8"
    with pytest.raises(InvalidSetting, match="seq_len = 0"):
        bench(paths, HOST, dims={"seq_len": 0})


def test_a_larger_model_takes_more_memory(tmp_path: Path) -> None:
    small = measure_peak_memory(job(write_model(tmp_path / "small.onnx")))
    large = measure_peak_memory(job(write_model(tmp_path / "large.onnx", width=2048)))
    assert large.model_bytes > small.model_bytes + 4 * 2048 * 2048


def test_bad_models_are_one_message(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(write_model(tmp_path / "good.onnx").read_bytes()[:200])
    with pytest.raises(ModelRejected, match=r"rejected the model '.*damaged\.onnx'"):
        measure([job(damaged)], HOST, protocol=QUICK)
    strange = write_model(tmp_path / "strange.onnx", op="Frobnicate")
    with pytest.raises(ModelRejected, match=r"(?s)strange\.onnx.*Frobnicate.*check_model"):
        measure([job(strange)], HOST, protocol=QUICK)
    with pytest.raises(ModelRejected, match=r"strange\.onnx"):
        bench([strange], HOST)
    with pytest.raises(ModelRejected, match="there is no file"):
        bench([tmp_path / "none.onnx"], HOST)
    good = tmp_path / "good.onnx"
    with pytest.raises(ModelRejected, match=r"it has the inputs .*attention_mask"):
        measure([ModelJob("x", good, {"x": InputSpec((1,))})], HOST, protocol=QUICK)
    wrong = InputSpec((1, 16), "float32")
    inputs = {"input_ids": wrong, "attention_mask": wrong}
    with pytest.raises(ModelRejected, match=r"good\.onnx.*[Uu]nexpected input data type"):
        measure([ModelJob("x", good, inputs)], HOST, protocol=QUICK)


def test_options_that_the_machine_refuses_are_one_message() -> None:
    with pytest.raises(InvalidSetting, match=r"cores \[4095\] cannot be used"):
        open_worker(HOST, RuntimeOptions(cores=(4095,)))


def test_a_dead_worker_is_one_message(tmp_path: Path) -> None:
    worker = LocalWorker(RuntimeOptions())
    try:
        worker.load(job(write_model(tmp_path / "model.onnx")), seed=0)
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="signal SIGKILL, as when memory runs out"):
            worker.visit([Step("model", 1, 1)])
    finally:
        worker.close()


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    worker = LocalWorker(RuntimeOptions())
    try:
        os.kill(worker._process.pid, signal.SIGSTOP)
        worker._timeout_s = 0.2
        with pytest.raises(WorkerDied, match=r"did not answer within 0\.2 s"):
            worker.peak_bytes()
    finally:
        worker.close()


def test_the_worker_is_gone_after_an_interrupt(tmp_path: Path) -> None:
    def interrupt(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted after 0 finished rounds"):
        measure(
            [job(write_model(tmp_path / "model.onnx"))], HOST, protocol=QUICK, progress=interrupt
        )


def test_the_baseline_is_recorded_once(tmp_path: Path) -> None:
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(load_or_record_baseline(tmp_path, HOST)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.fresh for one in found].count(True) == 1
    assert found[0].quiet_ms == found[1].quiet_ms > 0
    found[0].path.write_text(found[0].path.read_text()[:-30])
    with pytest.raises(RecordDamaged, match=r"is damaged.*rm '"):
        load_or_record_baseline(tmp_path, HOST)


def test_a_worker_ends_with_its_caller() -> None:
    worker = LocalWorker(RuntimeOptions())
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    deadline = time.monotonic() + 20
    while worker._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert worker._process.poll() == 0
    worker.close()
