"""torch as a runtime: packages of AOTInductor here; of CUDA's part the calls are made up."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch_package
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch_package import ARCHITECTURE, GEOMETRY

from nasc.architecture.space import Architecture, Block
from nasc.errors import ExportError
from nasc.latency.memory import file_bytes
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork
from profilers import ModelRejected, RuntimeMissing, RuntimeOptions
from profilers.context import read_context
from profilers.model_files import is_code, model_files, runtime_for
from profilers.runtimes import get_runtime, torch_cuda
from profilers.runtimes import torch as runtime
from profilers.runtimes.torch_onnx import OnnxGraph

OPTIONS = RuntimeOptions("torch")
COMPILES_MORE = pytest.mark.skipif(
    os.environ.get("NASC_TEST_TORCH") != "1",
    reason="torch compiles for ten seconds and more (NASC_TEST_TORCH=1)",
)
GPU = {"kind": "cuda", "name": "made up", "driver": "1", "capability": "9.0", "memory_bytes": 1}


def network(precision: str = "fp32") -> Network:
    return random_network(Architecture((Block(32, ("mha", "ffn")),), precision), GEOMETRY)


def tokens(batch: int, length: int, real: int | None = None) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(batch * length).integers(0, 50, (batch, length))
    mask = np.ones((batch, length), np.int64)
    mask[-1:, real if real is not None else length :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def expected(made: Network, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        given = [torch.from_numpy(feeds[name]) for name in ("input_ids", "attention_mask")]
        return np.asarray(TorchNetwork(made).eval()(*given))


@pytest.fixture(scope="module")
def made(shared_folder: Path) -> Artifact:
    """A package of free axes, with every kind of layer; tests must not change it."""
    return torch_package.compiled(shared_folder)


@pytest.fixture
def copy(made: Artifact, tmp_path: Path) -> Path:
    for path in (made.path, *made.companions):
        shutil.copy(path, tmp_path)
    return tmp_path / made.path.name


def test_texts_of_any_number_and_length_are_what_the_network_gives(made: Artifact) -> None:
    session = runtime.open_session(made.path, OPTIONS)
    assert session.accelerator == "cpu"
    assert session.describe_inputs() == {
        name: ("int64", [None, None]) for name in ("input_ids", "attention_mask")
    }
    assert session.metadata()["nasc.architecture"] == "32: M F S3 @ fp32"
    wanted = random_network(ARCHITECTURE, GEOMETRY)
    for batch, length, real in ((1, 1, None), (1, 48, 3), (3, 7, 2), (1, 12, None), (5, 1, None)):
        feeds = tokens(batch, length, real)
        found, *_ = session.outputs(feeds)
        assert found.dtype == np.float32
        assert np.abs(found - expected(wanted, feeds)).max() < 2e-6


def test_a_package_is_never_larger_than_said(made: Artifact) -> None:
    said = file_bytes(ARCHITECTURE, "torch", GEOMETRY, "embed")
    assert made.size_bytes <= said <= made.size_bytes + 600_000


def test_threads_are_as_asked_for_and_as_before_after_it(made: Artifact) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        session = runtime.open_session(made.path, dataclasses.replace(OPTIONS, threads=1))
        during: list[int] = []
        session._model = _Seen(session._model, during)  # type: ignore[assignment]
        session.run(tokens(1, 4))
        assert (during, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


class _Seen:
    """A model that tells by how many threads it is run."""

    def __init__(self, model: Any, during: list[int]) -> None:
        self.arrays = model.arrays
        self._model, self._during = model, during

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        self._during.append(torch.get_num_threads())
        return list(self._model(tensors))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (tokens(1, 49), "of 1 to 48 tokens; given: 1 of 49"),
        (tokens(0, 3), "1 text or more"),
        (tokens(1, 3) | {"input_ids": np.full((1, 3), 100)}, "no tokens: they are from 0 to 99"),
        (tokens(1, 3) | {"attention_mask": np.full((1, 3), 2)}, "something else than 0 and 1"),
        (tokens(1, 3) | {"attention_mask": np.ones((1, 2), np.int64)}, "the first of"),
        (tokens(1, 3) | {"input_ids": np.ones((1, 3), np.int32)}, "given: int32"),
        ({"input_ids": np.ones((1, 3), np.int64)}, "given: input_ids"),
    ],
)
def test_what_the_code_would_read_past_its_tables_for_is_refused(
    made: Artifact, feeds: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ModelRejected, match=message):
        runtime.open_session(made.path, OPTIONS).outputs(feeds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "mips"}, "its code is for a processor of mips"),
        ({"flags": ["avx9000"]}, "this one is .* without avx9000"),
        ({"torch": "1.0.0"}, "compiled by torch 1.0.0; installed is"),
        ({"accelerator": "cuda", "capability": "9.0"}, r"its code is for a GPU \(cuda\): n"),
        ({"package_sha256": "0" * 64}, "damaged"),
        ({"format": 2}, "cannot be read"),
    ],
)
def test_a_package_for_something_else_is_not_opened(
    copy: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = copy.with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | change))
    monkeypatch.setattr(torch._inductor, "aoti_load_package", None)
    with pytest.raises(ModelRejected, match=message):
        runtime.open_session(copy, OPTIONS)


def test_what_is_no_package_is_rejected(copy: Path) -> None:
    copy.write_bytes(b"hello")
    description = copy.with_suffix(".json")
    about = json.loads(description.read_text())
    about["package_sha256"] = hashlib.sha256(b"hello").hexdigest()
    description.write_text(json.dumps(about))
    with pytest.raises(ModelRejected, match="torch cannot open the package"):
        runtime.open_session(copy, OPTIONS)


def test_files_are_known_by_their_names(made: Artifact) -> None:
    assert model_files(made.path) == (made.path, *made.companions)
    assert runtime_for([Path("m.pt2")], "onnxruntime") == "torch"
    assert is_code(Path("m.pt2"))


@COMPILES_MORE
@pytest.mark.slow
def test_the_same_network_again_is_the_same_files(made: Artifact, tmp_path: Path) -> None:
    again = get_lowering("torch").lower(random_network(ARCHITECTURE, GEOMETRY), tmp_path, "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.pt2"]
    assert made.path.read_bytes() == again.path.read_bytes()
    assert made.companions[0].read_bytes() == again.companions[0].read_bytes()


@COMPILES_MORE
@pytest.mark.slow
def test_bf16_is_near_and_its_head_is_fp32(tmp_path: Path) -> None:
    if "bf16" not in runtime.precisions(read_context()["cpu"]["flags"]):
        pytest.skip("this processor does not compute in bf16")
    made = get_lowering("torch").lower(network("bf16"), tmp_path, shape=(2, 8))
    session = runtime.open_session(made.path, OPTIONS)
    feeds = tokens(2, 8, 5)
    (found,) = session.outputs(feeds)[:1]
    wanted = expected(network(), feeds)
    assert found.dtype == np.float32
    assert 1e-6 < np.abs(found - wanted).max() < 2e-2


def test_what_cannot_be_made_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = get_lowering("torch").lower
    for precision in ("tf32", "fp16"):
        with pytest.raises(ExportError, match=f"in {precision} on GPUs alone.*--device cuda"):
            lower(network(precision), tmp_path)
    with pytest.raises(ExportError, match="the device has another processor"):
        lower(network(), tmp_path, processor={"arch": "aarch64", "flags": ["asimd"]})
    relative = dataclasses.replace(GEOMETRY, buckets=4)
    with pytest.raises(ExportError, match=r"without relative positions.*--runtime onnx"):
        lower(random_network(Architecture((Block(32, ("mha",)),)), relative), tmp_path)
    from torch._inductor import cpp_builder, exc

    def none() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(ExportError, match=r"by a C\+\+ compiler, and there is none.*apt install g"):
        lower(network(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_compiled_for_a_gpu_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lower(precision: str, **changes: str) -> None:
        there = read_context()["cpu"] | {"accelerator": GPU | changes}
        get_lowering("torch").lower(network(precision), tmp_path, processor=there)

    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExportError, match=r"does not compute on the GPU made up.*run nasc on the"):
        lower("fp32")
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(ExportError, match=r"capability 7\.5, and the device's.* 9\.0. Run nasc th"):
        lower("fp32")
    with pytest.raises(ExportError, match=r"does not compute in bf16\. Take one of: fp32, fp16"):
        lower("bf16", capability="7.5")

    def full(self: torch.nn.Module, where: object) -> torch.nn.Module:
        if where == "cuda":
            raise torch.OutOfMemoryError("no memory on cuda")
        return self

    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(2, 8))
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ExportError, match=r"torch cannot compile .* no memory on cuda"):
        lower("fp32", capability="7.5")
    assert not list(tmp_path.iterdir())


def test_a_gpu_s_precisions_are_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.precisions_on(GPU) == ("fp32", "tf32", "bf16", "fp16")
    assert runtime.precisions_on(GPU | {"capability": "7.5"}) == ("fp32", "fp16")
    with pytest.raises(RuntimeMissing, match=r"capability 6\.1: 7\.0 is the least"):
        runtime.precisions_on(GPU | {"capability": "6.1"})
    assert runtime.precisions(["avx2"]) == ("fp32",)
    assert runtime.precisions(["avx2", "amx_bf16"]) == ("fp32", "bf16")


def saved(folder: Path, nodes: list[onnx.NodeProto], rank: int, **constants: np.ndarray) -> Path:
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [*"abcd"[:rank]])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "some", values, [output], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, folder / "some.onnx")
    return folder / "some.onnx"


@pytest.mark.parametrize(
    ("rank", "nodes", "constants"),
    [
        (
            2,
            [helper.make_node("Gemm", ["x", "w", "b"], ["out"], transB=1, alpha=0.5, beta=2.0)],
            {"w": np.ones((4, 3), np.float32), "b": np.ones(4, np.float32)},
        ),
        (
            2,
            [helper.make_node("Gemm", ["x", "w"], ["out"], transA=1)],
            {"w": np.eye(2, dtype="f4")},
        ),
        (3, [helper.make_node("Reshape", ["x", "s"], ["out"])], {"s": np.array([0, -1, 1])}),
        (4, [helper.make_node("Unsqueeze", ["x", "a"], ["out"])], {"a": np.array([0, -1])}),
        (
            3,
            [
                helper.make_node("Unsqueeze", ["x", "a"], ["y"]),
                helper.make_node("Conv", ["y", "w"], ["out"], pads=[2, 0]),
            ],
            {"a": np.array([0]), "w": np.ones((5, 2, 2), np.float32)},
        ),
        (2, [helper.make_node("Transpose", ["x"], ["out"])], {}),
        (2, [helper.make_node("Sub", ["x", "c"], ["out"])], {"c": np.ones(3, np.float32)}),
    ],
)
def test_operators_do_what_onnxruntime_does(
    tmp_path: Path, rank: int, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> None:
    path = saved(tmp_path, nodes, rank, **constants)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    (wanted,) = get_runtime("onnxruntime").open_session(path, RuntimeOptions()).outputs({"x": x})
    (found,) = runtime.open_session(path, OPTIONS).outputs({"x": x})
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_other_operators_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, [helper.make_node("Cosh", ["x"], ["out"])], 2)
    with pytest.raises(ModelRejected, match=r"torch runs Cosh from no ONNX file.*--runtime onnxru"):
        OnnxGraph(path, torch.device("cpu"))


class MadeUpCuda:
    """What `torch.cuda` has for graphs; a replay computes on what the inputs hold then."""

    def __init__(self) -> None:
        self.captures = 0
        self.fails = False
        self.clock_ms = 0.0
        self.last: Callable[[], None] = lambda: None

    def Stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)

    def Event(self, enable_timing: bool) -> Any:
        event = SimpleNamespace(at=0.0, synchronize=lambda: None)

        def record(stream: object) -> None:
            self.clock_ms += 0.25
            event.at = self.clock_ms

        event.record = record
        event.elapsed_time = lambda other: other.at - event.at
        return event

    def current_stream(self) -> Any:
        return None

    def stream(self, stream: object) -> Any:
        return contextlib.nullcontext()

    def CUDAGraph(self) -> Any:
        return SimpleNamespace()

    @contextlib.contextmanager
    def graph(self, graph: Any, stream: object) -> Iterator[None]:
        self.captures += 1
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        graph.replay = self.last


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> MadeUpCuda:
    made_up = MadeUpCuda()
    for name in ("Stream", "Event", "current_stream", "stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(made_up, name))
    monkeypatch.setattr(torch_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(torch_cuda, "PINNED", False)
    return made_up


def doubling(cuda: MadeUpCuda) -> torch_cuda.CudaRuns:
    """Runs of a model that doubles."""

    def compute(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        (x,) = tensors
        out = 2 * x

        def replay() -> None:
            out.copy_(2 * x)

        cuda.last = replay
        assert torch.get_float32_matmul_precision() == "high"
        return [out]

    return torch_cuda.CudaRuns(compute, tf32=True)


def test_a_model_is_captured_once_a_shape_and_replayed(cuda: MadeUpCuda) -> None:
    before = torch.get_float32_matmul_precision()
    runs = doubling(cuda)
    for n in range(3):
        (found,) = runs.run([torch.full((2,), float(n))])
        assert found.tolist() == [2.0 * n] * 2
        assert runs.device_ns() == 250_000
    assert cuda.captures == 1
    assert runs.run([torch.ones(3)])[0].tolist() == [2.0] * 3
    assert cuda.captures == 2
    assert runs.run_once([torch.ones(9)])[0].tolist() == [2.0] * 9
    assert cuda.captures == 2
    for size in range(1, 2 + torch_cuda.MAX_GRAPHS):
        runs.run([torch.ones(size)])
    assert len(runs._captured) == torch_cuda.MAX_GRAPHS
    assert torch.get_float32_matmul_precision() == before


def test_what_cannot_be_captured_is_rejected(cuda: MadeUpCuda) -> None:
    cuda.fails = True
    with pytest.raises(ModelRejected, match="as one CUDA graph: operation not permitted"):
        doubling(cuda).run([torch.ones(2)])
