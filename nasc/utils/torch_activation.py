"""Activations of feed-forward layers, in torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def activate(x: Tensor, name: str) -> Tensor:
    """Apply an activation to every value.

    Args:
        x: Of any shape.
        name: Out of `nasc.architecture.space.ACTIVATIONS`.

    Returns:
        Of the shape of x.
    """
    if name == "relu":
        return functional.relu(x)
    return functional.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")
