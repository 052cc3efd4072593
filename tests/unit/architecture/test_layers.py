"""Layers, parameters and multiply-accumulates against sums made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nasc.architecture.layers import (
    Layer,
    border,
    layer_macs,
    layer_params,
    layers,
    linear_shapes,
    macs,
    params,
)
from nasc.architecture.space import BERT_BASE, MINILM_L6, OPERATIONS, PRESETS, Architecture, Block
from nasc.networks.network import random_network, tensor_shapes

MINILM = PRESETS["minilm-l6"]
MIXED = MINILM.parse("128: M F | keep | 192: S3")

EMBEDDING = (30522 + 512) * 384 + 2 * 384
TEACHER_LAYER = 4 * (384 * 384 + 384) + 2 * 384 + (384 * 1536 + 1536) + (1536 * 384 + 384) + 2 * 384


def test_parameters_of_the_teachers() -> None:
    """As published, less the pooler (h*h + h) and the token types (2 rows, folded in)."""
    bert = Architecture((Block(768, ("mha", "ffn") * 12, kept=True),))
    assert params(bert, BERT_BASE) == 109_482_240 - (768 * 768 + 768) - 2 * 768
    assert params(MINILM.teacher, MINILM_L6) == 22_713_216 - (384 * 384 + 384) - 2 * 384
    assert params(MINILM.teacher, MINILM_L6) == EMBEDDING + 6 * TEACHER_LAYER == 22_564_608


def test_the_full_size_network_has_the_layers_of_kept_blocks() -> None:
    whole = Architecture.whole(MINILM_L6)
    assert whole.is_teacher
    assert layers(whole, MINILM_L6, "embed") == layers(MINILM.teacher, MINILM_L6, "embed")


def test_layers_of_a_mixed_network() -> None:
    assert [str(layer) for layer in layers(MIXED, MINILM_L6)] == [
        "embedding 384",
        "border 384->128",
        "mha 128",
        "ffn 128",
        "border 128->384",
        "mha 384",
        "ffn 384",
        "mha 384",
        "ffn 384",
        "border 384->192",
        "sep3 192",
        "head_embed 192->384",
    ]


def test_parameters_of_a_mixed_network() -> None:
    by_hand = [
        EMBEDDING,
        384 * 128 + 128,
        4 * (128 * 128 + 128) + 2 * 128,
        128 * 512 + 512 + 512 * 128 + 128 + 2 * 128,
        128 * 384 + 384,
        2 * TEACHER_LAYER,
        384 * 192 + 192,
        2 * (192 * 3 + 192 + 192 * 192 + 192) + 2 * 192,
        192 * 384 + 384,
    ]
    assert params(MIXED, MINILM_L6) == sum(by_hand) == 15_987_904
    assert params(MIXED, MINILM_L6, "hidden") == sum(by_hand)
    assert params(MIXED.with_precision("int8"), MINILM_L6) == sum(by_hand)


@pytest.mark.parametrize("tokens", [1, 10, 128])
def test_macs_of_a_mixed_network(tokens: int) -> None:
    n = tokens
    teacher_layer = n * (4 * 384 * 384 + 2 * 384 * 1536) + 2 * n * n * 384
    body = [
        n * 384 * 128,
        n * 4 * 128 * 128 + 2 * n * n * 128,
        n * 2 * 128 * 512,
        n * 128 * 384,
        2 * teacher_layer,
        n * 384 * 192,
        n * 2 * (192 * 192 + 3 * 192),
    ]
    assert macs(MIXED, MINILM_L6, n) == sum(body) + 192 * 384
    assert macs(MIXED, MINILM_L6, n, "hidden") == sum(body) + n * 192 * 384


def test_macs_of_bert_base() -> None:
    bert = Architecture((Block(768, ("mha", "ffn") * 12, kept=True),))
    assert macs(bert, BERT_BASE, 128) == 11_173_625_856


def test_a_head_at_the_teacher_s_size_is_free() -> None:
    for head in ("embed", "hidden"):
        layer = Layer(f"head_{head}", 384, 384)
        assert layer_params(layer, MINILM_L6) == 0
        assert layer_macs(layer, MINILM_L6, 128) == 0
        assert tensor_shapes(layer, MINILM_L6) == {}


def test_borders() -> None:
    assert border(384, 384, 384) is None
    assert border(128, 128, 384) == Layer("border", 128, 128)
    assert str(border(128, 128, 384)) == "border 128->128"
    assert border(128, 384, 384) == Layer("border", 128, 384)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("hidden", MINILM.hidden_sizes)
def test_counts_agree_with_the_tensors(operation: str, hidden: int) -> None:
    layer = Layer(operation, hidden, hidden)
    shapes = tensor_shapes(layer, MINILM_L6)
    assert layer_params(layer, MINILM_L6) == sum(int(np.prod(s)) for s in shapes.values())
    products = {s for n, s in shapes.items() if len(s) == 2 and not n.startswith("dw")}
    assert {(o, i) for i, o in linear_shapes(layer, MINILM_L6)} == products


@pytest.mark.parametrize(
    "head",
    ["embed", "hidden", "spans", "classify-1", "classify-3", "tokens-dense5identity-unscaled"],
)
@pytest.mark.parametrize("text", ["keep | keep | keep", "128: M | 128: F S7 | 192: S5", str(MIXED)])
def test_a_network_s_parameters_are_the_sum_of_its_tensors(text: str, head: str) -> None:
    network = random_network(MINILM.parse(text), MINILM_L6, head, vocab_rows=30522)
    assert network.params == params(network.architecture, MINILM_L6, head)
