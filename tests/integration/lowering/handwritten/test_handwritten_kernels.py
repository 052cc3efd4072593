"""Kernels of int8 by TVM give the same on every kind of processor."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")

from single_kernels import QEMU, run_here, run_on_arm64

from nasc.lowering.handwritten import kernels
from nasc.lowering.handwritten.kernels import Heads, Kernel, Shape
from nasc.lowering.handwritten.number_formats import FORMATS
from nasc.lowering.handwritten.products import PRODUCTS
from nasc.lowering.handwritten.weights import pack_matrix
from nasc.lowering.tvm_module import target_of
from profilers.context import read_context
from profilers.runtimes.tvm_targets import flags_of_kind, kernel_kind

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

FLAGS = read_context()["cpu"]["flags"]
TOKENS, INPUTS, OUTPUTS = 11, 64, 32
needs_arm64 = pytest.mark.skipif(
    QEMU is None or importlib.util.find_spec("ziglang") is None,
    reason="needs qemu-aarch64-static (Debian's qemu-user-static) and ziglang (extra 'runner')",
)
KINDS = [pytest.param(kind, marks=needs_arm64 if kind == "asimddp" else ()) for kind in PRODUCTS]


def run(kind: str, kernel: Kernel, inputs: dict[str, np.ndarray], folder: Path) -> list[np.ndarray]:
    """Outputs on a processor of a kind: this one, or where it is none an emulated arm64."""
    if kind == "asimddp" and platform.machine() != "aarch64":
        return list(run_on_arm64(kernel, inputs, folder))
    needed = flags_of_kind(kind)
    if kind == "avx_vnni" and needed - {kind} <= set(FLAGS) and "avx512_vnni" in FLAGS:
        needed = flags_of_kind("avx512_vnni")  # has the same instruction, written otherwise
    if not needed <= set(FLAGS):
        pytest.skip(f"needs a processor with {kind}")
    target = target_of(sorted(needed), platform.machine(), precision="int8")
    return list(run_here(kernel, inputs, target))


def matrix(kind: str, weight: np.ndarray, shift: float | None, name: str = "") -> dict:
    products = PRODUCTS[kind]
    bias = np.linspace(-1, 1, len(weight), dtype=np.float32)
    made = pack_matrix(weight, bias, shift, signed=products.signed, clips=products.clips)
    return {
        f"{name}packed": made.packed,
        f"{name}start": made.start,
        f"{name}scales": made.scales,
        f"{name}bias": made.bias,
    }


def activations(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"x_values": values.astype(np.uint8), "x_scales": np.full(len(values), 0.01, np.float32)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("least", [0, 255])
def test_no_sum_clips(kind: str, least: int, tmp_path: Path) -> None:
    """The largest bytes by the largest weights, of one sign and of both."""
    rng = np.random.default_rng(0)
    weight = np.ones((OUTPUTS, INPUTS), np.float32)
    weight[8:16] = -1
    weight[16:] = rng.choice([-1.0, 1.0], (16, INPUTS))
    values = rng.choice([least, 255], (TOKENS, INPUTS))
    kernel = kernels.linear(Shape(1, TOKENS, PRODUCTS[kind], FORMATS["int8"]), INPUTS, OUTPUTS)
    given = activations(values) | matrix(kind, weight, None)
    found = run(kind, kernel, given, tmp_path)[0].reshape(TOKENS, OUTPUTS)
    kept = given["packed"].transpose(0, 2, 1, 3).reshape(OUTPUTS, INPUTS).astype(np.int64)
    exact = ((values - 128) @ kept.T) * 0.01 * given["scales"] + given["bias"]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kept * given["scales"][:, None], weight, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_give_what_numbers_do(kind: str, tmp_path: Path) -> None:
    """Attention of one text, of its own queries, keys and values."""
    rng = np.random.default_rng(1)
    hidden, size, eps = 64, 32, 1e-12
    shape = Shape(1, TOKENS, PRODUCTS[kind], FORMATS["int8"])
    heads = Heads(hidden, size, shape.products.bf16)
    values = rng.integers(0, 256, (TOKENS, hidden))
    x = (values - 128) * np.float32(0.01)
    weights = {n: rng.standard_normal((hidden, hidden), dtype=np.float32) / 8 for n in "qkvo"}
    given = activations(values)
    for name in "qkv":
        given |= matrix(kind, weights[name], None, name)
    parts = run(kind, kernels.queries_keys_values(shape, heads), given, tmp_path)
    bias = np.full(shape.padded, -1e9, np.float32)
    bias[: TOKENS - 2] = 0
    residual = rng.standard_normal((TOKENS, hidden), dtype=np.float32)
    given = dict(zip(("queries", "keys", "values"), parts, strict=True))
    given |= {"score_bias": bias, "residual": residual} | matrix(kind, weights["o"], None)
    given |= {"ln_weight": np.ones(hidden, np.float32), "ln_bias": np.zeros(hidden, np.float32)}
    found = run(kind, kernels.attention(shape, heads, eps), given, tmp_path)[0]
    added = np.linspace(-1, 1, hidden, dtype=np.float32)
    q, k, v = ((x @ weights[n].T + added).reshape(TOKENS, 2, size) for n in "qkv")
    scores = np.einsum("ihd,jhd->hij", q, k) + bias[:TOKENS]
    share = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("hij,jhd->ihd", share / share.sum(-1, keepdims=True), v)
    total = mixed.reshape(TOKENS, hidden) @ weights["o"].T + added + residual
    wanted = (total - total.mean(-1, keepdims=True)) / total.std(-1, keepdims=True)
    assert np.abs(found.reshape(TOKENS, hidden) - wanted).max() < 0.15
    assert (found * wanted.reshape(-1)).sum() > 0.999 * np.linalg.norm(found) * np.linalg.norm(
        wanted
    )


def test_the_fastest_kind_is_taken() -> None:
    x86 = ["avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"]
    assert kernel_kind(x86) == "avx2"
    assert kernel_kind([*x86, "avx_vnni"]) == "avx_vnni"
    assert kernel_kind(["avx2"]) is None
    assert kernel_kind(["asimd", "fp"]) is None
    assert kernel_kind(["asimd", "fp", "asimddp"]) == "asimddp"
    for kind in PRODUCTS:
        assert kernel_kind(flags_of_kind(kind)) == kind
