"""Networks for onnxruntime: one ONNX file, optimised by the runtime when it is opened."""

from __future__ import annotations

from pathlib import Path

from nasc.export.onnx import EMITTER_VERSION, emit
from nasc.lowering.base import Artifact
from nasc.networks.network import Network

VERSION = EMITTER_VERSION


def lower(network: Network, folder: Path, name: str = "model") -> Artifact:
    """See `nasc.lowering.base.Lowering`."""
    path = folder / f"{name}.onnx"
    emit(network, path)
    return Artifact(path, (), "onnxruntime", network.architecture.precision, VERSION)
