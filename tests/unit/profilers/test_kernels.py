"""Kernels: what they do by hand, and what the runtimes' profilers tell of a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from profilers import (
    InputSpec,
    InvalidSetting,
    ModelJob,
    ModelRejected,
    RuntimeOptions,
    reference_job,
)
from profilers.devices.local import LocalWorker
from profilers.errors import ProfilerError
from profilers.kernels import Kernel, Value, kernel_run, run_kernels
from profilers.peaks import CorePeaks, Rate, core_peaks, faster, rate_of
from profilers.runtimes import installed
from profilers.runtimes.tvm_profiled import operator_name
from profilers.worker import WorkerProcess

M, K, N = 96, 64, 80


def kernel(operator: str, inputs: list[Value], output: Value) -> Kernel:
    return Kernel("one", operator, tuple(inputs), (output,), 1.0)


def floats(*shape: int) -> Value:
    return Value("float32", shape)


def test_a_product_is_two_operations_for_each_of_its_multiply_adds() -> None:
    listed = kernel("Gemm", [floats(M, K), floats(N, K), floats(N)], floats(M, N))
    assert listed.operations == 2 * M * N * K
    assert listed.bytes_moved == 4 * (M * K + K * N + N + M * N)
    packed = kernel("Gemm", [floats(M, K), floats(N)], floats(M, N))
    assert (packed.operations, packed.bytes_moved) == (listed.operations, listed.bytes_moved)
    assert packed.kind == "product"
    assert packed.computed_in == "fp32"


def test_a_packed_product_in_int8_reads_a_byte_for_each_weight() -> None:
    found = kernel(
        "MatMulIntegerToFloat", [Value("uint8", (M, K)), floats(), floats(N)], floats(M, N)
    )
    assert found.computed_in == "int8"
    assert found.operations == 2 * M * N * K
    assert found.bytes_moved == M * K + 4 + 4 * N + K * N + 4 * M * N
    assert kernel("DynamicQuantizeMatMul", [floats(M, K)], floats(M, N)).computed_in == "int8"
    assert kernel("DynamicQuantizeLinear", [floats(M, K)], floats(M, K)).kind == "quantisation"


@pytest.mark.parametrize(("kind", "precision"), [("bfloat16", "bf16"), ("float16", "fp16")])
def test_a_product_in_half_is_named_by_its_precision(kind: str, precision: str) -> None:
    half, wide = Value(kind, (M, K)), floats(M, N)
    listed = kernel("FullyConnected", [half, Value(kind, (N, K))], wide)
    packed = kernel("FullyConnected", [half], wide)
    assert listed.computed_in == packed.computed_in == precision
    assert listed.bytes_moved == packed.bytes_moved == 2 * (M * K + K * N) + 4 * M * N


def test_attention_and_convolution_by_hand() -> None:
    scores = kernel("MatMul", [floats(1, 4, M, K), floats(1, 4, K, M)], floats(1, 4, M, M))
    assert scores.kind == "attention"
    assert scores.operations == 2 * 4 * M * M * K
    depthwise = kernel("Conv", [floats(1, N, 1, M), floats(N, 1, 1, 5)], floats(1, N, 1, M))
    assert depthwise.operations == 2 * N * M * 5
    heads, mask = floats(1, M, 4, K), floats(1, 1, 1, M)
    whole = kernel("AttentionSubgraph", [heads, floats(1, 4, K, M), mask, heads], heads)
    assert whole.kind == "attention"
    assert whole.operations == 2 * scores.operations


def test_what_moves_nothing_or_only_rows() -> None:
    assert kernel("Reshape", [floats(M, K)], floats(K, M)).bytes_moved == 0
    rows = kernel("Gather", [floats(30_000, K), Value("int64", (M,))], floats(M, K))
    assert rows.bytes_moved == 2 * 4 * M * K
    norm = kernel("LayerNormalization", [floats(M, K)], floats(M, K))
    assert (norm.kind, norm.operations) == ("normalisation", 8 * M * K)


def test_times_are_those_of_the_quietest_runs() -> None:
    answer = {
        "plain_ns": [4e6, 9e6, 5e6, 8e6],
        "profiled_ns": [9e6, 6e6, 8e6, 8e6],
        "kernels": [
            {"name": "n", "operator": "Add", "inputs": [], "outputs": [], "us": [9, 7, 1, 1]}
        ],
    }
    found = kernel_run(answer)
    assert (found.plain_ms, found.profiled_ms) == (4.0, 6.0)
    assert found.sum_ms == pytest.approx(0.001)
    assert found.overhead == pytest.approx(0.5)
    with pytest.raises(InvalidSetting, match="cannot be read"):
        kernel_run(answer | {"kernels": [{"name": "n"}]})


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tvm"])
def test_a_runtime_tells_the_shapes_of_a_product(runtime: str, tmp_path: Path) -> None:
    if not installed(runtime)[0]:
        pytest.skip(f"needs {runtime}")
    weight = numpy_helper.from_array(np.ones((K, N), np.float32), "w")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [M, K])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [M, N])],
            [weight],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path / "product.onnx"
    onnx.save(model, path)
    job = ModelJob("product", path, {"x": InputSpec((M, K), "float32")})
    with LocalWorker(RuntimeOptions(runtime)) as worker:
        found = run_kernels(worker, job, turns=3)
        with pytest.raises(InvalidSetting, match="turns = 0"):
            run_kernels(worker, job, turns=0)
        (tmp_path / "no.onnx").write_bytes(b"none")
        with pytest.raises(ModelRejected):
            run_kernels(worker, ModelJob("no", tmp_path / "no.onnx", job.inputs), turns=1)
    products = [one for one in found.kernels if one.kind == "product"]
    assert [one.operations for one in products] == [2 * M * N * K]
    assert products[0].bytes_moved == 4 * (M * K + K * N + M * N)
    assert found.runs == 12


@pytest.mark.parametrize(
    ("kernel", "operator"),
    [
        ("fused_matmul3_add5_gelu1_prepacked", "matmul+add+gelu"),
        ("fused_add1_reshape11", "add"),
        ("fused_reshape2_transpose21", "transpose"),
        ("reshape4", "reshape"),
        ("take11", "gather"),
        ("fused_conv1d2_add", "conv1d+add"),
        ("layer_norm1", "layer_normalization"),
        ("fused_squeeze_divide1", "divide"),
    ],
)
def test_a_kernel_of_tvm_is_named_by_what_it_computes(kernel: str, operator: str) -> None:
    assert operator_name(kernel) == operator


def test_a_runtime_without_counters_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.worker._allow_memory", lambda most: None)
    worker = WorkerProcess()
    worker.answer(json.dumps({"op": "start", "options": {"runtime": "onnxruntime"}}))
    monkeypatch.delattr("profilers.runtimes.onnxruntime.open_profiled")
    path = reference_job(tmp_path).path
    request = {"op": "kernels", "path": str(path), "inputs": {}, "turns": 1}
    answer = worker.answer(json.dumps(request))
    assert answer["kind"] == "runtime"
    assert "tells nothing of its kernels" in answer["error"]


def test_peaks_are_kept_and_only_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([[1e9, 1e9, 4e9], [2e9, 2e9, 2e9]])

    def measured(fingerprint: str) -> CorePeaks:
        rate = rate_of(next(rates), "made up")
        return CorePeaks(rate, None, None, rate, rate, fingerprint)

    monkeypatch.setattr("profilers.peaks.measure_peaks", measured)
    noisy = core_peaks(tmp_path)
    assert noisy.spread > 1.05
    again = core_peaks(tmp_path)  # measured anew: the first was noisy
    assert again.fp32.per_s == max(noisy.fp32.per_s, 2e9)
    slow, fast = (CorePeaks(Rate(r, 1.0, ""), None, *[Rate(r, 1.0, "")] * 3, "") for r in (1, 2))
    assert faster(fast, slow) == fast
    with pytest.raises(ProfilerError, match="no rates"):
        rate_of([], "nothing")
