"""What an ONNX file says of itself, to be held against what a manifest says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx

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
    """

    architecture: str
    head: str
    params: int
    size_bytes: int
    opset: int
    ir_version: int
    foreign_domains: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file.

        Raises:
            OSError: If it cannot be read.
            Exception: If it is no valid ONNX model; onnx raises several kinds.
        """
        data = path.read_bytes()
        onnx.checker.check_model(data, full_check=True)
        model = onnx.load_from_string(data)
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
        )


_STANDARD = ("", "ai.onnx")


def _is_parameter(name: str) -> bool:
    """Whether the emitter's name is that of a parameter: ``layer.kind.tensor``."""
    return name.count(".") == 2 and not name.endswith(_SCALES)
