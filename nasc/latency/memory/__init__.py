"""Bytes of a network: its tensors, its file, the memory of a run. Arithmetic only.

The tensors are counted exactly. The file adds the structure of the graph, a few kilobytes a
layer, which is bounded. The peak memory of a run is an estimate of what the runtime holds:
its own base, the weights as often as loading has them in memory, the activations that live
at the same time in the hungriest layer. It is checked on the finished artifact.

What differs between runtimes is in one file each: `MODEL`, a
`nasc.latency.memory.base.MemoryModel`.
"""

from __future__ import annotations

from nasc.architecture.heads import head_outputs, maps_tokens, pooled
from nasc.architecture.layers import Layer, group_size, layer_params, layers, linear_shapes
from nasc.architecture.space import Architecture, Geometry, computed_in, kernel_size
from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.latency.memory import onnxruntime, openvino, torch, tvm
from nasc.latency.memory.base import MemoryModel

_MODELS = {
    "onnxruntime": onnxruntime.MODEL,
    "onnxruntime-web": onnxruntime.MODEL,  # the same files; browsers do not tell their memory
    "openvino": openvino.MODEL,
    "tvm": tvm.MODEL,
    "torch": torch.MODEL,
}


def memory_model(variant: Variant) -> MemoryModel:
    """What a runtime stores and holds.

    Raises:
        UsageError: If it is not known for this runtime and precision.
    """
    found = _MODELS.get(variant.runtime)
    if found is None or variant.precision not in found.value_bytes:
        raise UsageError(f"the memory that {variant} takes is not known")
    return found


def file_base_bytes(variant: Variant) -> int:
    """Bound on what the files of a network hold besides its layers: inputs, outputs, metadata."""
    return memory_model(variant).file_base_bytes


def peak_margin(variant: Variant) -> float:
    """How far a measured peak may lie above the estimate, relative."""
    return memory_model(variant).peak_margin


def tensor_bytes(layer: Layer, geometry: Geometry, variant: Variant) -> int:
    """Bytes of a layer's parameters as they are stored.

    int8: every matrix applied to each token and every word of the embedding one byte a value, with
    one scale for each output channel or word; all else, also what heads multiply pooled rows with
    or score tokens by, stays fp32. int8-emb4: the same with half a byte for
    each value of a word, and a scale of two bytes for each group of them. Other precisions: as many
    bytes for each parameter.
    """
    value_bytes = memory_model(variant).value_bytes[variant.precision]
    values = layer_params(layer, geometry)
    if computed_in(variant.precision) != "int8":
        return value_bytes * values
    matrices = [] if head_outputs(layer.head) else list(linear_shapes(layer, geometry))
    rows, columns = geometry.vocab_size, geometry.row_size
    words = rows * columns if layer.kind == "embedding" else 0
    word_bytes = words + value_bytes * rows if words else 0
    if words and variant.precision == "int8-emb4":
        word_bytes = words // 2 + 2 * (words // group_size(columns))
    small = sum(inputs * outputs for inputs, outputs in matrices)
    scales = sum(outputs for _, outputs in matrices)
    return word_bytes + small + value_bytes * (scales + values - small - words)


def structure_bytes(layer: Layer, variant: Variant) -> int:
    """Bytes at most that a layer adds to the file besides its tensors: nodes, names, shapes."""
    return memory_model(variant).structure_bytes[variant.precision][_group(layer)]


def layer_file_bytes(layer: Layer, geometry: Geometry, variant: Variant) -> int:
    """What a layer adds to the emitted file: exact tensors plus the bound on its structure.

    With `file_base_bytes` the layers of a network add up to the size of its file at most: over
    by some kilobytes, never under.
    """
    structure = structure_bytes(layer, variant)
    if layer.kind == "embedding" and geometry.embedding is not None:
        structure += structure_bytes(Layer("border", geometry.row_size, geometry.hidden), variant)
    if geometry.buckets is not None and layer.kind == "mha":
        structure += structure_bytes(Layer("border", layer.hidden_in, layer.hidden_in), variant)
    if geometry.buckets is not None and layer.kind == "embedding":  # places and buckets, int64
        structure += 3 * 8 * geometry.max_positions
        structure += structure_bytes(Layer("mha", geometry.hidden, geometry.hidden), variant)
    if geometry.rotary and layer.kind == "embedding":  # places, and what turns by them
        structure += 4 * geometry.max_positions
        structure += 2 * structure_bytes(Layer("mha", geometry.hidden, geometry.hidden), variant)
    if (geometry.rotary and layer.kind == "mha") or (geometry.gated and layer.kind == "ffn"):
        structure += structure_bytes(Layer("border", layer.hidden_in, layer.hidden_in), variant)
        structure += 4 * 4 * geometry.head_size
    return tensor_bytes(layer, geometry, variant) + structure


def file_bytes(architecture: Architecture, runtime: str, geometry: Geometry, head: str) -> int:
    """Bytes of a network's files at most: what the search holds to a limit on size.

    Args:
        architecture: The network.
        runtime: What it is made for.
        geometry: Of the teacher.
        head: See `nasc.architecture.heads`.
    """
    variant = Variant(runtime, architecture.precision)
    each = (layer_file_bytes(x, geometry, variant) for x in layers(architecture, geometry, head))
    return file_base_bytes(variant) + sum(each)


def activation_bytes(
    layer: Layer, geometry: Geometry, seq_len: int, batch: int, variant: Variant
) -> int:
    """Bytes of the activations that live at the same time while a layer runs.

    Counted on the emitted graph: (tokens, hidden) tensors between its nodes, the attention
    scores twice (softmax does not run in place), the inner activations of a feed-forward
    layer twice. A quantized copy of a linear layer's input is one byte a value.

    Args:
        layer: Which runs.
        geometry: Of the teacher.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        variant: Runtime and precision, which decide the bytes of a value.
    """
    tokens = seq_len * batch
    hidden = tokens * layer.hidden_in
    inner = tokens * geometry.inner(layer.hidden_in) if layer.kind == "ffn" else 0
    quantized = max(hidden, inner) if computed_in(variant.precision) == "int8" else 0
    group = _group(layer)
    if group == "mha":
        scores = batch * (layer.hidden_in // geometry.head_size) * seq_len * seq_len
        floats = max(5 * hidden, 4 * hidden + scores, 2 * hidden + 2 * scores)
        if geometry.buckets is not None:
            floats += scores // batch
        if geometry.rotary:  # the window of a batch's texts
            floats += tokens * seq_len
    elif group == "ffn":
        floats = hidden + (2 + geometry.gated) * inner
    elif group == "sep":
        floats = 4 * hidden
    elif group == "embedding":
        floats = 3 * hidden
    elif pooled(layer.head) and not maps_tokens(layer.head, geometry.pre_norm):
        floats = 2 * hidden
    else:
        floats = 2 * hidden + tokens * (head_outputs(layer.head) or layer.hidden_out)
    return memory_model(variant).activation_bytes[variant.precision] * floats + quantized


def resident_weight_bytes(layer: Layer, geometry: Geometry, variant: Variant) -> float:
    """Bytes that a layer's tensors add to the peak memory of loading and running. Estimated."""
    model = memory_model(variant)
    copies = model.embedding_copies if layer.kind == "embedding" else model.matrix_copies
    held = copies[variant.precision] * tensor_bytes(layer, geometry, variant)
    return model.layer_bytes + held


def resident_activation_bytes(
    layer: Layer, geometry: Geometry, seq_len: int, batch: int, variant: Variant
) -> float:
    """Bytes that a layer's live activations take in the runtime's arena. Estimated.

    Args:
        layer: See `activation_bytes`.
        geometry: See there.
        seq_len: See there.
        batch: See there.
        variant: See there.
    """
    live = activation_bytes(layer, geometry, seq_len, batch, variant)
    return memory_model(variant).activation_copies[variant.precision] * live


def resident_base_bytes(runtime_base_bytes: float, variant: Variant) -> float:
    """Memory that every network needs: the runtime's process, measured, and a session."""
    return runtime_base_bytes + memory_model(variant).session_bytes


def peak_memory_bytes(
    architecture: Architecture,
    runtime: str,
    geometry: Geometry,
    head: str,
    seq_len: int,
    batch: int,
    runtime_base_bytes: float,
) -> float:
    """Peak memory of loading and running a network. Estimated, `peak_margin` aside.

    Args:
        architecture: The network.
        runtime: What runs it.
        geometry: Of the teacher.
        head: ``embed`` or ``hidden``.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        runtime_base_bytes: Of the runtime's process without a model, as measured.
    """
    variant = Variant(runtime, architecture.precision)
    found = layers(architecture, geometry, head)
    return (
        resident_base_bytes(runtime_base_bytes, variant)
        + sum(resident_weight_bytes(x, geometry, variant) for x in found)
        + max(resident_activation_bytes(x, geometry, seq_len, batch, variant) for x in found)
    )


def _group(layer: Layer) -> str:
    if kernel_size(layer.kind):
        return "sep"
    return "head" if layer.head else layer.kind
