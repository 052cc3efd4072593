"""The reference network: the yardstick visited in every round.

Two transformer encoder layers in fp32 (batch 1, length 128, hidden 256, 4 heads, feed-forward
1024), the same operators in about the same proportions as a BERT-like encoder, so that a slower
clock or a busy neighbour slows it as it slows the models beside it. Its weights (6.3 MB) exceed a
core's private cache, as a real encoder's do. 0.44 GFLOP: 3 to 6 ms on one server core of 2020-24.

Nothing about it may change without a new `REFERENCE_VERSION`: recorded quiet times refer to it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profilers.jobs import InputSpec, ModelJob

REFERENCE_VERSION = 1
REFERENCE_NAME = "reference"
LAYERS = 2
SEQ_LEN = 128
HIDDEN = 256
HEADS = 4
FFN = 1024


def _weights(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Uniform weights in [-s, s), s = sqrt(3 / fan_in), from the raw bits of PCG64.

    numpy promises that a bit generator's raw stream never changes; its distributions may.
    """
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    scale = (3.0 / shape[0]) ** 0.5
    weights: npt.NDArray[np.float32] = ((2.0 * unit - 1.0) * scale).astype(np.float32)
    return weights.reshape(shape)


def _tensors() -> dict[str, npt.NDArray[Any]]:
    """Every initializer of the reference by its name, in a fixed order."""
    tensors: dict[str, npt.NDArray[Any]] = {
        "heads_shape": np.array([1, SEQ_LEN, HEADS, HIDDEN // HEADS], np.int64),
        "hidden_shape": np.array([1, SEQ_LEN, HIDDEN], np.int64),
        "scale": np.array((HIDDEN / HEADS) ** -0.5, np.float32),
        "half": np.array(0.5, np.float32),
        "one": np.array(1.0, np.float32),
        "sqrt2": np.array(2.0**0.5, np.float32),
        "gain": np.ones(HIDDEN, np.float32),
        "bias": np.zeros(HIDDEN, np.float32),
        "ffn_bias": np.zeros(FFN, np.float32),
    }
    for layer in range(LAYERS):
        for index, name in enumerate(("query", "key", "value", "out")):
            tensors[f"{name}{layer}"] = _weights(10 * layer + index, (HIDDEN, HIDDEN))
        tensors[f"up{layer}"] = _weights(10 * layer + 4, (HIDDEN, FFN))
        tensors[f"down{layer}"] = _weights(10 * layer + 5, (FFN, HIDDEN))
    return tensors


def reference_hash() -> str:
    """Identifies the reference's computation: version, geometry and weights.

    Returns:
        16 hexadecimal digits of a sha256, the same on every machine.
    """
    geometry = (REFERENCE_VERSION, LAYERS, SEQ_LEN, HIDDEN, HEADS, FFN)
    digest = hashlib.sha256(repr(geometry).encode())
    for name, value in _tensors().items():
        digest.update(name.encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


def reference_bytes() -> bytes:
    """Builds the reference as a serialized ONNX model (opset 17, IR version 8)."""
    from onnx import TensorProto, helper, numpy_helper  # heavy; only needed when it is built

    nodes = []

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    state = "hidden_in"
    for i in range(LAYERS):
        heads = {}
        for name in ("query", "key", "value"):
            projected = node("MatMul", [state, f"{name}{i}"], f"{name}_matmul{i}")
            biased = node("Add", [projected, "bias"], f"{name}_bias{i}")
            split = node("Reshape", [biased, "heads_shape"], f"{name}_split{i}")
            order = [0, 2, 3, 1] if name == "key" else [0, 2, 1, 3]
            heads[name] = node("Transpose", [split], f"{name}_heads{i}", perm=order)
        scores = node("MatMul", [heads["query"], heads["key"]], f"scores{i}")
        scaled = node("Mul", [scores, "scale"], f"scaled{i}")
        weights = node("Softmax", [scaled], f"probabilities{i}", axis=-1)
        mixed = node("MatMul", [weights, heads["value"]], f"mixed{i}")
        back = node("Transpose", [mixed], f"back{i}", perm=[0, 2, 1, 3])
        joined = node("Reshape", [back, "hidden_shape"], f"joined{i}")
        projected = node("MatMul", [joined, f"out{i}"], f"out_matmul{i}")
        biased = node("Add", [projected, "bias"], f"out_bias{i}")
        total = node("Add", [biased, state], f"residual_attention{i}")
        state = node("LayerNormalization", [total, "gain", "bias"], f"norm_attention{i}", axis=-1)
        up = node("MatMul", [state, f"up{i}"], f"up_matmul{i}")
        up = node("Add", [up, "ffn_bias"], f"up_bias{i}")
        erf = node("Erf", [node("Div", [up, "sqrt2"], f"gelu_div{i}")], f"gelu_erf{i}")
        gate = node("Add", [erf, "one"], f"gelu_add{i}")
        gelu = node("Mul", [node("Mul", [up, gate], f"gelu_mul{i}"), "half"], f"gelu{i}")
        down = node("MatMul", [gelu, f"down{i}"], f"down_matmul{i}")
        down = node("Add", [down, "bias"], f"down_bias{i}")
        total = node("Add", [down, state], f"residual_ffn{i}")
        state = node("LayerNormalization", [total, "gain", "bias"], f"norm_ffn{i}", axis=-1)

    shape = [1, SEQ_LEN, HIDDEN]
    graph = helper.make_graph(
        nodes,
        f"profilers_reference_v{REFERENCE_VERSION}",
        [helper.make_tensor_value_info("hidden_in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(state, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in _tensors().items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="profilers",
    )
    return bytes(model.SerializeToString(deterministic=True))


def reference_job(folder: Path) -> ModelJob:
    """Writes the reference into `folder` (unless it is there) and describes it.

    Args:
        folder: made when missing. The file appears by an atomic rename, so that several processes
            may share the folder.

    Returns:
        A job whose name is `REFERENCE_NAME`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reference-v{REFERENCE_VERSION}-{reference_hash()}.onnx"
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(reference_bytes())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return ModelJob(REFERENCE_NAME, path, {"hidden_in": InputSpec((1, SEQ_LEN, HIDDEN), "float32")})
