"""What an ONNX file says of itself, to be held against what a manifest says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import onnx

from device_profiles.reading import read_bytes

MAX_BYTES = 2 << 30
"""What model.onnx may hold: protobuf's own limit."""

_SCALES = ("_scale",)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Facts read from an ONNX file.

    Attributes:
        architecture: Text form, from the metadata.
        head: From the metadata.
        params: Parameters, counted from the tensors: constants of the graph and scales of
            int8 are none.
        size_bytes: Of the file.
        opset: Of the standard operators.
        ir_version: Of the format.
        foreign_domains: Operator domains that are not standard ONNX.
        operators: Types of its operators, each once.
        outputs: Names of what it gives, in order.
    """

    architecture: str
    head: str
    params: int
    size_bytes: int
    opset: int
    ir_version: int
    foreign_domains: tuple[str, ...]
    operators: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file.

        What somebody else made is read in a process of its own: see `nasc.package.process`.

        Raises:
            OSError, FileRefused: If it cannot be read.
            ValueError: If it names other files as parts of it (a package's weights are inside), or
                holds graphs within its graph, loops for example, or functions of its own.
            Exception: If it is no valid ONNX model; onnx raises several kinds.
        """
        data = read_bytes(path, MAX_BYTES)
        model = onnx.load_from_string(data)
        for tensor in _tensors(model):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                where = {entry.key: entry.value for entry in tensor.external_data}.get("location")
                raise ValueError(
                    f"the tensor {tensor.name[:100]!r} lies in another file, {str(where)[:100]!r}"
                )
        _refuse_inner_graphs(model)
        onnx.checker.check_model(data, full_check=True)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        domains = {entry.domain for entry in model.opset_import}
        domains |= {node.domain for node in model.graph.node}
        return cls(
            architecture=metadata.get("nasc.architecture", ""),
            head=metadata.get("nasc.head", ""),
            params=sum(math.prod(t.dims) for t in model.graph.initializer if _is_parameter(t.name)),
            size_bytes=len(data),
            opset=max((e.version for e in model.opset_import if e.domain in _STANDARD), default=0),
            ir_version=model.ir_version,
            foreign_domains=tuple(sorted(domains - set(_STANDARD))),
            operators=tuple(sorted({node.op_type for node in model.graph.node})),
            outputs=tuple(output.name for output in model.graph.output),
        )


_STANDARD = ("", "ai.onnx")


def _is_parameter(name: str) -> bool:
    """Whether the emitter's name is that of a parameter: ``layer.kind.tensor``."""
    return name.count(".") == 2 and not name.endswith(_SCALES)


def _refuse_inner_graphs(model: onnx.ModelProto) -> None:
    """Raise where a model does more than to run one operator after the other.

    Raises:
        ValueError: Naming the first thing that would.
    """
    if model.functions:
        raise ValueError(f"it holds functions of its own, {model.functions[0].name[:100]!r} first")
    for node in model.graph.node:
        if any(one.HasField("g") or one.graphs for one in node.attribute):
            raise ValueError(
                f"the operator {node.op_type[:100]!r} holds a graph of its own: no network of nasc "
                "loops or chooses"
            )


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of an ONNX message, however deep."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        if isinstance(one, onnx.TensorProto):
            yield one
            continue
        for field, value in one.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "ListFields") else list(value)
