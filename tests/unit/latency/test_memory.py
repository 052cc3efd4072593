"""Bytes: counted values against the emitted graph, and the order of what is estimated."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_device import TINY

from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import MINILM_L6, PRESETS, SPACE_PRECISIONS, Architecture, Block
from nasc.errors import UsageError
from nasc.export.onnx import build, emit
from nasc.latency.memory import (
    FILE_BASE_BYTES,
    activation_bytes,
    layer_file_bytes,
    peak_memory_bytes,
    tensor_bytes,
)
from nasc.latency.plan import random_architecture
from nasc.networks.network import random_network, tensor_shapes

HEADS = ["embed", "hidden", "spans", "classify-3"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("precision", SPACE_PRECISIONS)
def test_tensors_have_the_bytes_that_the_emitter_writes(precision: str, head: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        network = random_network(random_architecture(TINY, rng, precision), TINY.geometry, head)
        counted = sum(tensor_bytes(x, TINY.geometry, precision) for x in network.layers)
        tensors = [t for t in build(network).graph.initializer if t.name[0].isdigit()]
        assert counted == sum(len(t.raw_data) for t in tensors)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("precision", SPACE_PRECISIONS)
def test_a_file_is_never_larger_than_said_and_hardly_smaller(
    precision: str, head: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    networks = [random_architecture(TINY, rng, precision) for _ in range(10)]
    networks.append(TINY.teacher.with_precision(precision))
    networks.append(Architecture((Block(32, ("mha", "ffn", "sep3") * 8),) * 2, precision))
    for architecture in networks:
        network = random_network(architecture, TINY.geometry, head)
        size = emit(network, tmp_path / "model.onnx")
        said = FILE_BASE_BYTES + sum(
            layer_file_bytes(layer, TINY.geometry, precision) for layer in network.layers
        )
        assert size <= said <= size + 2500 + 250 * len(network.layers)


def test_exact_bytes_of_known_layers() -> None:
    g = MINILM_L6
    assert tensor_bytes(Layer("ffn", 384, 384), g, "fp32") == 4 * (
        2 * 384 * 1536 + 1536 + 384 + 2 * 384
    )
    assert tensor_bytes(Layer("ffn", 384, 384), g, "int8") == (
        2 * 384 * 1536 + 4 * 2 * (1536 + 384) + 4 * 2 * 384
    )
    word, rest = 30522 * 384, 512 * 384 + 2 * 384
    assert tensor_bytes(Layer("embedding", 384, 384), g, "int8") == word + 4 * (30522 + rest)
    assert tensor_bytes(Layer("head_embed", 384, 384), g, "int8") == 0
    assert tensor_bytes(Layer("head_embed", 128, 384), g, "int8") == 4 * (128 * 384 + 384)
    assert tensor_bytes(Layer("head_hidden", 128, 384), g, "int8") == 128 * 384 + 4 * 2 * 384


@pytest.mark.parametrize("layer", layers(PRESETS["minilm-l6"].teacher, MINILM_L6), ids=str)
def test_fp32_is_four_bytes_a_value(layer: Layer) -> None:
    values = sum(int(np.prod(s)) for s in tensor_shapes(layer, MINILM_L6).values())
    assert tensor_bytes(layer, MINILM_L6, "fp32") == 4 * values


def test_attention_grows_with_the_square_of_the_length_and_the_rest_linearly() -> None:
    mha, ffn = Layer("mha", 384, 384), Layer("ffn", 384, 384)
    short, long = (activation_bytes(mha, MINILM_L6, n) for n in (256, 512))
    assert 3.5 < long / short < 4
    assert activation_bytes(ffn, MINILM_L6, 512) == 2 * activation_bytes(ffn, MINILM_L6, 256)
    assert activation_bytes(ffn, MINILM_L6, 256, 3) == 3 * activation_bytes(ffn, MINILM_L6, 256)
    assert activation_bytes(ffn, MINILM_L6, 128) == 4 * 128 * (384 + 2 * 1536)


@pytest.mark.parametrize(
    ("text", "seq_len", "batch", "measured_mb"),
    [  # peaks of onnxruntime 1.32 on x86-64 in MB, its process of 52 MB included (2026-11)
        ("keep | keep | keep @ fp32", 128, 1, 199.6),
        ("keep | keep | keep @ int8", 512, 1, 163.3),
        ("128: M | 128: M | 128: M @ fp32", 32, 1, 157.9),
        ("384: F F F F | 384: F F F F | 384: F F F F @ fp32", 128, 8, 244.1),
        ("192: M F | keep | 128: S5 @ int8", 128, 1, 93.7),
    ],
)
def test_peak_memory_is_near_what_was_measured(
    text: str, seq_len: int, batch: int, measured_mb: float
) -> None:
    network = PRESETS["minilm-l6"].parse(text)
    estimate = peak_memory_bytes(network, MINILM_L6, "embed", seq_len, batch, 52.1e6)
    assert 0.95 < estimate / (measured_mb * 1e6) < 1.2


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown precision 'int4'; known: fp32, int8"):
        tensor_bytes(Layer("mha", 32, 32), TINY.geometry, "int4")
