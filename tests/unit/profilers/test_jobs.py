"""Jobs, options, the reference network and the worker's inputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import profilers
from profilers import (
    DeviceUnreachable,
    InputSpec,
    InvalidSetting,
    ModelJob,
    RuntimeOptions,
    reference_hash,
    reference_job,
)
from profilers.benching import _axis, _input_spec, _peak_memory, describe_jobs
from profilers.runtimes import get_runtime
from profilers.testing import SyntheticMachine, SyntheticTarget, synthetic_opener
from profilers.worker import Worker, draw_inputs


def test_import_stays_light() -> None:
    code = (
        "import profilers, sys; heavy = {'numpy', 'onnx', 'onnxruntime', 'torch'};"
        "print(sorted(heavy & set(sys.modules)));"
        "profilers.measure; print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_everything_public_exists() -> None:
    for name in profilers.__all__:
        assert getattr(profilers, name) is not None
    assert set(profilers.__all__) == set(profilers._HOME_OF)
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        profilers.mesure  # noqa: B018


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputSpec((1, 0)), r"shape \(1, 0\) has an axis below 1"),
        (lambda: InputSpec((1,), "complex64"), "type 'complex64' cannot be drawn"),
        (lambda: InputSpec((1,), low=3, high=3), r"range \[3, 3\) is empty"),
        (lambda: ModelJob("", Path("a.onnx"), {}), "empty name"),
        (lambda: RuntimeOptions(threads=0), "threads = 0; it must be 1 or more"),
        (lambda: RuntimeOptions(inter_op_threads=2), "only 1 is supported"),
        (lambda: RuntimeOptions(graph_optimization="most"), "allowed: all, extended"),
        (lambda: RuntimeOptions(cores=()), "at least one core"),
    ],
)
def test_settings_are_checked(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidSetting, match=message):
        make()


def test_settings_round_trip() -> None:
    spec = InputSpec((2, 3), "int32", 5, 9)
    assert InputSpec.from_dict(spec.to_dict()) == spec
    options = RuntimeOptions(threads=2, cores=(1, 0))
    assert options.cores == (0, 1)
    assert RuntimeOptions.from_dict(options.to_dict()) == options


def test_the_hash_covers_weights_beside_the_file_and_inputs_but_not_names(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    spec = {"x": InputSpec((1, 4))}
    plain = ModelJob("a", path, spec).content_hash()
    assert ModelJob("b", path, spec).content_hash() == plain
    assert ModelJob("a", path, {"x": InputSpec((1, 5))}).content_hash() != plain
    (tmp_path / "other.onnx.data").write_bytes(b"not ours")
    assert ModelJob("a", path, spec).content_hash() == plain
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    assert ModelJob("a", path, spec).content_hash() != plain


def test_the_reference_never_changes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert reference_hash() == "acad6d86277a90bb"
    job = reference_job(tmp_path)
    before = job.path.stat().st_mtime_ns
    assert reference_job(tmp_path) == job
    assert job.path.stat().st_mtime_ns == before
    model = onnx.load(job.path)
    onnx.checker.check_model(model, full_check=True)
    assert {"MatMul", "Softmax", "LayerNormalization", "Erf"} <= {
        node.op_type for node in model.graph.node
    }


def test_inputs_are_drawn_by_seed_within_their_range() -> None:
    specs = {
        "ids": InputSpec((4, 64), "int64", 5, 9),
        "mask": InputSpec((4, 64), "int32", 1, 2),
        "x": InputSpec((4, 64), "float16"),
        "flag": InputSpec((2,), "bool"),
    }
    drawn = draw_inputs(specs, seed=1)
    assert set(np.unique(drawn["ids"])) == {5, 6, 7, 8}
    assert drawn["mask"].dtype == np.int32
    assert (drawn["mask"] == 1).all()
    assert drawn["x"].dtype == np.float16
    assert drawn["flag"].all()
    again = draw_inputs(dict(reversed(specs.items())), seed=1)
    assert all((again[name] == drawn[name]).all() for name in specs)
    assert (draw_inputs(specs, seed=2)["ids"] != drawn["ids"]).any()


def test_the_worker_answers_bad_requests() -> None:
    worker = Worker()
    assert worker.answer("{")["kind"] == "request"
    assert "unknown op 'dance'" in worker.answer('{"op": "dance"}')["error"]
    assert "must be 'start'" in worker.answer('{"op": "describe", "path": "x"}')["error"]
    assert not worker.answer('{"op": "visit", "name": "x", "warmup": 0, "runs": 1}')["ok"]


def test_unknown_runtimes_are_refused() -> None:
    with pytest.raises(profilers.RuntimeMissing, match="unknown runtime 'tflite'; available: onnx"):
        get_runtime("tflite")


def test_a_transport_that_is_not_there_says_so() -> None:
    from device_profiles import find

    pixel6 = find("pixel6")
    assert profilers.reachable(pixel6) == (False, "transport 'adb' is not implemented yet")
    assert profilers.reachable(find("host"))[0]
    with pytest.raises(DeviceUnreachable, match=r"'pixel6' cannot be reached.*--device host"):
        profilers.open_target(pixel6, RuntimeOptions())


def test_a_size_of_an_axis_that_no_model_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from device_profiles import find

    machine = SyntheticMachine({"m": 1.0})  # whose models have the axes batch and seq_len
    monkeypatch.setattr("profilers.benching.open_target", synthetic_opener(machine))
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    dims = {"batch": 1, "seq_len": 8}
    [job] = describe_jobs([path], find("host"), dims, RuntimeOptions())
    assert job.inputs["input_ids"].shape == (1, 8)
    with pytest.raises(InvalidSetting, match="no model has an axis named 'images'; named axes: b"):
        describe_jobs([path], find("host"), {**dims, "images": 3}, RuntimeOptions())


def test_a_device_that_tells_no_memory_is_still_benched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from device_profiles import find

    def silent(*_: object) -> SyntheticTarget:
        target = SyntheticMachine({"m": 1.0}).open()
        target.base_bytes = None
        return target

    monkeypatch.setattr("profilers.memory.open_target", silent)
    job = ModelJob("m", tmp_path / "m.onnx", {})
    with pytest.raises(profilers.MemoryUntold, match=r"'host' does not tell.*Leave the memory"):
        profilers.measure_peak_memory(job, device=find("host"))
    assert _peak_memory(job, find("host"), RuntimeOptions()) is None


def test_bench_finds_shapes_and_values() -> None:
    dims = {"batch": 2, "seq_len": 16, "images": 3}
    file = Path("m.onnx")
    axes = ["batch_size", "sequence_length"]
    assert _input_spec(file, "input_ids", "int64", axes, dims) == InputSpec(
        (2, 16), "int64", 0, 100
    )
    assert _input_spec(file, "attention_mask", "int64", axes, dims).low == 1
    assert _input_spec(file, "token_type_ids", "int32", [None, 7], dims) == InputSpec(
        (2, 7), "int32", 0, 1
    )
    assert _axis(file, "x", "images", 0, dims) == 3
    with pytest.raises(InvalidSetting, match=r"axis 2 of the input 'x'.*--dim height=16"):
        _axis(file, "x", "height", 2, dims)
    for unnamed in (None, "", -1):
        with pytest.raises(InvalidSetting, match=r"neither a size nor a name.*Export") as caught:
            _axis(file, "x", unnamed, 2, dims)
        assert "--dim" not in str(caught.value)
    with pytest.raises(InvalidSetting, match="type 'string', which cannot be drawn"):
        _input_spec(file, "x", "string", [1], dims)
