"""Bytes: counted values against the emitted graph, and the order of what is estimated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_device import TINY

from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import MINILM_L6, PRESETS, Architecture, Block
from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.export.onnx import build
from nasc.latency.memory import (
    activation_bytes,
    file_base_bytes,
    layer_file_bytes,
    peak_memory_bytes,
    tensor_bytes,
)
from nasc.latency.plan import random_architecture
from nasc.lowering import LIMITS, get_lowering
from nasc.lowering import PRECISIONS as LOWERED
from nasc.networks.network import random_network, tensor_shapes
from profilers.context import read_context
from profilers.runtimes import ONNXRUNTIME_WEB, get_runtime

FP32, INT8, EMB4 = VARIANTS = tuple(
    Variant("onnxruntime", precision) for precision in ("fp32", "int8", "int8-emb4")
)
HEADS = ["embed", "embed-cls", "embed-max-unscaled", "hidden", "spans", "classify-3"]
HEADS += ["tokens-dense5identity-unscaled", "answers-dense2identity-unscaled"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_tensors_have_the_bytes_that_the_emitter_writes(variant: Variant, head: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        architecture = random_architecture(TINY, rng, variant.precision)
        network = random_network(architecture, TINY.geometry, head)
        counted = sum(tensor_bytes(x, TINY.geometry, variant) for x in network.layers)
        tensors = [t for t in build(network).graph.initializer if t.name[0].isdigit()]
        assert counted == sum(len(t.raw_data) for t in tensors)


EVERY = [
    Variant(runtime, precision)
    for runtime, precisions in LOWERED.items()
    for precision in precisions
    if not LIMITS[runtime].is_compiled  # they take seconds each: below, tests of torch
    if runtime != ONNXRUNTIME_WEB  # the files of onnxruntime
]
MOST_OVER = {"onnxruntime": (2500, 250), "openvino": (12_000, 3_500)}
"""By runtime, bytes that a file may be smaller than said: in all, and for each layer."""


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_a_file_is_never_larger_than_said_and_hardly_smaller(
    variant: Variant, head: str, tmp_path: Path
) -> None:
    pytest.importorskip(variant.runtime)
    rng = np.random.default_rng(1)
    networks = [random_architecture(TINY, rng, variant.precision) for _ in range(4)]
    networks.append(TINY.teacher.with_precision(variant.precision))
    networks.append(Architecture((Block(32, ("mha", "ffn", "sep3") * 8),) * 2, variant.precision))
    for architecture in networks:
        network = random_network(architecture, TINY.geometry, head)
        size = get_lowering(variant.runtime).lower(network, tmp_path).size_bytes
        said = file_base_bytes(variant) + sum(
            layer_file_bytes(layer, TINY.geometry, variant) for layer in network.layers
        )
        at_all, each = MOST_OVER[variant.runtime]
        assert size <= said <= size + at_all + each * len(network.layers)


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize("precision", LOWERED["tvm"])
def test_a_library_is_never_larger_than_said(tmp_path: Path, precision: str) -> None:
    pytest.importorskip("tvm")
    if precision not in get_runtime("tvm").precisions(read_context()["cpu"]["flags"]):
        pytest.skip(f"this processor does not compute in {precision}")
    variant = Variant("tvm", precision)
    geometry = replace(TINY.geometry, hidden=64, head_size=32, intermediate=128)
    blocks = (Block(64, ("mha", "ffn", "sep3")), Block(32, ("mha", "ffn")))
    network = random_network(Architecture(blocks, precision), geometry)
    size = get_lowering("tvm").lower(network, tmp_path).size_bytes
    said = file_base_bytes(variant) + sum(
        layer_file_bytes(layer, geometry, variant) for layer in network.layers
    )
    assert size <= said


def test_exact_bytes_of_known_layers() -> None:
    g = MINILM_L6
    assert tensor_bytes(Layer("ffn", 384, 384), g, FP32) == 4 * (
        2 * 384 * 1536 + 1536 + 384 + 2 * 384
    )
    assert tensor_bytes(Layer("ffn", 384, 384), g, INT8) == (
        2 * 384 * 1536 + 4 * 2 * (1536 + 384) + 4 * 2 * 384
    )
    word, rest = 30522 * 384, 512 * 384 + 2 * 384
    assert tensor_bytes(Layer("embedding", 384, 384), g, INT8) == word + 4 * (30522 + rest)
    assert (
        tensor_bytes(Layer("embedding", 384, 384), g, EMB4) == word // 2 + 2 * word // 32 + 4 * rest
    )
    assert tensor_bytes(Layer("ffn", 384, 384), g, EMB4) == tensor_bytes(
        Layer("ffn", 384, 384), g, INT8
    )
    assert tensor_bytes(Layer("head_embed", 384, 384), g, INT8) == 0
    assert tensor_bytes(Layer("head_embed", 128, 384), g, INT8) == 4 * (128 * 384 + 384)
    assert tensor_bytes(Layer("head_hidden", 128, 384), g, INT8) == 128 * 384 + 4 * 2 * 384


@pytest.mark.parametrize("layer", layers(PRESETS["minilm-l6"].teacher, MINILM_L6), ids=str)
def test_fp32_is_four_bytes_a_value(layer: Layer) -> None:
    values = sum(int(np.prod(s)) for s in tensor_shapes(layer, MINILM_L6).values())
    assert tensor_bytes(layer, MINILM_L6, FP32) == 4 * values


def test_attention_grows_with_the_square_of_the_length_and_the_rest_linearly() -> None:
    mha, ffn = Layer("mha", 384, 384), Layer("ffn", 384, 384)
    short, long = (activation_bytes(mha, MINILM_L6, n, 1, FP32) for n in (256, 512))
    assert 3.5 < long / short < 4
    assert activation_bytes(ffn, MINILM_L6, 512, 1, FP32) == 2 * activation_bytes(
        ffn, MINILM_L6, 256, 1, FP32
    )
    assert activation_bytes(ffn, MINILM_L6, 256, 3, FP32) == 3 * activation_bytes(
        ffn, MINILM_L6, 256, 1, FP32
    )
    assert activation_bytes(ffn, MINILM_L6, 128, 1, FP32) == 4 * 128 * (384 + 2 * 1536)


@pytest.mark.parametrize(
    ("runtime", "text", "seq_len", "batch", "measured_mb"),
    [  # peaks on x86-64 in MB, the runtime's process included (2026-11)
        ("onnxruntime", "keep | keep | keep @ fp32", 128, 1, 199.6),
        ("onnxruntime", "keep | keep | keep @ int8", 512, 1, 163.3),
        ("onnxruntime", "128: M | 128: M | 128: M @ fp32", 32, 1, 157.9),
        ("onnxruntime", "384: F F F F | 384: F F F F | 384: F F F F @ fp32", 128, 8, 244.1),
        ("onnxruntime", "192: M F | keep | 128: S5 @ int8", 128, 1, 93.7),
        ("openvino", "keep | keep | keep @ fp32", 128, 1, 256.1),
        ("openvino", "keep | keep | keep @ bf16", 128, 8, 197.8),
        ("openvino", "128: M | 128: M | 128: M @ fp16", 128, 1, 134.3),
        ("openvino", "192: M F | keep | 128: S5 S5 @ int8", 512, 1, 146.4),
    ],
)
def test_peak_memory_is_near_what_was_measured(
    runtime: str, text: str, seq_len: int, batch: int, measured_mb: float
) -> None:
    network = PRESETS["minilm-l6"].parse(text)
    base = {"onnxruntime": 52.1e6, "openvino": 64.5e6}[runtime]
    estimate = peak_memory_bytes(network, runtime, MINILM_L6, "embed", seq_len, batch, base)
    assert 0.94 < estimate / (measured_mb * 1e6) < 1.2


def test_what_no_runtime_is_known_to_take_is_refused() -> None:
    for variant in (Variant("onnxruntime", "bf16"), Variant("other", "fp32")):
        with pytest.raises(UsageError, match=f"the memory that {variant} takes is not known"):
            tensor_bytes(Layer("mha", 32, 32), TINY.geometry, variant)
