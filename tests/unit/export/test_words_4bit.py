"""The word embedding in 4 bits: what is stored, and what the graph makes of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from nasc.architecture.layers import group_size
from nasc.export.graph import GraphBuilder
from nasc.export.matrices import DynamicInt8Words4
from nasc.export.quantization import ZERO_4BIT, quantize_rows, quantize_rows_4bit


def unpacked(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What the 4 bits stand for."""
    bits = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - ZERO_4BIT
    wide = np.repeat(scales.astype(np.float32), bits.shape[1] // scales.shape[1], axis=1)
    return bits * wide


@pytest.mark.parametrize("columns", [2, 24, 32, 96, 384])
def test_values_lie_within_half_a_step_but_for_what_is_clipped(columns: int) -> None:
    table = np.random.default_rng(columns).standard_normal((200, columns)).astype(np.float32)
    packed, scales = quantize_rows_4bit(table)
    assert packed.shape == (200, columns // 2)
    assert scales.shape == (200, columns // group_size(columns))
    found = unpacked(packed, scales)
    step = np.repeat(scales.astype(np.float32), group_size(columns), axis=1)
    off = np.abs(found - table)
    clipped = np.abs(table) > 7.5 * step
    assert (off[~clipped] <= 0.501 * step[~clipped]).all()
    assert clipped.mean() < 0.15
    # Never worse than the scale that clips nothing.
    grouped = table.reshape(200, -1, group_size(columns))
    plain = (np.abs(grouped).max(axis=2, keepdims=True) / 7).astype(np.float16).astype(np.float32)
    rounded = np.clip(np.rint(grouped / plain), -8, 7) * plain
    error = np.square(found.reshape(grouped.shape) - grouped).sum(axis=2)
    assert (error <= np.square(rounded - grouped).sum(axis=2) * 1.0001).all()


def test_rows_of_zeros_and_of_large_values_stay_finite() -> None:
    table = np.zeros((3, 32), np.float32)
    table[1] = 1e4
    table[2, 0] = 1e-9
    packed, scales = quantize_rows_4bit(table)
    assert np.isfinite(scales).all()
    assert (scales > 0).all()
    assert np.abs(unpacked(packed, scales) - table).max() <= 1e4 / 14


def test_a_graph_gives_the_rows_that_are_stored() -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((50, 48)).astype(np.float32)
    g = GraphBuilder()
    DynamicInt8Words4().rows(g, "word", table, "ids")
    g.rename_last("rows")
    model = g.model({"ids": ["batch", "tokens"]}, {"rows": ["batch", "tokens", 48]}, {})
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    ids = rng.integers(0, 50, (3, 7))
    (found,) = onnxruntime.InferenceSession(data).run(None, {"ids": ids})
    np.testing.assert_allclose(found, unpacked(*quantize_rows_4bit(table))[ids], rtol=1e-6)
    stored = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    eight = sum(part.nbytes for part in quantize_rows(table))
    assert stored < 0.75 * eight
