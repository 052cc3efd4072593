"""Networks for OpenVINO: an IR, the .xml of a graph with the .bin of its weights.

The graph is the emitter's, read by OpenVINO's own frontend. What the device is to compute in is
written into the file (`rt_info`, ``runtime_options``): an IR is in one precision wherever it is
opened by `profilers.runtimes.openvino`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx

from nasc.errors import ExportError
from nasc.export.matrices import Float, Int8Weights
from nasc.export.onnx import EMITTER_VERSION, build
from nasc.lowering.base import Artifact
from nasc.lowering.limits import check_precision
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.networks.network import Network
from profilers import RuntimeMissing
from profilers.runtimes import get_runtime

try:
    get_runtime("openvino")  # imports it in a way that nothing is sent to its makers
    import openvino as ov
except RuntimeMissing as error:
    raise ExportError(f"networks cannot be made for openvino: {error}") from error

_OWN_VERSION = 2
"""Raised with every change of what is done here to the emitted graphs."""

VERSION = 1000 * EMITTER_VERSION + _OWN_VERSION

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""By precision, how OpenVINO calls it."""

_STORED_IN_HALF = ("bf16", "fp16")
"""Precisions whose weights lie in the file as float16. OpenVINO stores no others of two bytes, and
their ten digits after the point hold bfloat16's seven."""

_GROUP_SIZE = "128"
"""Neighbouring activations of a token that share a scale, of int8 where OpenVINO turns them into
int8: the fastest of 32, 64, 128, 384 and none (docs/openvino.md, November 2026)."""

_SHIFTED_KERNELS = (3,)
"""Sizes of depthwise convolutions that are faster as sums of shifted copies where axes are free
(docs/openvino.md, November 2026)."""


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
    """See `nasc.lowering.base.Lowering`.

    int8 is int8 of the weights alone where the device has AMX; elsewhere OpenVINO turns
    activations into int8 as well, with scales that are found in every run. What is not a product
    of int8 is computed in bfloat16 where the device offers it.
    """
    precision = network.architecture.precision
    check_precision("openvino", precision)
    matrices = Int8Weights() if precision == "int8" else Float()
    shifts = () if shape else _SHIFTED_KERNELS
    emitted = build(network, matrices=matrices, shape=shape, shifts=shifts)
    try:
        model = ov.Core().read_model(io.BytesIO(emitted.SerializeToString()))
    except RuntimeError as error:
        raise ExportError(
            f"openvino cannot read the graph of {network.architecture}: {error}"
        ) from error
    _name_nodes(model, emitted)
    del model.rt_info["framework"]  # the metadata, under names that are the ONNX frontend's
    for entry in emitted.metadata_props:
        model.set_rt_info(entry.value, ["nasc", entry.key.removeprefix("nasc.")])
    for key, value in _options(precision, offered).items():
        model.set_rt_info(value, ["runtime_options", key])
    path, weights = folder / f"{name}.xml", folder / f"{name}.bin"
    for file in (path, weights):
        file.unlink(missing_ok=True)  # a session that is open reads the weights from their file
    try:
        ov.save_model(model, str(path), compress_to_fp16=precision in _STORED_IN_HALF)
    except RuntimeError as error:
        raise OSError(f"openvino cannot write '{path}': {error}") from error
    return Artifact(path, (weights,), "openvino", precision, VERSION)


def _options(precision: str, offered: Collection[str]) -> dict[str, str]:
    """What an IR asks of the runtime."""
    if precision != "int8":
        return {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
    beside = _HINTS["bf16" if "bf16" in offered else "fp32"]
    return {
        "INFERENCE_PRECISION_HINT": beside,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP_SIZE,
    }


def _name_nodes(model: Any, emitted: onnx.ModelProto) -> None:
    """Number the nodes that are not the emitter's: OpenVINO counts them through a whole process."""
    graph = emitted.graph
    own = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    own |= {name for node in graph.node for name in (node.name, *node.output)}
    for index, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name.partition("/")[0] not in own:
            node.set_friendly_name(f"{node.get_type_name()}_of_{index}")
