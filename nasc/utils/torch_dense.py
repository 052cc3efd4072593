"""What stands behind a pooled vector, in torch: linear layers with their activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from nasc.architecture.heads import Pooling

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
}
"""By the names of `nasc.architecture.heads.DENSE_ACTIVATIONS`."""


def apply_dense(vectors: Tensor, tensors: Mapping[str, Tensor], how: Pooling) -> Tensor:
    """The linear layers behind a pooling: (batch, outputs of the last).

    Args:
        vectors: Pooled states, (batch, hidden); of a head that scores tokens (batch, seq_len,
            hidden), and so is what it gives.
        tensors: ``dense1_weight`` (outputs, inputs), ``dense1_bias`` (outputs,) and so on.
        how: Says which layers there are.
    """
    for place, dense in enumerate(how.dense, 1):
        vectors = functional.linear(
            vectors, tensors[f"dense{place}_weight"], tensors[f"dense{place}_bias"]
        )
        vectors = _ACTIVATIONS[dense.activation](vectors)
    return vectors


def finish_vector(vectors: Tensor, tensors: Mapping[str, Tensor], how: Pooling) -> Tensor:
    """Vectors as a teacher gives them, out of pooled states: (batch, `Pooling.size`).

    The order is sentence-transformers': Dense, Normalize, then the cut of `truncate_dim`.

    Args:
        vectors: Pooled states, (batch, hidden).
        tensors: See `apply_dense`.
        how: Which layers, whether scaled to length 1, how many numbers are kept.
    """
    vectors = apply_dense(vectors, tensors, how)
    if how.scaled:
        vectors = functional.normalize(vectors, dim=-1)
    return vectors[:, : how.first]
