"""Matrices as int8 kernels read them."""

from __future__ import annotations

import numpy as np
import pytest

from nasc.lowering.handwritten.weights import ZERO, pack_matrix


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shift", [None, 0.17])
def test_a_packed_matrix_multiplies_as_the_matrix_did(shift: float | None, signed: bool) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 32), dtype=np.float32)
    bias = rng.standard_normal(64, dtype=np.float32)
    packed = pack_matrix(weight, bias, shift, signed=signed)
    scale = np.float32(0.02)
    x = rng.integers(0, 256, (5, 32))
    numbers = (x - ZERO) * scale if shift is None else x * scale - np.float32(shift)
    flat = packed.packed.transpose(0, 2, 1, 3).reshape(64, 32).astype(np.int64)
    sums = packed.start + (x - ZERO if signed else x) @ flat.T
    found = sums * scale * packed.scales + packed.bias
    exact = numbers @ (flat * packed.scales[:, None]).T + bias
    np.testing.assert_allclose(found, exact, atol=1e-4)
    np.testing.assert_allclose(flat * packed.scales[:, None], weight, atol=packed.scales.max() / 2)


def test_neighbours_are_so_small_that_their_products_fit_16_bits() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32), dtype=np.float32)
    packed = pack_matrix(weight, np.zeros(64, np.float32), clips=True).packed
    pairs = packed.astype(np.int64).reshape(*packed.shape[:3], 2, 2)
    for sign in (1, -1):
        assert 255 * np.maximum(sign * pairs, 0).sum(-1).max() < 2**15
