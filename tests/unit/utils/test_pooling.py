"""Pooling in torch and in numpy: the same rows, by hand."""

import numpy as np
import pytest
import torch

from nasc.architecture.heads import POOLINGS
from nasc.utils import pooling, torch_pooling

STATES = np.array(
    [[[2.0, -1.0], [4.0, -3.0], [99.0, 99.0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]], np.float32
)
MASK = np.array([[1, 1, 0], [1, 1, 1]])
WANTED = {
    "mean": [[3, -2], [3, 5]],
    "cls": [[2, -1], [1, 2]],
    "max": [[4, -1], [5, 9]],
    "sqrt_len": [[6 / 2**0.5, -4 / 2**0.5], [9 / 3**0.5, 15 / 3**0.5]],
}


@pytest.mark.parametrize("mode", POOLINGS)
def test_padding_counts_nowhere(mode: str) -> None:
    real = torch.from_numpy(MASK[:, :, None].astype(np.float32))
    found = torch_pooling.pool(torch.from_numpy(STATES), real, mode).numpy()
    np.testing.assert_allclose(found, WANTED[mode], rtol=1e-6)
    found = pooling.pool(STATES, MASK, mode)
    np.testing.assert_allclose(found, WANTED[mode], rtol=1e-6)
    assert found.dtype == np.float32
