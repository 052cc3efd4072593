"""The reference network: the yardstick visited before and after everything that is measured.

One transformer encoder layer with a depthwise separable convolution in fp32 (batch 1, length 128,
hidden 128, 4 heads, kernel 3, feed-forward 512): the operators of text encoders in a mixture whose
time stretches as theirs does when the clock slows or a neighbour shares the core, so that the
ratio holds still. It is short (0.06 GFLOP, about 1 to 2 ms on one server core of 2020-24), because
on shared machines speed changes within milliseconds: what is to be compared must run close
together (docs/measuring.md).

For a GPU that is next to nothing: there the same layer has 1,024 tokens, hidden 768, 12 heads and
feed-forward 3072 (20 GFLOP; 0.3 to 1 ms on a data centre's GPU of 2020-24, by its peak in fp32).

Nothing about them may change without a new `REFERENCE_VERSION`: recorded baselines refer to it.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import CPU
from device_profiles.temporary import temporary_folder
from profilers.jobs import InputSpec, ModelJob

REFERENCE_VERSION = 2
REFERENCE_NAME = "reference"
SEQ_LEN = 128
HIDDEN = 128
HEADS = 4
KERNEL = 3
FFN = 512


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Of a reference: all but the batch, which is 1."""

    seq_len: int
    hidden: int
    heads: int
    kernel: int
    ffn: int


_GPU = _Sizes(1024, 768, 12, KERNEL, 3072)


def _sizes(accelerator: str) -> _Sizes:
    if accelerator == CPU:
        return _Sizes(SEQ_LEN, HIDDEN, HEADS, KERNEL, FFN)
    return _GPU


def _weights(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Uniform weights in [-s, s), s = sqrt(3 / fan_in), from the raw bits of PCG64.

    numpy promises that a bit generator's raw stream never changes; its distributions may.
    """
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    scale = (3.0 / shape[0]) ** 0.5
    weights: npt.NDArray[np.float32] = ((2.0 * unit - 1.0) * scale).astype(np.float32)
    return weights.reshape(shape)


def _tensors(sizes: _Sizes) -> dict[str, npt.NDArray[Any]]:
    """Every initializer of the reference by its name, in a fixed order."""
    hidden, heads, kernel = sizes.hidden, sizes.heads, sizes.kernel
    square, bias = (hidden, hidden), np.zeros(hidden, np.float32)
    return {
        "heads_shape": np.array([1, sizes.seq_len, heads, hidden // heads], np.int64),
        "tokens_shape": np.array([sizes.seq_len, hidden], np.int64),
        "scale": np.array((hidden / heads) ** -0.5, np.float32),
        "half": np.array(0.5, np.float32),
        "one": np.array(1.0, np.float32),
        "sqrt2": np.array(2.0**0.5, np.float32),
        "gain": np.ones(hidden, np.float32),
        "bias": bias,
        "ffn_bias": np.zeros(sizes.ffn, np.float32),
        "query": _weights(0, square),
        "key": _weights(1, square),
        "value": _weights(2, square),
        "out": _weights(3, square),
        "depthwise1": _weights(4, (kernel, hidden)).T.reshape(hidden, 1, 1, kernel),
        "pointwise1": _weights(5, square),
        "depthwise2": _weights(6, (kernel, hidden)).T.reshape(hidden, 1, 1, kernel),
        "pointwise2": _weights(7, square),
        "up": _weights(8, (hidden, sizes.ffn)),
        "down": _weights(9, (sizes.ffn, hidden)),
        "image_shape": np.array([1, sizes.seq_len, hidden], np.int64),
        "height": np.array([2], np.int64),
    }


def reference_hash(accelerator: str = CPU) -> str:
    """Identifies the reference's computation: version, geometry and weights.

    Args:
        accelerator: What computes, out of `device_profiles.ACCELERATORS`.

    Returns:
        16 hexadecimal digits of a sha256, the same on every machine.
    """
    return _hash_of(_sizes(accelerator))


@functools.cache
def _hash_of(sizes: _Sizes) -> str:
    geometry = (REFERENCE_VERSION, *astuple(sizes))
    digest = hashlib.sha256(repr(geometry).encode())
    for name, value in _tensors(sizes).items():
        digest.update(name.encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


def reference_bytes(accelerator: str = CPU) -> bytes:
    """Builds the reference as a serialized ONNX model (opset 17, IR version 8).

    Args:
        accelerator: See `reference_hash`.
    """
    from onnx import TensorProto, helper, numpy_helper  # heavy; only needed when it is built

    sizes = _sizes(accelerator)
    nodes = []

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(x: str, weight: str, bias: str = "bias") -> str:
        return node("Gemm", [x, weight, bias], f"{weight}_out")

    def normalize(update: str, state: str, name: str) -> str:
        total = node("Add", [update, state], f"{name}_residual")
        return node("LayerNormalization", [total, "gain", "bias"], f"{name}_norm", axis=-1)

    heads = {}
    for name in ("query", "key", "value"):
        split = node("Reshape", [linear("hidden_in", name), "heads_shape"], f"{name}_split")
        order = [0, 2, 3, 1] if name == "key" else [0, 2, 1, 3]
        heads[name] = node("Transpose", [split], f"{name}_heads", perm=order)
    scores = node("MatMul", [heads["query"], heads["key"]], "scores")
    scores = node("Mul", [scores, "scale"], "scaled")
    mixed = node("MatMul", [node("Softmax", [scores], "shares", axis=-1), heads["value"]], "mixed")
    mixed = node("Transpose", [mixed], "mixed_back", perm=[0, 2, 1, 3])
    mixed = node("Reshape", [mixed, "tokens_shape"], "mixed_tokens")
    state = normalize(linear(mixed, "out"), "hidden_in", "attention")

    x = state
    for i in (1, 2):
        x = node("Reshape", [node("Relu", [x], f"relu{i}"), "image_shape"], f"image{i}")
        x = node("Transpose", [x], f"channels{i}", perm=[0, 2, 1])
        x = node("Unsqueeze", [x, "height"], f"tall{i}")
        x = node(
            "Conv",
            [x, f"depthwise{i}", "bias"],
            f"conv{i}",
            group=sizes.hidden,
            pads=[0, sizes.kernel // 2, 0, sizes.kernel // 2],
        )
        x = node(
            "Transpose", [node("Squeeze", [x, "height"], f"flat{i}")], f"back{i}", perm=[0, 2, 1]
        )
        x = linear(node("Reshape", [x, "tokens_shape"], f"tokens{i}"), f"pointwise{i}")
    state = normalize(x, state, "convolution")

    up = linear(state, "up", "ffn_bias")
    erf = node("Erf", [node("Div", [up, "sqrt2"], "gelu_div")], "gelu_erf")
    gate = node("Mul", [up, node("Add", [erf, "one"], "gelu_add")], "gelu_mul")
    down = linear(node("Mul", [gate, "half"], "gelu"), "down")
    state = normalize(down, state, "ffn")

    shape = [sizes.seq_len, sizes.hidden]
    graph = helper.make_graph(
        nodes,
        f"profilers_reference_v{REFERENCE_VERSION}",
        [helper.make_tensor_value_info("hidden_in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(state, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in _tensors(sizes).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="profilers",
    )
    return bytes(model.SerializeToString(deterministic=True))


def reference_job(folder: Path, accelerator: str = CPU) -> ModelJob:
    """Writes the reference into `folder` (unless it is there) and describes it.

    Args:
        folder: Made when missing. The file appears by an atomic rename, so that several processes
            may share the folder.
        accelerator: See `reference_hash`.

    Returns:
        A job whose name is `REFERENCE_NAME`.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = _sizes(accelerator)
    shape = (sizes.seq_len, sizes.hidden)
    path = folder / f"reference-v{REFERENCE_VERSION}-{reference_hash(accelerator)}.onnx"
    if not path.exists():
        with temporary_folder(folder, path.name) as temporary:
            (temporary / path.name).write_bytes(reference_bytes(accelerator))
            (temporary / path.name).replace(path)
    return ModelJob(REFERENCE_NAME, path, {"hidden_in": InputSpec(shape, "float32")})
