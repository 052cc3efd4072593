"""What only TVM does: libraries of compiled code, a function for each length."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import ExportError, UsageError
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import Network, random_network
from profilers import ModelRejected, RuntimeOptions
from profilers.devices.local import LocalWorker
from profilers.model_files import runtime_for
from profilers.runtimes import get_runtime, installed

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not installed("tvm")[0], reason="needs tvm (extra 'tvm')"),
]

GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=8, intermediate=64, vocab_size=50, max_positions=24
)
OPTIONS = RuntimeOptions("tvm")


def network(head: str = "embed") -> Network:
    blocks = (Block(32, ("mha", "ffn")), Block(16, ("sep3", "ffn")))
    return random_network(Architecture(blocks), GEOMETRY, head)


def tokens(batch: int, length: int) -> dict[str, Any]:
    """Texts of which some are padded."""
    rng = np.random.default_rng(length)
    own = rng.integers(1, length + 1, (batch, 1))
    mask = (np.arange(length)[None] < own).astype(np.int64)
    return {"input_ids": rng.integers(0, 50, (batch, length)), "attention_mask": mask}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A network whose axes are free."""
    return get_lowering("tvm").lower(network(), tmp_path_factory.mktemp("made"), lengths=(8,))


@pytest.fixture
def copy(made: Artifact, tmp_path: Path) -> Callable[..., Path]:
    """The same library beside another description."""

    def write(**changed: Any) -> Path:
        about = json.loads(made.companions[0].read_text())
        path = tmp_path / "copy.so"
        path.write_bytes(made.path.read_bytes())
        path.with_suffix(".json").write_text(json.dumps(about | changed))
        return path

    return write


def session(path: Path) -> Any:
    return get_runtime("tvm").open_session(path, OPTIONS)


def test_an_array_that_holds_other_numbers_by_now_is_read_anew(made: Artifact) -> None:
    """What is given again is not copied again where it is only timed."""
    found, feeds = session(made.path), tokens(1, 8)
    before = found.outputs(feeds)[0]
    feeds["input_ids"][:] = (feeds["input_ids"] + 1) % 50
    fresh = {name: array.copy() for name, array in feeds.items()}
    wanted = found.outputs(fresh)[0]
    found.outputs(feeds)
    feeds["input_ids"][:] = 7
    assert not np.array_equal(found.outputs(feeds)[0], wanted)
    assert not np.array_equal(before, wanted)


@pytest.mark.parametrize("head", ["embed", "hidden", "spans"])
def test_it_computes_what_onnxruntime_does(head: str, made: Artifact, tmp_path: Path) -> None:
    """Also where a text is shorter than the function that runs it."""
    reference = get_lowering("onnxruntime").lower(network(head), tmp_path)
    expected = get_runtime("onnxruntime").open_session(reference.path, RuntimeOptions())
    artifact = made
    if head != "embed":
        artifact = get_lowering("tvm").lower(network(head), tmp_path)
    found = session(artifact.path)
    assert list(found.describe_outputs()) == list(expected.describe_outputs())
    assert found.metadata() == expected.metadata()
    for batch, length in ((1, 8), (3, 5), (2, 24)):
        feeds = tokens(batch, length)
        pairs = list(zip(found.outputs(feeds), expected.outputs(feeds), strict=True))
        for output, wanted in pairs:
            assert output.shape == wanted.shape
            assert np.abs(output - wanted).max() < 1e-4


def test_inputs_that_it_was_not_made_for_are_refused(made: Artifact) -> None:
    found = session(made.path)
    feeds = tokens(1, 8)
    wanted = found.outputs(feeds)[0]
    wrong = {
        "of 1 to 24 tokens; given: 1 of 25": tokens(1, 25),
        "hold": feeds | {"input_ids": feeds["input_ids"] + 50},
        "its inputs are input_ids, attention_mask; given: input_ids": {
            "input_ids": np.ones((1, 8))
        },
        "int64 of shape .*given: float64": feeds | {"attention_mask": np.ones((1, 8))},
        "is of shape": feeds | {"attention_mask": np.ones((1, 7), np.int64)},
        "given: 0 of 8": {name: value[:0] for name, value in feeds.items()},
    }
    for message, given in wrong.items():
        with pytest.raises(ModelRejected, match=message):
            found.outputs(given)
    assert np.array_equal(found.outputs(feeds)[0], wanted)


def test_a_fixed_shape_is_the_only_one(tmp_path: Path) -> None:
    artifact = get_lowering("tvm").lower(network(), tmp_path, shape=(2, 6))
    found = session(artifact.path)
    assert [axes for _, axes in found.describe_inputs().values()] == [[2, 6], [2, 6]]
    assert found.outputs(tokens(2, 6))[0].shape == (2, 32)
    with pytest.raises(ModelRejected, match=r"of shape \[2, 6\]; given: int64 of shape \[1, 6\]"):
        found.outputs(tokens(1, 6))


def test_code_for_another_processor_is_refused(copy: Callable[..., Path]) -> None:
    with pytest.raises(ModelRejected, match=r"with avx999; this one is \w+ without avx999"):
        session(copy(flags=["avx999"]))
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    with pytest.raises(ModelRejected, match=rf"a processor of {other} .* Make it anew here"):
        session(copy(arch=other))


def test_damaged_files_are_refused(copy: Callable[..., Path]) -> None:
    path = copy()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelRejected, match="damaged"):
        session(path)
    with pytest.raises(ModelRejected, match="no function 'run_9x9'"):
        session(copy(functions=[{"name": "run_9x9", "batch": 9, "seq_len": 9}]))
    with pytest.raises(ModelRejected, match="cannot be read"):
        session(copy(functions=[]))
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelRejected, match="cannot be read"):
        session(path)


def test_a_worker_loads_no_torch(made: Artifact) -> None:
    """Which TVM imports wherever it finds it: two seconds, and half of the memory."""
    with LocalWorker(OPTIONS) as worker:
        worker.open("it", str(made.path))
        maps = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert "libtvm" in maps
    assert "libtorch" not in maps


def test_a_library_is_for_tvm() -> None:
    assert runtime_for([Path("m.so")], "onnxruntime") == "tvm"


@pytest.mark.parametrize("name", ["apache-tvm", "apache-tvm-ffi"])
def test_other_versions_are_refused_before_they_are_imported(name: str) -> None:
    code = (
        "import importlib.metadata as m, sys\nwas = m.version\n"
        f"m.version = lambda name: '9.9' if name == {name!r} else was(name)\n"
        "from nasc.lowering import get_lowering\nfrom nasc.errors import ExportError\n"
        "try:\n    get_lowering('tvm')\nexcept ExportError as error:\n    print(error)\n"
        "assert 'tvm' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{name} 9.9" in run.stdout
    assert "pip install 'apache-tvm==0.27.0.post1' 'apache-tvm-ffi==0.1.14.post0'" in run.stdout


def test_processors_that_lack_what_is_needed_are_refused() -> None:
    from profilers.runtimes.tvm_targets import needed_flags

    best = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
    assert set(needed_flags(best | {"sse"}, "x86_64")) == best
    assert set(needed_flags({"asimd", "fp", "asimddp"}, "aarch64")) == {"asimd", "fp", "asimddp"}
    lowering = get_lowering("tvm")
    for arch, flags, message in (
        ("x86_64", {"avx2"}, "lacks bmi1"),
        ("riscv64", set(), "riscv64"),
    ):
        with pytest.raises(UsageError, match=message):
            lowering.lower(network(), Path(), processor={"arch": arch, "flags": flags})  # type: ignore[call-arg]


def test_graphs_with_free_axes_are_refused() -> None:
    from nasc.export.onnx import build
    from nasc.lowering.tvm_module import fused_module, target_of
    from profilers.context import read_context

    cpu = read_context()["cpu"]
    target = target_of(cpu["flags"], cpu["arch"])
    with pytest.raises(ExportError, match="'input_ids' are free"):
        fused_module({"main": build(network())}, target)
