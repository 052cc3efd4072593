"""What a runtime's files and processes hold, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ByPrecision = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """Bytes that one runtime stores and holds for a network.

    Attributes:
        value_bytes: By precision, bytes of a stored parameter that is not quantized.
        activation_bytes: By precision, bytes of a value between two operators.
        file_base_bytes: Bound on what files hold besides the layers.
        structure_bytes: By precision and kind of layer, bound on the bytes of its nodes, names and
            shapes.
        embedding_copies: By precision, how often the stored word embedding is in memory at the
            peak.
        layer_bytes: What a layer takes besides its tensors, code made for it for example.
        matrix_copies: By precision, how often all other stored tensors are.
        activation_copies: By precision, memory of activations in units of those that live at the
            same time.
        session_bytes: What a loaded model takes besides.
        peak_margin: How far a measured peak may lie above the estimate, relative.
    """

    value_bytes: Mapping[str, int]
    activation_bytes: Mapping[str, int]
    file_base_bytes: int
    structure_bytes: Mapping[str, Mapping[str, int]]
    layer_bytes: float
    embedding_copies: ByPrecision
    matrix_copies: ByPrecision
    activation_copies: ByPrecision
    session_bytes: float
    peak_margin: float
