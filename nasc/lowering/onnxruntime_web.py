"""Networks for onnxruntime in browsers: the files of `nasc.lowering.onnxruntime`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nasc.lowering import onnxruntime
from nasc.lowering.base import Artifact
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.networks.network import Network
from profilers.runtimes import ONNXRUNTIME_WEB

VERSION = onnxruntime.VERSION


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
    made = onnxruntime.lower(network, folder, name, shape=shape)
    return dataclasses.replace(made, runtime=ONNXRUNTIME_WEB)
