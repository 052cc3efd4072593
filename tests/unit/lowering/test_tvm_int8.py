"""Networks in int8 by TVM against torch in fp32, on a processor with AVX512-VNNI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import ExportError
from nasc.lowering.tvm_int8_weights import ZERO, pack_matrix
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork

GEOMETRY = Geometry(2, 64, 32, 256, 100, 64)
_CPU = Path("/proc/cpuinfo")
FLAGS = set(_CPU.read_text().split()) if _CPU.is_file() else set()
runs_here = pytest.mark.skipif("avx512_vnni" not in FLAGS, reason="needs AVX512-VNNI")
tvm = pytest.mark.tvm


def made(hidden: int, operations: tuple[str, ...], head: str = "embed") -> Network:
    return random_network(Architecture((Block(hidden, operations),)), GEOMETRY, head, seed=1)


def inputs(batch: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, GEOMETRY.vocab_size, (batch, seq_len))
    mask = np.ones((batch, seq_len), np.int64)
    mask[-1, seq_len // 2 :] = 0
    return ids, mask


def run(network: Network, ids: np.ndarray, mask: np.ndarray, bf16: bool) -> list[np.ndarray]:
    pytest.importorskip("tvm")
    import tvm
    from tvm import relax

    from nasc.lowering.tvm_int8 import int8_module
    from nasc.lowering.tvm_int8_compile import compile_int8

    extra = ["+avx512vnni", *(["+avx512bf16"] if bf16 else [])]
    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v4", "mattr": extra})
    executable = compile_int8(int8_module(network, *ids.shape, bf16=bf16), target)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return [x.numpy() for x in machine["main"](*map(tvm.runtime.tensor, (ids, mask)))]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("shift", [None, 0.17])
def test_a_packed_matrix_multiplies_as_the_matrix_did(shift: float | None) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 32), dtype=np.float32)
    bias = rng.standard_normal(64, dtype=np.float32)
    packed = pack_matrix(weight, bias, shift)
    scale = np.float32(0.02)
    x = rng.integers(0, 256, (5, 32))
    numbers = (x - ZERO) * scale if shift is None else x * scale - np.float32(shift)
    flat = packed.packed.transpose(0, 2, 1, 3).reshape(64, 32).astype(np.int64)
    found = (packed.start + x @ flat.T) * scale * packed.scales + packed.bias
    exact = numbers @ (flat * packed.scales[:, None]).T + bias
    np.testing.assert_allclose(found, exact, atol=1e-4)
    np.testing.assert_allclose(flat * packed.scales[:, None], weight, atol=packed.scales.max() / 2)


@tvm
@runs_here
@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "operations", "head", "shape"),
    [
        (64, ("mha", "ffn"), "embed", (1, 33)),
        (32, ("sep3", "mha", "ffn"), "hidden", (3, 40)),
        (64, ("ffn",), "classify-3", (2, 7)),
        (64, ("mha",), "spans", (2, 16)),
    ],
)
@pytest.mark.parametrize("bf16", [False, True])
def test_vectors_are_those_of_torch(
    hidden: int, operations: tuple[str, ...], head: str, shape: tuple[int, int], bf16: bool
) -> None:
    if bf16 and "avx512_bf16" not in FLAGS:
        pytest.skip("needs AVX512-BF16")
    network = made(hidden, operations, head)
    ids, mask = inputs(*shape)
    wanted = TorchNetwork(network)(torch.tensor(ids), torch.tensor(mask)).detach().numpy()
    found = run(network, ids, mask, bf16)[0]
    assert found.shape == wanted.shape
    if head in ("hidden", "spans"):
        real = mask[:, :, None] if head == "hidden" else mask[:, None, :]
        wanted, found = wanted * real, found * real
    assert cosine(wanted, found) > 0.999


@tvm
@runs_here
@pytest.mark.slow
def test_a_neighbour_in_the_batch_moves_nothing() -> None:
    network = made(64, ("mha", "ffn"))
    ids, mask = inputs(2, 20)
    alone = run(network, ids, mask, False)[0][0]
    ids[1] = (ids[1] + 7) % GEOMETRY.vocab_size
    assert (run(network, ids, mask, False)[0][0] == alone).all()


@tvm
def test_sizes_that_registers_do_not_hold_are_refused() -> None:
    pytest.importorskip("tvm")
    from nasc.lowering.tvm_int8 import int8_module

    geometry = Geometry(2, 48, 16, 192, 100, 64)
    network = random_network(Architecture((Block(48, ("ffn",)),)), geometry)
    with pytest.raises(ExportError, match="multiples of 32, 48 is not"):
        int8_module(network, 1, 8)
