"""Networks for onnxruntime: one ONNX file, optimised by the runtime when it is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nasc.export.onnx import EMITTER_VERSION, build
from nasc.lowering.base import Artifact
from nasc.lowering.limits import check_precision
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.networks.network import Network

VERSION = EMITTER_VERSION


def lower(
    network: Network,
    folder: Path,
    name: str = "model",
    *,
    offered: Collection[str] = (),
    shape: tuple[int, int] | None = None,
    lengths: Collection[int] = (),
    processor: Mapping[str, Any] | None = None,
    records: KernelRecords | None = None,
) -> Artifact:
    """See `nasc.lowering.base.Lowering`."""
    precision = network.architecture.precision
    check_precision("onnxruntime", precision)
    path = folder / f"{name}.onnx"
    path.write_bytes(build(network, shape=shape).SerializeToString())
    return Artifact(path, (), "onnxruntime", precision, VERSION)
