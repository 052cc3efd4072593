"""What a description of compiled code says of its network: what goes in, what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Interface:
    """Of a network, as plain data.

    Attributes:
        inputs: Each with its name, its numpy type name and its axes, which are None where free.
        outputs: The same of these.
        metadata: What the emitter says of the network.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    metadata: dict[str, str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Interface:
        """That of an emitted graph: token ids and mask in, numbers out."""
        graph = model.graph
        return cls(
            [_value(value, "int64") for value in graph.input],
            [_value(value, "float32") for value in graph.output],
            {entry.key: entry.value for entry in model.metadata_props},
        )


def _value(value: onnx.ValueInfoProto, kind: str) -> dict[str, Any]:
    axes = value.type.tensor_type.shape.dim
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]
    return {"name": value.name, "type": kind, "axes": sizes}
