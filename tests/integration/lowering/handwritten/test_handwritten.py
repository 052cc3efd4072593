"""Networks in int8 by TVM against torch in fp32, on each kind of processor that this one is."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")

import torch
import tvm
from tvm import relax

from device_profiles.temporary import temporary_folder
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import ExportError, UsageError
from nasc.lowering import get_lowering
from nasc.lowering.handwritten.compile import compile_handwritten
from nasc.lowering.handwritten.module import handwritten_module
from nasc.lowering.tvm_module import target_of
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork
from profilers import InputSpec, ModelJob, RuntimeOptions
from profilers.context import read_context
from profilers.devices.local import LocalWorker
from profilers.kernels import run_kernels
from profilers.runtimes import get_runtime
from profilers.runtimes.tvm_targets import flags_of_kind, kernel_kind

pytestmark = pytest.mark.tvm

GEOMETRY = Geometry(2, 64, 32, 256, 100, 64)
FLAGS = read_context()["cpu"]["flags"]
HERE = kernel_kind(FLAGS)
runs_here = pytest.mark.skipif(HERE is None, reason="this processor has no int8 kernels")
KINDS = ("amx", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512bw", "avx2", "asimddp")


def made(
    hidden: int, operations: tuple[str, ...], head: str = "embed", precision: str = "int8"
) -> Network:
    architecture = Architecture((Block(hidden, operations),), precision)
    return random_network(architecture, GEOMETRY, head, seed=1)


def inputs(batch: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, GEOMETRY.vocab_size, (batch, seq_len))
    mask = np.ones((batch, seq_len), np.int64)
    mask[-1, seq_len // 2 :] = 0
    return ids, mask


def run(network: Network, ids: np.ndarray, mask: np.ndarray, kind: str) -> list[np.ndarray]:
    needed = flags_of_kind(kind)
    if not needed <= set(FLAGS):
        pytest.skip(f"needs a processor with {kind}")
    precision = network.architecture.precision
    target = target_of(sorted(needed), platform.machine(), precision=precision)
    module = handwritten_module(network, {"main": ids.shape}, kind)
    with temporary_folder() as folder:
        compile_handwritten(module, target).export(folder / "model.so")
        machine = relax.VirtualMachine(tvm.runtime.load_module(folder / "model.so"), tvm.cpu())
    return [x.numpy() for x in machine["main"](*map(tvm.runtime.tensor, (ids, mask)))]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def check_vectors(
    hidden: int,
    operations: tuple[str, ...],
    head: str,
    shape: tuple[int, int],
    kind: str,
    precision: str = "int8",
) -> None:
    network = made(hidden, operations, head, precision)
    ids, mask = inputs(*shape)
    wanted = TorchNetwork(network)(torch.tensor(ids), torch.tensor(mask)).detach().numpy()
    found = run(network, ids, mask, kind)[0]
    assert found.shape == wanted.shape
    if head in ("hidden", "spans"):
        real = mask[:, :, None] if head == "hidden" else mask[:, None, :]
        wanted, found = wanted * real, found * real
    assert cosine(wanted, found) > (0.999 if precision == "int8" else 0.9999)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=0.01)


@runs_here
@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "operations", "head", "shape"),
    [
        (64, ("mha", "ffn"), "embed", (1, 33)),
        (32, ("sep3", "mha", "ffn"), "hidden", (3, 40)),
        (64, ("ffn",), "classify-3", (2, 7)),
        (64, ("mha",), "spans", (2, 16)),
        (32, ("ffn",), "embed-unscaled", (2, 16)),
    ],
)
def test_vectors_are_those_of_torch(
    hidden: int, operations: tuple[str, ...], head: str, shape: tuple[int, int]
) -> None:
    check_vectors(hidden, operations, head, shape, str(HERE))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != HERE])
def test_vectors_are_those_of_torch_on_other_processors(kind: str) -> None:
    check_vectors(64, ("mha", "ffn", "sep3"), "embed", (2, 33), kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "operations", "head", "shape"),
    [
        (64, ("mha", "ffn", "sep3"), "embed", (2, 33)),
        (32, ("ffn", "mha"), "hidden", (1, 48)),
        (96, ("mha", "ffn"), "embed", (1, 9)),
    ],
)
def test_vectors_in_bf16_are_those_of_torch(
    hidden: int, operations: tuple[str, ...], head: str, shape: tuple[int, int]
) -> None:
    check_vectors(hidden, operations, head, shape, "amx", "bf16")


@runs_here
@pytest.mark.slow
def test_neither_neighbours_nor_padding_move_a_vector(tmp_path) -> None:
    """Nor which of the lengths a text is run by."""
    path = get_lowering("tvm").lower(made(64, ("mha", "ffn")), tmp_path, lengths=(8, 24)).path
    session = get_runtime("tvm").open_session(path, RuntimeOptions("tvm"))
    ids, _ = inputs(1, 7)

    def vector(length: int, neighbours: int = 0) -> np.ndarray:
        padded = np.zeros((1 + neighbours, length), np.int64)
        padded[:, :7] = ids + np.arange(1 + neighbours)[:, None]
        mask = np.zeros_like(padded)
        mask[:, :7] = 1
        return session.outputs({"input_ids": padded % 100, "attention_mask": mask})[0][0]

    alone = vector(7)
    for other in (vector(8), vector(20), vector(24), vector(33), vector(64), vector(9, 3)):
        assert np.array_equal(other, alone)


@runs_here
@pytest.mark.slow
def test_lengths_share_weights(tmp_path) -> None:
    """Of 16 MB and more, five lengths hold no second copy."""
    geometry = Geometry(2, 64, 32, 256, 250_000, 512)
    architecture = Architecture((Block(64, ("ffn",)),), "int8")
    network = random_network(architecture, geometry, vocab_rows=geometry.vocab_size)
    made = get_lowering("tvm").lower(network, tmp_path)
    words = geometry.vocab_size * (64 + 4)
    assert words < made.size_bytes < 1.3 * words


@runs_here
def test_sizes_that_registers_do_not_hold_are_refused() -> None:
    geometry = Geometry(2, 48, 16, 192, 100, 64)
    network = random_network(Architecture((Block(48, ("ffn",)),), "int8"), geometry)
    with pytest.raises(ExportError, match=r"multiples of 32; .* has 48. Take another"):
        handwritten_module(network, {"main": (1, 8)}, str(HERE))


def test_a_processor_without_kernels_is_refused(tmp_path) -> None:
    processor = {"arch": "aarch64", "flags": ["asimd", "fp"]}
    with pytest.raises(UsageError, match=r"in int8 for processors with one of asimddp, avx2.*fp32"):
        get_lowering("tvm").lower(made(64, ("ffn",)), tmp_path, processor=processor)
    assert get_runtime("tvm").precisions(processor["flags"]) == ("fp32",)
    assert get_runtime("tvm").precisions([*processor["flags"], "asimddp"]) == ("fp32", "int8")
    assert get_runtime("tvm").precisions(flags_of_kind("amx")) == ("fp32", "bf16", "int8")
    assert get_runtime("tvm").precisions(flags_of_kind("avx512_bf16")) == ("fp32", "int8")
    processor = {"arch": "x86_64", "flags": sorted(flags_of_kind("avx512_vnni"))}
    network = made(64, ("ffn",), precision="bf16")
    with pytest.raises(UsageError, match=r"in bf16 for processors with one of amx, and what"):
        get_lowering("tvm").lower(network, tmp_path, processor=processor)


@runs_here
def test_the_kernels_say_what_they_multiply(tmp_path: Path) -> None:
    network = made(64, ("mha", "ffn", "sep3"))
    path = get_lowering("tvm").lower(network, tmp_path, shape=(1, 40)).path
    job = ModelJob(
        "one", path, {n: InputSpec((1, 40), "int64") for n in ("input_ids", "attention_mask")}
    )
    with LocalWorker(RuntimeOptions("tvm")) as worker:
        kernels = run_kernels(worker, job, turns=1).kernels
    assert not [k.name for k in kernels if k.name.startswith(("vm.", "runtime."))]
    products = [k for k in kernels if k.computed_in == "int8"]
    # q, k, v, o and what attention multiplies; the two of a feed-forward; the two of a SepConv
    wanted = 4 * 64 * 64 + 2 * 40 * 64 + 2 * 64 * 256 + 2 * 64 * 64
    assert sum(k.operations for k in products) == 2 * 40 * wanted
    assert {k.kind for k in products} == {"product", "attention"}
    (embedding,) = (k for k in kernels if k.kind == "embedding")
    assert embedding.bytes_moved < 4 * embedding.outputs[0].bytes  # not the whole table
    gelu = next(k for k in products if k.operator == "matmul+add+gelu")
    assert gelu.bytes_moved >= 64 * 256 + 40 * (64 + 256)
