"""What every runtime does alike, seen through a worker process."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from endless import write_endless
from onnx import TensorProto, helper, numpy_helper

import profilers.runtimes
from device_profiles import CPU
from profilers import (
    InputSpec,
    InvalidSetting,
    MemoryExceeded,
    ModelJob,
    ModelRejected,
    RuntimeMissing,
    RuntimeOptions,
    WorkerLimits,
    reference_job,
)
from profilers.context import precisions_of
from profilers.devices.local import LocalWorker
from profilers.devices.python_worker import _meant
from profilers.reference import HIDDEN, SEQ_LEN
from profilers.runtimes import (
    NAMES,
    computing_on,
    get_runtime,
    told_precisions,
    without_torch,
)
from profilers.samples import Step

RUNTIMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"needs {name} (extra {name!r})"
        ),
    )
    for name in NAMES
]


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def worker(runtime: str) -> Iterator[LocalWorker]:
    """One process for all that does not end it."""
    with LocalWorker(RuntimeOptions(runtime)) as worker:
        yield worker


def save(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[str | int]]) -> Path:
    """A model that gives "out", of these inputs and the constant "shape", (3, 5)."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["a", "b"])
    shape = numpy_helper.from_array(np.array([3, 5]), "shape")
    model = helper.make_model(
        helper.make_graph(nodes, "some", values, [output], [shape]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {"maker": "a test"})
    onnx.save(model, path)
    return path


@pytest.fixture
def free_axes(runtime: str) -> None:
    """What runs models whose axes have no sizes."""
    if runtime == "tvm":
        pytest.skip("tvm compiles for one shape (test_tvm.py)")


@pytest.fixture
def loops(runtime: str, free_axes: None) -> None:
    """What also runs loops."""
    if runtime == "torch":
        pytest.skip("torch runs the operators of the reference alone (test_torch.py)")


@pytest.fixture
def outer(free_axes: None, tmp_path: Path) -> Path:
    """A model that makes a matrix of two rows of numbers."""
    node = helper.make_node("MatMul", ["column", "row"], ["out"])
    return save(tmp_path / "outer.onnx", [node], {"column": ["n", 1], "row": [1, "m"]})


def test_the_reference_gives_the_same_everywhere(worker: LocalWorker, tmp_path: Path) -> None:
    job = reference_job(tmp_path)
    about = worker.open("reference", str(job.path))
    assert about["inputs"] == {"hidden_in": ["float32", [SEQ_LEN, HIDDEN]]}
    assert [axes for _, axes in about["outputs"].values()] == [[SEQ_LEN, HIDDEN]]
    hidden = np.random.default_rng(0).normal(size=(SEQ_LEN, HIDDEN)).astype(np.float32)
    expected = LocalWorker(RuntimeOptions("onnxruntime"))
    with expected:
        expected.open("reference", str(job.path))
        (wanted,) = expected.run("reference", {"hidden_in": hidden})
    (output,) = worker.run("reference", {"hidden_in": hidden})
    assert output.dtype == np.float32
    assert np.abs(output - wanted).max() < 1e-4
    worker.load(job, seed=0)
    (visit,) = worker.visit([Step(job.name, 0, 5)])
    assert len(visit.runs_ms) == 5
    assert visit.own_ms[0] > 0.3 * min(visit.own_ms[1:])  # the first run's time is its own, too
    assert all(0 < own <= wall for own, wall in zip(visit.own_ms, visit.runs_ms, strict=True))


def test_inputs_and_metadata_are_told(worker: LocalWorker, outer: Path) -> None:
    about = worker.open("outer", str(outer))
    inputs = {name: dtype for name, (dtype, _) in about["inputs"].items()}
    assert inputs == {"column": "float32", "row": "float32"}
    assert about["inputs"]["column"][1][1] == 1
    assert [dtype for dtype, _ in about["outputs"].values()] == ["float32"]
    assert list(about["outputs"]) == ["out"]
    assert about["metadata"] == {"maker": "a test"}
    int8 = set() if worker.context["runtime"] == "torch" else {"int8"}
    assert set(precisions_of(worker.context)) >= {"fp32"} | int8


@pytest.mark.usefixtures("free_axes")
def test_an_output_has_the_file_s_name(worker: LocalWorker, tmp_path: Path) -> None:
    """Also where its tensor has others, since it is handed through."""
    for other in ("a", "z"):
        relu = helper.make_node("Relu", ["x"], [other])
        path = save(
            tmp_path / "same.onnx",
            [relu, helper.make_node("Identity", [other], ["out"])],
            {"x": ["n", 2]},
        )
        about = worker.open("same", str(path))
        assert (list(about["inputs"]), list(about["outputs"])) == (["x"], ["out"])


@pytest.mark.usefixtures("loops")
def test_a_run_without_an_end_is_ended(runtime: str, tmp_path: Path) -> None:
    path = write_endless(tmp_path / "endless.onnx")
    tokens = {name: InputSpec((1, 1)) for name in ("input_ids", "attention_mask")}
    with LocalWorker(RuntimeOptions(runtime), limits=WorkerLimits(run_s=0.2)) as worker:
        worker.load(ModelJob("endless", path, tokens), seed=0)
        with pytest.raises(ModelRejected, match=r"did not finish one run within 0\.2 s"):
            worker.visit([Step("endless", 0, 1)])


def test_inputs_change_from_run_to_run(worker: LocalWorker, outer: Path) -> None:
    worker.open("outer", str(outer))
    for size in (2, 5, 2):
        column = np.arange(size, dtype=np.float32).reshape(size, 1)
        (output,) = worker.run("outer", {"column": column, "row": column.T})
        assert np.array_equal(output, column @ column.T)
    with pytest.raises(ModelRejected, match="row"):
        worker.run("outer", {"column": np.ones((2, 1), np.float32)})


@pytest.mark.usefixtures("free_axes")
def test_a_run_that_fails_is_an_error_and_no_result(worker: LocalWorker, tmp_path: Path) -> None:
    """OpenVINO gives the outputs of the run before where it is asked in the wrong way."""
    node = helper.make_node("Reshape", ["x", "shape"], ["out"])
    path = save(tmp_path / "reshape.onnx", [node], {"x": ["n", "m"]})
    for shape in ((4, 4), (2, 2)):
        job = ModelJob("reshape", path, {"x": InputSpec(shape, "float32")})
        worker.load(job, seed=0)
        for steps in ([Step("reshape", 1, 0)], [Step("reshape", 0, 1)]):
            with pytest.raises(ModelRejected, match=r"reshape\.onnx"):
                worker.visit(steps)
    worker.open("reshape", str(path))
    for shape in ((3, 5), (5, 3)):
        x = np.ones(shape, np.float32)
        (output,) = worker.run("reshape", {"x": x})
        assert output.shape == (3, 5)
        with pytest.raises(ModelRejected, match=r"reshape\.onnx"):
            worker.run("reshape", {"x": np.ones((4, 4), np.float32)})


def test_memory_that_is_not_given_is_told(runtime: str, outer: Path) -> None:
    limits = WorkerLimits(memory_bytes=1 << 30)
    with LocalWorker(RuntimeOptions(runtime), limits=limits) as worker:
        worker.open("outer", str(outer))
        column = np.ones((100_000, 1), np.float32)
        with pytest.raises(MemoryExceeded, match=r"outer\.onnx.*(ailed to|can.t) allocate"):
            worker.run("outer", {"column": column, "row": column.T})
        worker.load(reference_job(outer.parent), seed=0)  # it lives on


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08\x12"])
def test_a_damaged_file_is_rejected(worker: LocalWorker, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelRejected, match=r"rejected the model '\S+damaged\.onnx'") as caught:
        worker.open("damaged", str(path))
    assert "Exception from" not in str(caught.value)
    with pytest.raises(ModelRejected, match="no file"):
        worker.load(ModelJob("gone", tmp_path / "gone.onnx", {}), seed=0)


def test_a_setting_that_a_runtime_does_not_know_is_refused(runtime: str) -> None:
    options = RuntimeOptions(runtime, graph_optimization="basic")
    if runtime == "onnxruntime":
        with LocalWorker(options):
            return
    with pytest.raises(InvalidSetting, match=r"graph_optimization = 'basic'; the runtime '\w+' ha"):
        LocalWorker(options)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_runtime_is_what_its_module_has(name: str) -> None:
    """Read, not imported: a runtime need not be installed for it."""
    folder, entry = Path(profilers.runtimes.__file__).parent, profilers.runtimes.RUNTIMES[name]
    tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ("open_profiled" in defined) == entry.counts_kernels
    assert ("precisions_on" in defined) == (set(entry.computes_on) != {CPU})
    assert (told_precisions(name, ()) is None) == (entry.described is None)
    assert told_precisions(name, ()) in (None, ("fp32",))


def test_the_first_choice_for_an_accelerator_comes_first() -> None:
    assert computing_on(CPU) == NAMES
    assert computing_on("cuda") == ("torch", "onnxruntime")


def test_torch_is_left_out_where_it_is_not_imported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    with without_torch():
        assert "torch" not in sys.modules
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    with pytest.raises(ImportError), without_torch():
        importlib.import_module("torch")
    assert "torch" not in sys.modules
    monkeypatch.setitem(sys.modules, "torch", json)
    with without_torch():
        assert importlib.import_module("torch") is json
    assert sys.modules["torch"] is json


def test_what_a_runtime_opens_files_with_is_missed_when_a_worker_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of nasc is installed where a worker is sent over SSH."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jsonschema" else found(name)
    )
    with pytest.raises(RuntimeMissing, match=r"'torch' opens no files without jsonschema\. .*pip"):
        get_runtime("torch")
    get_runtime("onnxruntime")
    died = "Traceback\nModuleNotFoundError: No module named 'numpy'"
    for runtime, packages in (
        ("onnxruntime", "numpy onnxruntime"),
        ("torch", "numpy torch jsonschema onnx"),
        ("tvm", "numpy 'apache-tvm=="),
    ):
        error = _meant("board", "python3", runtime, 1, died)
        assert isinstance(error, RuntimeMissing)
        assert f"python3 -m pip install {packages}" in str(error)
