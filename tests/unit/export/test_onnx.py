"""The emitter: what it builds is valid, standard, and computes the network."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

from nasc.architecture.heads import HEADS, gives_scores, gives_vector, pooling_of
from nasc.architecture.layers import params
from nasc.architecture.space import OPERATIONS
from nasc.data.batching import pad, without_padding
from nasc.errors import ExportError
from nasc.evaluation.encoder import Encoder
from nasc.export.graph import IR_VERSION, OPSET, GraphBuilder
from nasc.export.onnx import EMITTER_VERSION, ONE_TOKEN, build, emit, output_name
from nasc.export.quantization import quantize_matrix, quantize_rows
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork, mean_pool

MakeNetwork = Callable[..., Network]

EVERYTHING = "64: mha ffn sep3 | 32: sep5 mha | 48: sep7 ffn"
STANDARD = {"", "ai.onnx"}


def torch_output(network: Network, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        module = TorchNetwork(network).eval()
        return module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def onnx_output(network: Network, folder: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    path = folder / "model.onnx"
    emit(network, path)
    return Encoder(path).run(ids, mask)


OTHER_POOLINGS = (
    "embed-cls",
    "embed-max-unscaled",
    "embed-sqrt_len",
    "embed-unscaled",
    "embed-max-dense24tanh-dense16sigmoid",
    "embed-dense40gelu-unscaled-first8",
    "scores-cls-dense64tanh-dense3sigmoid-unscaled",
)
DENSE = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2,
}
OF_TOKENS = ("tokens-dense5identity-unscaled", "answers-dense2identity-unscaled")
EVERY_HEAD = (*HEADS, *OTHER_POOLINGS, "hidden-cls", "spans", "classify-3", *OF_TOKENS)


def emitted(network: Network, path: Path) -> Path:
    emit(network, path)
    return path


def largest_difference(a: np.ndarray, b: np.ndarray, mask: np.ndarray, head: str) -> float:
    lengths = mask.sum(1)
    return max(
        float(np.abs(without_padding(x, head, n) - without_padding(y, head, n)).max())
        for x, y, n in zip(a, b, lengths, strict=True)
    )


@pytest.mark.parametrize("head", EVERY_HEAD)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("hidden", [64, 32])
def test_every_operation_computes_what_torch_computes(
    make_network: MakeNetwork,
    token_lists: list[list[int]],
    tmp_path: Path,
    operation: str,
    head: str,
    hidden: int,
) -> None:
    network = make_network(f"{hidden}: {operation} {operation}", head=head)
    ids, mask = pad(token_lists[:6])
    found = onnx_output(network, tmp_path, ids, mask)
    assert largest_difference(found, torch_output(network, ids, mask), mask, head) < 1e-5


blocks = st.lists(
    st.tuples(
        st.sampled_from([16, 32, 48, 64]),
        st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    blocks=blocks,
    head=st.sampled_from(EVERY_HEAD),
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=4),
)
def test_random_architectures_compute_what_torch_computes_padded_or_not(
    make_network: MakeNetwork,
    tmp_path: Path,
    blocks: list[tuple[int, list[str]]],
    head: str,
    seed: int,
    lengths: list[int],
) -> None:
    text = " | ".join(f"{hidden}: {' '.join(names)}" for hidden, names in blocks)
    network = make_network(text, head=head, seed=seed)
    rng = np.random.default_rng(seed)
    texts = [rng.integers(1, 100, length).tolist() for length in lengths]
    ids, mask = pad(texts)
    found = onnx_output(network, tmp_path, ids, mask)
    assert largest_difference(found, torch_output(network, ids, mask), mask, head) < 2e-5
    encoder = Encoder(tmp_path / "model.onnx")
    for row, tokens in enumerate(texts):
        alone = encoder.run(*pad([tokens]))[0]
        padded = without_padding(found[row], head, len(tokens))
        assert np.abs(alone - padded).max() < 1e-5
        wider = encoder.run(*pad([tokens], 64))[0]
        wider = without_padding(wider, head, len(tokens))
        assert np.abs(alone - wider).max() < 1e-5


@pytest.mark.parametrize("head", EVERY_HEAD)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_is_valid_and_of_standard_operators_only(
    make_network: MakeNetwork, precision: str, head: str
) -> None:
    network = make_network(EVERYTHING, precision, head)
    model = build(network)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= STANDARD
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert (OPSET, IR_VERSION) == (20, 9)
    assert model.ir_version == IR_VERSION
    assert [i.name for i in model.graph.input] == ["input_ids", "attention_mask"]
    for value in model.graph.input:
        assert [d.dim_param for d in value.type.tensor_type.shape.dim] == ["batch", "seq_len"]
    first, *others = [o.name for o in model.graph.output]
    assert first == output_name(head)
    finished = gives_vector(head) and not gives_scores(head)
    assert others == ([ONE_TOKEN] if finished else ["end_logits"] * (head == OF_TOKENS[1]))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["nasc.architecture"] == str(network.architecture)
    assert metadata["nasc.head"] == head
    assert metadata["nasc.max_positions"] == "64"


@pytest.mark.parametrize("head", EVERY_HEAD)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_symbolic_shape_inference_knows_every_shape(
    make_network: MakeNetwork, precision: str, head: str
) -> None:
    model = build(make_network(EVERYTHING, precision, head))
    found = SymbolicShapeInference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*found.value_info, *found.output)
    }
    assert shapes.keys() >= {name for node in found.node for name in node.output}
    stated = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    assert {name: shapes[name] for name in stated} == stated


@pytest.mark.parametrize("head", EVERY_HEAD)
def test_the_runtime_s_preprocessing_and_quantisation_take_a_model(
    make_network: MakeNetwork, token_lists: list[list[int]], tmp_path: Path, head: str
) -> None:
    emit(make_network(EVERYTHING, head=head), tmp_path / "model.onnx")
    ready, small = tmp_path / "ready.onnx", tmp_path / "small.onnx"
    quant_pre_process(str(tmp_path / "model.onnx"), str(ready))
    quantize_dynamic(ready, small)
    batch = pad(token_lists)
    names = ("input_ids", "attention_mask")
    wanted, found, rough = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, dict(zip(names, batch, strict=True))
        )
        for path in (tmp_path / "model.onnx", ready, small)
    )
    for first, second, third in zip(wanted, found, rough, strict=True):
        np.testing.assert_allclose(first, second, atol=2e-5)
        assert third.shape == first.shape


def test_a_constant_without_axes_stays_one() -> None:
    graph = GraphBuilder()
    graph.node("Add", "x", graph.constant(np.float32(1)))
    graph.rename_last("y")
    (one,) = graph.model({"x": ["n"]}, {"y": ["n"]}, {}).graph.initializer
    assert list(one.dims) == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_second_output_is_the_vector_as_a_single_token(
    make_network: MakeNetwork, token_lists: list[list[int]], tmp_path: Path, precision: str
) -> None:
    emit(make_network(EVERYTHING, precision), tmp_path / "model.onnx")
    ids, mask = pad(token_lists)
    vectors, states = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    ).run(["sentence_embedding", "last_hidden_state"], {"input_ids": ids, "attention_mask": mask})
    assert states.shape == (len(ids), 1, 64)
    np.testing.assert_array_equal(states[:, 0], vectors)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("head", OTHER_POOLINGS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_is_pooled_as_its_head_says(
    make_network: MakeNetwork,
    token_lists: list[list[int]],
    tmp_path: Path,
    precision: str,
    head: str,
) -> None:
    """By hand, out of the states that the same network gives with the head ``hidden``."""
    network = make_network(
        EVERYTHING if precision == "fp32" else "32: sep3 | 64: mha", precision, head
    )
    states = Encoder(emitted(network.with_head("hidden"), tmp_path / "states.onnx"))
    encoder = Encoder(emitted(network, tmp_path / "model.onnx"))
    how = pooling_of(head)
    for tokens in token_lists[:5]:
        ids, mask = pad([tokens])
        one = states.run(ids, mask)[0]
        wanted = {
            "mean": one.mean(0),
            "cls": one[0],
            "max": one.max(0),
            "sqrt_len": one.sum(0) / np.sqrt(len(one)),
        }[how.mode]
        for place, dense in enumerate(how.dense, 1):
            own = network.tensors[-1]
            wanted = own[f"dense{place}_weight"] @ wanted + own[f"dense{place}_bias"]
            wanted = DENSE[dense.activation](wanted)
        if how.scaled:
            wanted = wanted / np.linalg.norm(wanted)
        np.testing.assert_allclose(encoder.run(ids, mask)[0], wanted[: how.first], atol=1e-5)


def test_the_same_network_gives_the_same_bytes(make_network: MakeNetwork) -> None:
    first = build(make_network(EVERYTHING)).SerializeToString(deterministic=True)
    assert first == build(make_network(EVERYTHING)).SerializeToString(deterministic=True)


def test_a_network_holds_the_parameters_that_cost_counts(make_network: MakeNetwork) -> None:
    for head in EVERY_HEAD:
        network = make_network(EVERYTHING, head=head)
        assert network.params == params(network.architecture, network.geometry, head)


def test_int8_stays_near_the_fp32_network(
    make_network: MakeNetwork, token_lists: list[list[int]], tmp_path: Path
) -> None:
    network = make_network(EVERYTHING, "int8")
    ids, mask = pad(token_lists)
    found = onnx_output(network, tmp_path, ids, mask)
    wanted = torch_output(network, ids, mask)
    assert (found * wanted).sum(1).mean() > 0.99
    assert np.abs(found - wanted).max() > 1e-5  # it is quantised
    fp32 = len(build(make_network(EVERYTHING)).SerializeToString())
    assert (tmp_path / "model.onnx").stat().st_size < 0.6 * fp32


def test_quantized_rows_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (20, 50)).astype(np.float32)
    weight[3] = 0
    quantized, scales = quantize_rows(weight)
    assert quantized.dtype == np.int8
    assert quantized.min() >= -127
    assert (np.abs(quantized * scales[:, None] - weight) <= 0.501 * scales[:, None]).all()
    assert (np.abs(quantized).max(axis=1)[[0, 1, 2]] == 127).all()


def test_no_two_neighbours_of_a_quantized_matrix_clip_in_16_bits() -> None:
    weight = np.random.default_rng(0).uniform(-1, 1, (20, 51)).astype(np.float32)
    quantized, scales = quantize_matrix(weight)
    assert (np.abs(quantized * scales[:, None] - weight) <= 0.501 * scales[:, None]).all()
    even = np.pad(quantized, ((0, 0), (0, 1))).astype(int).reshape(20, -1, 2)
    for sign in (1, -1):
        worst = 255 * np.maximum(sign * even, 0).sum(axis=2)
        assert worst.max() < 2**15
    assert np.abs(quantized).max() > 64  # yet more than seven bits are used


def test_tensors_of_wrong_shapes_are_refused(make_network: MakeNetwork) -> None:
    network = make_network("64: mha")
    with pytest.raises(ExportError, match="tensors for 2"):
        Network(network.architecture, network.geometry, "embed", network.tensors[:2])
    broken = dict(network.tensors[1]) | {"q_weight": np.zeros((64, 32), np.float32)}
    tensors = (network.tensors[0], broken, *network.tensors[2:])
    with pytest.raises(ExportError, match=r"mha 64.*\(64, 32\)"):
        Network(network.architecture, network.geometry, "embed", tensors)


@pytest.mark.parametrize("head", ["spans", "classify-3"])
@pytest.mark.parametrize("hidden", [64, 32])
def test_a_task_s_head_stays_fp32_and_its_body_keeps_its_cosines(
    make_network: MakeNetwork, token_lists: list[list[int]], hidden: int, head: str
) -> None:
    network = make_network(f"64: mha | {hidden}: ffn", "int8", head)
    products = [n.op_type for n in build(network).graph.node]
    body = build(make_network(f"64: mha | {hidden}: ffn", "int8")).graph.node
    assert products.count("MatMulInteger") == [n.op_type for n in body].count("MatMulInteger")
    ids, mask = pad(token_lists[:5])
    vectors = torch_output(network.body(), ids, mask)
    module = TorchNetwork(network)
    with torch.no_grad():
        real = Mask.of(torch.from_numpy(mask))
        states = mean_pool(module.hidden_state(torch.from_numpy(ids), real), real).numpy()
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors @ vectors.T, states @ states.T, atol=1e-5)


def test_another_head_takes_the_tensors_given_or_zeros(make_network: MakeNetwork) -> None:
    network = make_network("64: mha | 32: ffn")
    bare = network.with_head("classify-2")
    assert {name: value.shape for name, value in bare.tensors[-1].items()} == {
        "pool_weight": (64, 32),
        "pool_bias": (64,),
        "weight": (2, 64),
        "bias": (2,),
    }
    assert not any(value.any() for value in bare.tensors[-1].values())
    assert network.with_head("hidden").tensors[-1] is network.tensors[-1]
    with pytest.raises(ExportError):
        network.with_head("spans", {"weight": np.zeros((2, 64), np.float32)})


@pytest.mark.parametrize(
    ("head", "precision", "sha256"),
    [
        ("embed", "fp32", "7c8d4be89ebb5e5f"),
        ("embed", "int8", "4db59cf9fc28ba23"),
        ("hidden", "fp32", "6512d107b0fe879f"),
        ("hidden", "int8", "4d12126c06ea26a7"),
        ("spans", "fp32", "f13ab2ce5d569bdf"),
        ("classify-3", "int8", "6834c80639d64014"),
    ],
)
def test_graphs_of_a_version_of_the_emitter_are_the_same_bytes(
    make_network: MakeNetwork, head: str, precision: str, sha256: str
) -> None:
    assert EMITTER_VERSION == 3, "another version: put its hashes here"
    data = build(make_network(EVERYTHING, precision, head)).SerializeToString()
    assert hashlib.sha256(data).hexdigest().startswith(sha256)


def test_a_precision_that_no_onnx_graph_is_written_in_is_refused(
    make_network: MakeNetwork,
) -> None:
    with pytest.raises(ExportError, match="in the precision 'bf16'; known: fp32, int8"):
        build(make_network("64: mha", "bf16"))
