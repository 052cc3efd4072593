"""Tensors of a supernet made small enough to ship: int8 per channel, and back.

Matrices keep 8 bits a weight and one scale a row (output channel), so that the largest weight of a
row is +-127; vectors (biases, layer normalisation) keep 16 bits. It is storage, not
arithmetic: what is loaded is float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nasc.networks.network import SETTLED

SCALE = ".scale"
"""Ends the name of a matrix's scales."""

LEVELS = 127


def compressed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are stored.

    Args:
        tensors: float32; matrices (rows, columns) and vectors.

    Returns:
        Matrices as int8 with float32 scales (rows,) beside them, vectors as float16; what is never
        trained (`nasc.networks.network.SETTLED`) as it is.
    """
    found = {}
    for name, value in tensors.items():
        if name.rpartition(".")[2] in SETTLED:
            found[name] = value
            continue
        if value.dim() < 2:
            found[name] = value.half()
            continue
        scale = value.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / LEVELS
        found[name] = (value / scale[:, None]).round().to(torch.int8)
        found[name + SCALE] = scale
    return found


def expanded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `compressed` gave, as float32 again; a weight is off by half a scale at most.

    Raises:
        KeyError: If a matrix has no scales.
    """
    found = {}
    for name, value in tensors.items():
        if not name.endswith(SCALE):
            found[name] = value.float()
            if value.dtype == torch.int8:
                found[name] *= tensors[name + SCALE][:, None]
    return found
