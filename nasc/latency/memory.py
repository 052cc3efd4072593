"""Bytes of a network: its tensors, its file, the memory of a run. Arithmetic only.

The tensors are counted exactly. The file adds the structure of the graph, a few kilobytes a
layer, which is bounded. The peak memory of a run is an estimate of what the runtime holds:
its own base, the weights as often as loading has them in memory, the activations that live
at the same time in the hungriest layer. It is checked on the finished artifact.
"""

from __future__ import annotations

from nasc.architecture.heads import head_outputs, pooled
from nasc.architecture.layers import Layer, layer_params, layers, linear_shapes
from nasc.architecture.space import Architecture, Geometry, kernel_size
from nasc.errors import UsageError

FLOAT_BYTES = 4

FILE_BASE_BYTES = 1000
"""Bound on what a file holds besides its layers: inputs, outputs, metadata."""

_STRUCTURE_BYTES = {
    "fp32": {"embedding": 1500, "border": 180, "mha": 1720, "ffn": 640, "sep": 2120, "head": 900},
    "int8": {"embedding": 2300, "border": 650, "mha": 3300, "ffn": 1600, "sep": 3160, "head": 900},
}
"""Bounds on the bytes of a layer's nodes, names and shapes, from emitted graphs of up to 48
layers (emitter version 2)."""

_LOADED_COPIES = {"embedding": 2.0, "other": 1.1}
_RUNNING_COPIES = {"fp32": 2.0, "int8": 2.5}
_SESSION_BYTES = 9_000_000
PEAK_MARGIN = 0.05
"""onnxruntime's memory in units of what is counted here: while a model loads, its word
embedding stands in memory twice and the matrices, packed, a little more than once; the
arena holds about twice the live activations; a session takes 9 MB by itself. From 56
measured peaks (7 networks, fp32 and int8, batch 1 and 8, 32 to 512 tokens; onnxruntime 1.32
on x86-64, 2026-11): estimate / measured lies between 0.96 and 1.19, so the upper end adds
`PEAK_MARGIN`."""


def tensor_bytes(layer: Layer, geometry: Geometry, precision: str) -> int:
    """Bytes of a layer's parameters as they are stored.

    fp32: four for each parameter. int8: every matrix applied to each token and every word
    of the embedding one byte a value, with one fp32 scale for each output channel or word;
    all else, also what the heads ``embed``, ``classify-N`` and ``spans`` multiply with, stays fp32.
    """
    _check_precision(precision)
    values = layer_params(layer, geometry)
    if precision == "fp32":
        return FLOAT_BYTES * values
    matrices = [] if head_outputs(layer.head) else list(linear_shapes(layer, geometry))
    if layer.kind == "embedding":
        matrices = [(layer.hidden_in, geometry.vocab_size)]
    small = sum(inputs * outputs for inputs, outputs in matrices)
    scales = sum(outputs for _, outputs in matrices)
    return small + FLOAT_BYTES * (scales + values - small)


def structure_bytes(layer: Layer, precision: str) -> int:
    """Bytes at most that a layer adds to the file besides its tensors: nodes, names, shapes."""
    _check_precision(precision)
    return _STRUCTURE_BYTES[precision][_group(layer)]


def layer_file_bytes(layer: Layer, geometry: Geometry, precision: str) -> int:
    """What a layer adds to the emitted file: exact tensors plus the bound on its structure.

    With `FILE_BASE_BYTES` the layers of a network add up to the size of its file at most: over
    by some kilobytes, never under.
    """
    return tensor_bytes(layer, geometry, precision) + structure_bytes(layer, precision)


def activation_bytes(
    layer: Layer, geometry: Geometry, seq_len: int, batch: int = 1, precision: str = "fp32"
) -> int:
    """Bytes of the activations that live at the same time while a layer runs.

    Counted on the emitted graph: (tokens, hidden) tensors between its nodes, the attention
    scores twice (softmax does not run in place), the inner activations of a feed-forward
    layer twice. A quantized copy of a linear layer's input is one byte a value.
    """
    _check_precision(precision)
    tokens = seq_len * batch
    hidden = tokens * layer.hidden_in
    inner = geometry.ffn_ratio * hidden if layer.kind == "ffn" else 0
    quantized = max(hidden, inner) if precision == "int8" else 0
    group = _group(layer)
    if group == "mha":
        scores = batch * (layer.hidden_in // geometry.head_size) * seq_len * seq_len
        floats = max(5 * hidden, 4 * hidden + scores, 2 * hidden + 2 * scores)
    elif group == "ffn":
        floats = hidden + 2 * inner
    elif group == "sep":
        floats = 4 * hidden
    elif group == "embedding":
        floats = 3 * hidden
    elif pooled(layer.head):
        floats = 2 * hidden
    else:
        floats = 2 * hidden + tokens * (head_outputs(layer.head) or layer.hidden_out)
    return FLOAT_BYTES * floats + quantized


def resident_weight_bytes(layer: Layer, geometry: Geometry, precision: str) -> float:
    """What a layer's tensors add to the peak memory of loading and running. Estimated."""
    copies = _LOADED_COPIES["embedding" if layer.kind == "embedding" else "other"]
    return copies * tensor_bytes(layer, geometry, precision)


def resident_activation_bytes(
    layer: Layer, geometry: Geometry, seq_len: int, batch: int, precision: str
) -> float:
    """What a layer's live activations take in the runtime's arena. Estimated."""
    live = activation_bytes(layer, geometry, seq_len, batch, precision)
    return _RUNNING_COPIES[precision] * live


def resident_base_bytes(runtime_base_bytes: float) -> float:
    """Memory that every network needs: the runtime's process, measured, and a session."""
    return runtime_base_bytes + _SESSION_BYTES


def peak_memory_bytes(
    architecture: Architecture,
    geometry: Geometry,
    head: str,
    seq_len: int,
    batch: int,
    runtime_base_bytes: float,
) -> float:
    """Peak memory of loading and running a network. Estimated, `PEAK_MARGIN` aside.

    Args:
        architecture: The network.
        geometry: Of the teacher.
        head: ``embed`` or ``hidden``.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        runtime_base_bytes: Of the runtime's process without a model, as measured.
    """
    precision = architecture.precision
    found = layers(architecture, geometry, head)
    return (
        resident_base_bytes(runtime_base_bytes)
        + sum(resident_weight_bytes(x, geometry, precision) for x in found)
        + max(resident_activation_bytes(x, geometry, seq_len, batch, precision) for x in found)
    )


def _group(layer: Layer) -> str:
    if kernel_size(layer.kind):
        return "sep"
    return "head" if layer.head else layer.kind


def _check_precision(precision: str) -> None:
    if precision not in _STRUCTURE_BYTES:
        raise UsageError(f"unknown precision {precision!r}; known: {', '.join(_STRUCTURE_BYTES)}")
