"""From a network to the files that a runtime opens."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch

import nasc.lowering
from nasc.architecture.layers import params
from nasc.architecture.space import (
    ACTIVATIONS,
    MINILM_L6,
    PRECISIONS,
    Architecture,
    Block,
    Geometry,
    derived_space,
)
from nasc.architecture.variant import Variant
from nasc.errors import ExportError, UsageError
from nasc.export.onnx import EMITTER_VERSION
from nasc.latency.memory import file_base_bytes, layer_file_bytes
from nasc.lowering import LIMITS, Lowering, get_lowering, why_unsupported
from nasc.lowering import PRECISIONS as LOWERED
from nasc.lowering.limits.tvm import HANDWRITTEN
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork
from profilers import RuntimeOptions
from profilers.context import read_context
from profilers.runtimes import NAMES, ONNXRUNTIME_WEB, get_runtime, installed

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=32, intermediate=128, vocab_size=50, max_positions=24
)
BLOCKS = (Block(32, ("mha", "ffn")),)

NEEDS_OPENVINO = pytest.mark.skipif(not installed("openvino")[0], reason="needs openvino")


def check_computed(runtime: str, precision: str) -> None:
    """Skip what a runtime does not compute in natively here."""
    if precision not in get_runtime(runtime).precisions(read_context()["cpu"]["flags"]):
        pytest.skip(f"this processor does not compute in {precision}")


def test_every_runtime_that_networks_are_made_for_can_be_measured() -> None:
    assert set(LOWERED) <= {*NAMES, ONNXRUNTIME_WEB}
    assert {p for precisions in LOWERED.values() for p in precisions} <= set(PRECISIONS)


EVERY = [
    pytest.param(
        runtime,
        precision,
        marks=pytest.mark.skipif(not installed(runtime)[0], reason=f"needs {runtime}"),
    )
    for runtime, precisions in LOWERED.items()
    for precision in precisions
    if runtime != "torch"  # which compiles for seconds: profilers/test_torch.py
    if runtime != ONNXRUNTIME_WEB  # the files of onnxruntime, see below
]


HERE = [r for r in LOWERED if installed(r)[0] and r != "torch"]  # it compiles for seconds


@pytest.mark.parametrize("runtime", LOWERED)
def test_a_lowering_takes_what_its_interface_says(runtime: str) -> None:
    """Read, not imported: a runtime need not be installed for it."""
    name = runtime.replace("-", "_")
    tree = ast.parse((Path(nasc.lowering.__file__).parent / f"{name}.py").read_text())
    [lower] = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "lower"]
    taken = [one.arg for one in (*lower.args.args, *lower.args.kwonlyargs)]
    assert ["self", *taken] == list(inspect.signature(Lowering.lower).parameters)


@pytest.mark.parametrize(("runtime", "precision"), EVERY)
def test_an_artifact_is_files_of_a_network(tmp_path: Path, runtime: str, precision: str) -> None:
    lowering = get_lowering(runtime)
    if runtime == "tvm":  # whose code is for a processor
        check_computed(runtime, precision)
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    made = lowering.lower(network, tmp_path, "some")
    assert (made.runtime, made.precision, made.version) == (runtime, precision, lowering.VERSION)
    files = (made.path, *made.companions)
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert {path.stem for path in files} == {"some"}
    assert made.size_bytes == sum(len(path.read_bytes()) for path in files)
    again = lowering.lower(network, tmp_path / ".", "again")
    for first, second in zip(files, (again.path, *again.companions), strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("precision", LOWERED[ONNXRUNTIME_WEB])
def test_browsers_run_the_files_of_onnxruntime(tmp_path: Path, precision: str) -> None:
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    made, other = (
        get_lowering(runtime).lower(network, tmp_path, runtime, shape=(1, 8))
        for runtime in (ONNXRUNTIME_WEB, "onnxruntime")
    )
    assert (made.runtime, made.precision, made.version) == (
        ONNXRUNTIME_WEB,
        precision,
        get_lowering(ONNXRUNTIME_WEB).VERSION,
    )
    assert made.path.read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize(("runtime", "precision"), EVERY)
def test_axes_are_free_or_fixed(tmp_path: Path, runtime: str, precision: str) -> None:
    check_computed(runtime, precision)
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    for shape, batch, seq_len in ((None, None, None), ((3, 7), 3, 7)):
        path = get_lowering(runtime).lower(network, tmp_path, shape=shape).path
        session = get_runtime(runtime).open_session(path, RuntimeOptions())
        found = [axes for _, axes in session.describe_inputs().values()]
        sizes = [[size if isinstance(size, int) else None for size in axes] for axes in found]
        assert sizes == [[batch, seq_len]] * 2
        feeds = {name: np.ones((3, 7), np.int64) for name in session.describe_inputs()}
        assert session.outputs(feeds)[0].shape == (3, 64)


@pytest.mark.parametrize("shape", [(0, 8), (1, 0), (1, 25)])
def test_axes_that_no_text_has_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    network = random_network(Architecture(BLOCKS), GEOMETRY)
    with pytest.raises(ExportError, match="a text 1 to 24 tokens"):
        get_lowering("onnxruntime").lower(network, tmp_path, shape=shape)


def test_onnxruntime_opens_onnx(tmp_path: Path) -> None:
    network = random_network(Architecture(BLOCKS), GEOMETRY)
    onnx.checker.check_model(get_lowering("onnxruntime").lower(network, tmp_path).path)


def test_another_runtime_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"for the runtime 'ncnn'; known: onnxruntime, openvino"):
        get_lowering("ncnn")


def test_a_precision_of_another_runtime_is_refused_by_name(tmp_path: Path) -> None:
    network = random_network(Architecture(BLOCKS, "bf16"), GEOMETRY)
    with pytest.raises(UsageError, match=r"'bf16' for the runtime onnxruntime; known: fp32, int8"):
        get_lowering("onnxruntime").lower(network, tmp_path)


def test_without_openvino_the_message_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from nasc.errors import ExportError\n"
        "from nasc.lowering import get_lowering\n"
        "try:\n    get_lowering('openvino')\n"
        "except ExportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python -m pip install openvino" in run.stdout


@NEEDS_OPENVINO
@pytest.mark.parametrize(
    ("precision", "offered", "asked", "stored"),
    [
        ("fp32", ("bf16",), {"INFERENCE_PRECISION_HINT": "f32"}, "FP32"),
        ("bf16", ("bf16",), {"INFERENCE_PRECISION_HINT": "bf16"}, "FP16"),
        ("fp16", (), {"INFERENCE_PRECISION_HINT": "f16"}, "FP16"),
        (
            "int8",
            ("fp32", "bf16", "int8"),
            {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"},
            "I8",
        ),
        (
            "int8",
            ("fp32", "int8"),
            {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"},
            "I8",
        ),
    ],
)
def test_an_ir_says_what_it_is_and_what_it_is_computed_in(
    tmp_path: Path, precision: str, offered: tuple[str, ...], asked: dict[str, str], stored: str
) -> None:
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    made = get_lowering("openvino").lower(network, tmp_path, offered=offered)
    root = ElementTree.parse(made.path).getroot()
    (about,) = root.iterfind("rt_info")
    parts = {one.tag: {part.tag: part.get("value") for part in one} for one in about}
    assert parts.pop("info") == {}
    assert parts == {
        "nasc": {
            "architecture": str(network.architecture),
            "head": "embed",
            "emitter_version": str(EMITTER_VERSION),
            "max_positions": "24",
        },
        "runtime_options": asked,
    }
    kinds = {
        layer.get("name", "").removesuffix("_compressed"): layer.find("output/port")
        for layer in root.iterfind("layers/layer[@type='Const']")
    }
    port = kinds["0.embedding.word"]
    assert port is not None
    assert port.get("precision") == stored


@NEEDS_OPENVINO
def test_int8_weights_take_a_quarter_and_stay_int8_when_they_are_compiled(tmp_path: Path) -> None:
    import openvino

    geometry = dataclasses.replace(GEOMETRY, hidden=128, intermediate=512, vocab_size=2000)
    blocks = (Block(128, ("mha", "ffn", "sep3")),)
    sizes = {}
    for precision in ("fp32", "int8"):
        network = random_network(Architecture(blocks, precision), geometry, vocab_rows=2000)
        made = get_lowering("openvino").lower(network, tmp_path, precision)
        sizes[precision] = made.companions[0].stat().st_size
    assert sizes["int8"] < 0.3 * sizes["fp32"]
    compiled = openvino.Core().compile_model(str(made.path), "CPU")
    weights = {
        node.get_friendly_name(): node.get_output_element_type(0).get_type_name()
        for node in compiled.get_runtime_model().get_ops()
    }
    kinds = {name: kind for name, kind in weights.items() if name.endswith(("_weight", "word"))}
    kinds = {name: kind for name, kind in kinds.items() if "ln_" not in name and ".dw" not in name}
    assert len(kinds) == 9
    assert set(kinds.values()) == {"i8"}


@NEEDS_OPENVINO
def test_files_are_replaced_beneath_a_session_that_is_open(tmp_path: Path) -> None:
    lowering, options = get_lowering("openvino"), RuntimeOptions("openvino")
    first, second = (random_network(Architecture(BLOCKS), GEOMETRY, seed=n) for n in range(2))
    feeds = {name: np.ones((1, 7), np.int64) for name in ("input_ids", "attention_mask")}
    session = get_runtime("openvino").open_session(lowering.lower(first, tmp_path).path, options)
    before = session.outputs(feeds)[0]
    lowering.lower(second, tmp_path)
    assert np.array_equal(session.outputs(feeds)[0], before)


def of_length(runtime: str, tokens: int) -> dict[str, Any]:
    """What has a network compiled for one length alone, where each length takes seconds."""
    return {"shape": (1, tokens)} if LIMITS[runtime].by_length else {}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("runtime", HERE)
def test_every_activation_is_computed_as_in_torch(
    tmp_path: Path, runtime: str, activation: str
) -> None:
    geometry = dataclasses.replace(GEOMETRY, activation=activation)
    network = wide_ffn(geometry)
    ids, mask = np.arange(12)[None] + 5, np.ones((1, 12), np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask}
    path = get_lowering(runtime).lower(network, tmp_path, **of_length(runtime, 12)).path
    found = get_runtime(runtime).open_session(path, RuntimeOptions(runtime)).outputs(feeds)[0]
    vectors = {}
    for name in ACTIVATIONS:
        module = TorchNetwork(wide_ffn(dataclasses.replace(GEOMETRY, activation=name)))
        with torch.no_grad():
            vectors[name] = module(torch.tensor(ids), torch.tensor(mask)).numpy()
    near = {name: float(np.abs(found - vector).max()) for name, vector in vectors.items()}
    assert near.pop(activation) < 5e-6
    assert min(near.values()) > 2e-5


@pytest.mark.parametrize("runtime", HERE)
def test_an_embedding_of_its_own_size_is_mapped(tmp_path: Path, runtime: str) -> None:
    network = random_network(Architecture(BLOCKS), dataclasses.replace(GEOMETRY, embedding=32))
    assert network.tensors[0]["word"].shape == (50, 32)
    assert network.params == params(network.architecture, network.geometry)
    ids, mask = np.arange(12)[None] + 5, np.ones((1, 12), np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask}
    path = get_lowering(runtime).lower(network, tmp_path, **of_length(runtime, 12)).path
    found = get_runtime(runtime).open_session(path, RuntimeOptions(runtime)).outputs(feeds)[0]
    with torch.no_grad():
        wanted = TorchNetwork(network)(torch.tensor(ids), torch.tensor(mask)).numpy()
    assert np.abs(found - wanted).max() < 1e-5
    if runtime == "onnxruntime":
        variant, geometry = Variant(runtime, "fp32"), network.geometry
        parts = [layer_file_bytes(layer, geometry, variant) for layer in network.layers]
        assert path.stat().st_size <= file_base_bytes(variant) + sum(parts)


RELATIVE = dataclasses.replace(GEOMETRY, buckets=32, max_positions=300)


def with_positions(precision: str = "fp32") -> Network:
    """Attention in which relative positions decide most of the scores."""
    network = random_network(Architecture(BLOCKS, precision), RELATIVE, "embed-cls")
    scales = {"bucket_bias": 150.0, "v_weight": 20.0, "o_weight": 20.0}
    tensors = [
        {name: value * np.float32(scales.get(name, 1)) for name, value in own.items()}
        for own in network.tensors
    ]
    return dataclasses.replace(network, tensors=tuple(tensors))


RELATIVE_MADE = [
    (runtime, precision, most)
    for runtime in HERE
    for precision, most in (("fp32", 1e-5), ("int8", 0.05))
    if runtime != "tvm" or precision not in HANDWRITTEN
]


@pytest.mark.parametrize(("runtime", "precision", "most"), RELATIVE_MADE)
def test_relative_positions_add_to_the_scores_of_attention(
    tmp_path: Path, runtime: str, precision: str, most: float
) -> None:
    network = with_positions(precision)
    assert network.params == params(network.architecture, network.geometry)
    ids = np.random.default_rng(0).integers(5, 45, (2, 200))
    mask = np.ones((2, 200), np.int64)
    mask[1, 150:] = 0
    path = get_lowering(runtime).lower(network, tmp_path, **of_length(runtime, 200)).path
    session = get_runtime(runtime).open_session(path, RuntimeOptions(runtime))
    feeds = [{"input_ids": ids[i : i + 1], "attention_mask": mask[i : i + 1]} for i in (0, 1)]
    found = np.concatenate([session.outputs(feed)[0] for feed in feeds])
    bare = [
        {name: 0 * value if name == "bucket_bias" else value for name, value in own.items()}
        for own in network.tensors
    ]
    with torch.no_grad():
        wanted, other = (
            TorchNetwork(one)(torch.tensor(ids), torch.tensor(mask)).numpy()
            for one in (network, dataclasses.replace(network, tensors=tuple(bare)))
        )
    assert np.abs(found - wanted).max() < most < np.abs(other - wanted).max()
    if runtime == "onnxruntime":
        variant, geometry = Variant(runtime, precision), network.geometry
        parts = [layer_file_bytes(layer, geometry, variant) for layer in network.layers]
        said = file_base_bytes(variant) + sum(parts)
        assert path.stat().st_size <= said <= path.stat().st_size + 8000


TYPED = dataclasses.replace(GEOMETRY, separator=3)


@pytest.mark.parametrize(("runtime", "precision", "most"), RELATIVE_MADE)
def test_the_second_text_has_a_token_type_of_its_own(
    tmp_path: Path, runtime: str, precision: str, most: float
) -> None:
    network = random_network(Architecture(BLOCKS, precision), TYPED, "embed-cls")
    scales = {"segment": 100.0, "v_weight": 20.0, "o_weight": 20.0}
    tensors = [
        {name: value * np.float32(scales.get(name, 1)) for name, value in own.items()}
        for own in network.tensors
    ]
    network = dataclasses.replace(network, tensors=tuple(tensors))
    assert network.params == params(network.architecture, network.geometry)
    rows = [[2, 9, 8, 3, 7, 6, 5, 3], [2, 9, 3, 3, 7, 6, 3, 0], [2, 9, 8, 7, 6, 5, 4, 3]]
    ids, mask = np.array(rows), np.ones((3, 8), np.int64)
    mask[1, 7] = 0
    path = get_lowering(runtime).lower(network, tmp_path, **of_length(runtime, 8)).path
    session = get_runtime(runtime).open_session(path, RuntimeOptions(runtime))
    feeds = [{"input_ids": ids[i : i + 1], "attention_mask": mask[i : i + 1]} for i in range(3)]
    found = np.concatenate([session.outputs(feed)[0] for feed in feeds])
    untyped = dataclasses.replace(network, geometry=dataclasses.replace(TYPED, separator=44))
    with torch.no_grad():
        wanted, other = (
            TorchNetwork(one)(torch.tensor(ids), torch.tensor(mask)).numpy()
            for one in (network, untyped)
        )
    assert np.abs(found - wanted).max() < most
    assert np.abs(other - wanted)[:2].max(axis=1).min() > 2 * most
    assert (other[2] == wanted[2]).all()  # a text alone
    kept = np.array([0, 2, 3, 5, 6, 7, 8, 9])
    cut = network.with_words(kept)
    moved = torch.tensor(np.searchsorted(kept, ids[:2]))
    with torch.no_grad():
        same = TorchNetwork(cut)(moved, torch.tensor(mask[:2]))
    np.testing.assert_allclose(same.numpy(), wanted[:2], atol=1e-6)
    if runtime == "onnxruntime":
        variant = Variant(runtime, precision)
        parts = [layer_file_bytes(layer, TYPED, variant) for layer in network.layers]
        said = file_base_bytes(variant) + sum(parts)
        assert path.stat().st_size <= said <= path.stat().st_size + 8000


def test_runtimes_without_token_types_say_so() -> None:
    space = derived_space(dataclasses.replace(MINILM_L6, separator=102))
    for precision in HANDWRITTEN:
        said = why_unsupported("tvm", precision, space, "embed")
        assert said == f"tvm makes {precision} without token types, which tell two texts apart"
    assert why_unsupported("onnxruntime", "fp32", space, "embed") is None


@pytest.mark.parametrize(("runtime", "precision", "most"), RELATIVE_MADE)
@pytest.mark.parametrize(
    "head",
    ["embed-dense24gelu-dense16sigmoid-first8", "scores-cls-dense32tanh-dense3relu-unscaled"],
)
def test_what_is_behind_the_pooling_is_lowered(
    tmp_path: Path, runtime: str, precision: str, most: float, head: str
) -> None:
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY, head)
    own = {name: value * np.float32(20) for name, value in network.tensors[-1].items()}
    network = dataclasses.replace(network, tensors=(*network.tensors[:-1], own))
    ids, mask = np.arange(12)[None] + 5, np.ones((1, 12), np.int64)
    path = get_lowering(runtime).lower(network, tmp_path, **of_length(runtime, 12)).path
    session = get_runtime(runtime).open_session(path, RuntimeOptions(runtime))
    found = session.outputs({"input_ids": ids, "attention_mask": mask})[0]
    with torch.no_grad():
        wanted = TorchNetwork(network)(torch.tensor(ids), torch.tensor(mask)).numpy()
    assert found.shape == wanted.shape == (1, 8 if head.startswith("embed") else 3)
    assert np.abs(found - wanted).max() < most
    assert np.abs(wanted).max() > 0.1


def wide_ffn(geometry: Geometry) -> Network:
    """One feed-forward layer whose inner values are where activations differ."""
    network = random_network(Architecture((Block(64, ("ffn",)),)), geometry)
    tensors = [dict(own) for own in network.tensors]
    tensors[1]["in_weight"] = tensors[1]["in_weight"] * np.float32(12)
    tensors[1]["out_weight"] = tensors[1]["out_weight"] * np.float32(50)
    return dataclasses.replace(network, tensors=tuple(tensors))


@pytest.mark.tvm
def test_what_tvm_has_one_activation_for_says_so() -> None:
    from nasc.lowering.handwritten.module import handwritten_module
    from nasc.lowering.static.compile import compile_static

    network = wide_ffn(dataclasses.replace(GEOMETRY, activation="relu"))
    with pytest.raises(
        ExportError, match=r"tvm makes int8 with GELU, not with 'relu'. Take another"
    ):
        handwritten_module(network.with_precision("int8"), {"main": (1, 8)}, "avx2")
    narrow = random_network(Architecture(BLOCKS), dataclasses.replace(GEOMETRY, embedding=32))
    with pytest.raises(
        ExportError, match=r"tvm makes int8 without an embedding of its own size. Take another"
    ):
        handwritten_module(narrow.with_precision("int8"), {"main": (1, 8)}, "avx2")
    with pytest.raises(UsageError, match=r"C libraries are made of networks .* 'gelu', not 'relu'"):
        compile_static(network, prefix="own")
    with pytest.raises(UsageError, match=r"C libraries are made of .* without a map"):
        compile_static(narrow, prefix="own")
    with pytest.raises(
        ExportError, match=r"tvm makes int8 without relative positions in attention. Take another"
    ):
        handwritten_module(with_positions("int8").with_head("embed"), {"main": (1, 8)}, "avx2")
    with pytest.raises(UsageError, match=r"C libraries are made of .* without relative positions"):
        compile_static(with_positions(), prefix="own")
    dense = random_network(Architecture(BLOCKS), GEOMETRY, "embed-dense8tanh")
    with pytest.raises(
        ExportError, match=r"tvm makes int8 of pooled vectors as they are, not of 'embed-dense8"
    ):
        handwritten_module(dense.with_precision("int8"), {"main": (1, 8)}, "avx2")
